"""The leader's sending of events to webhooks: at least once, each event by itself, a slow target in nobody's way.

A courier serves one webhook: it claims some due deliveries, sends them over few connections, writes what became of each, and
ends. A claim is a lease in the row: what a dead leader had in hand is due again when the lease ends. One courier per webhook,
some per project, a bounded number in all.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from datetime import UTC, datetime
from uuid import UUID

import structlog

from controlplane.fleet.webhook_retries import FAILING_SECONDS, rest_seconds, retry_delay_seconds
from controlplane.flows.webhook_attempt import Attempt, Sender, sender_to
from controlplane.flows.webhook_secrets import SecretSealedError, WebhookSecrets
from controlplane.flows.webhook_target import DEADLINE_SECONDS, Targets
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.deliveries import (
    AttemptEnd,
    ClaimedDelivery,
    claim_deliveries,
    due_webhooks,
    end_attempt,
    forget_old_secrets,
    release_deliveries,
    tidy_deliveries,
    webhook_ids,
)
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.outbox import expand
from controlplane.postgres_store.webhooks import Webhook
from controlplane.telemetry.metrics import Metrics

COURIERS = 256
"""Each is a coroutine and two connections at most. A target that is slow and never fails holds one for good."""
COURIERS_PER_PROJECT = 8
_IN_FLIGHT_PER_WEBHOOK = 2
_CLAIMED_AT_ONCE = 50
_SERVING_SECONDS = 10.0
"""A courier begins nothing new after so long, so that its last attempt ends within the lease."""
LEASE_SECONDS = 30.0
"""More than _SERVING_SECONDS and DEADLINE_SECONDS together, with time to write down what came of it."""
_EVENTS_AT_ONCE = 500
_ROUNDS_OF_EVENTS = 10
PENDING_KEPT = 10_000
"""Per webhook; the oldest beyond are dropped, and counted."""
ENDED_KEPT = 100_000
"""Per webhook."""
LOG_DAYS = 30
_TIDIED_AT_ONCE = 5_000
_GONE = 410

log = structlog.get_logger()


class WebhookSender:
    """One leader's term. `tick` often, `tidy` now and then, `end` with the term."""

    def __init__(
        self, database: Database, targets: Targets, secrets: WebhookSecrets | None, metrics: Metrics, *, epoch: int
    ) -> None:
        """Without `secrets` events become deliveries, and nothing is sent."""
        self._database = database
        self._targets = targets
        self._secrets = secrets
        self._metrics = metrics
        self._epoch = epoch
        self._couriers: dict[UUID, asyncio.Task[None]] = {}
        self._per_project: Counter[UUID] = Counter()
        if secrets is None:
            log.warning(
                "webhooks_not_sent", reason="TURNFLEET_MASTER_KEY is not set for turnfleet jobs: their secrets stay sealed."
            )

    async def tick(self) -> None:
        """New events become deliveries, and couriers start for webhooks that have some due. Raises DatabaseUnavailableError."""
        for _ in range(_ROUNDS_OF_EVENTS):
            if await expand(self._database, epoch=self._epoch, most=_EVENTS_AT_ONCE) < _EVENTS_AT_ONCE:
                break
        if self._secrets is None or len(self._couriers) >= COURIERS:
            return
        full = [project_id for project_id, count in self._per_project.items() if count >= COURIERS_PER_PROJECT]
        most = COURIERS - len(self._couriers)
        for webhook in await due_webhooks(self._database, busy=self._couriers, busy_projects=full, most=most):
            if self._per_project[webhook.project_id] < COURIERS_PER_PROJECT:
                self._start(webhook, self._secrets)

    async def tidy(self) -> None:
        """Bound what waits and what is remembered. Raises DatabaseUnavailableError."""
        await forget_old_secrets(self._database)
        for webhook_id in await webhook_ids(self._database):
            dropped = await tidy_deliveries(
                self._database,
                webhook_id,
                epoch=self._epoch,
                pending=PENDING_KEPT,
                ended=ENDED_KEPT,
                days=LOG_DAYS,
                most=_TIDIED_AT_ONCE,
            )
            if dropped:
                self._metrics.webhook_deliveries.labels("dropped").inc(dropped)
                log.warning("webhook_deliveries_dropped", webhook_id=str(webhook_id), count=dropped)

    async def end(self) -> None:
        """Cancel the couriers. What they had in hand is due again when its lease ends."""
        couriers = list(self._couriers.values())
        for courier in couriers:
            courier.cancel()
        await asyncio.gather(*couriers, return_exceptions=True)

    def _start(self, webhook: Webhook, secrets: WebhookSecrets) -> None:
        task = asyncio.create_task(self._serve(webhook, secrets), name=f"webhook-{webhook.webhook_id}")
        self._couriers[webhook.webhook_id] = task
        self._per_project[webhook.project_id] += 1

        def ended(_task: asyncio.Task[None]) -> None:
            del self._couriers[webhook.webhook_id]
            self._per_project[webhook.project_id] -= 1
            if not self._per_project[webhook.project_id]:
                del self._per_project[webhook.project_id]

        task.add_done_callback(ended)

    async def _serve(self, webhook: Webhook, secrets: WebhookSecrets) -> None:
        try:
            async with sender_to(self._targets) as sender:
                await Courier(self._database, webhook, secrets, sender, self._metrics, epoch=self._epoch).run()
        except* DatabaseUnavailableError as errors:
            log.warning("webhook_postponed", webhook_id=str(webhook.webhook_id), reason=str(errors.exceptions[0]))
        except* Exception:
            log.exception("webhook_failed", webhook_id=str(webhook.webhook_id))


class Courier:
    """Brings one webhook some of what is due."""

    def __init__(
        self, database: Database, webhook: Webhook, secrets: WebhookSecrets, sender: Sender, metrics: Metrics, *, epoch: int
    ) -> None:
        self._database = database
        self._webhook = webhook
        self._secrets = secrets
        self._sender = sender
        self._outcomes = metrics.webhook_deliveries
        self._epoch = epoch
        self._failures = webhook.failures
        self._is_done = False
        self._waiting: deque[ClaimedDelivery] = deque()

    async def run(self) -> None:
        """Until nothing claimed is left, the target failed once, or the time is over. Raises groups of DatabaseUnavailableError."""
        claimed_at = time.monotonic()
        self._waiting.extend(
            await claim_deliveries(
                self._database,
                self._webhook.webhook_id,
                epoch=self._epoch,
                # One to see whether a target that failed is back.
                most=1 if self._failures else _CLAIMED_AT_ONCE,
                lease_seconds=LEASE_SECONDS,
            )
        )
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_IN_FLIGHT_PER_WEBHOOK, len(self._waiting))):
                group.create_task(self._bring_some(until=claimed_at + _SERVING_SECONDS))
        if self._waiting:
            await release_deliveries(self._database, [each.delivery_id for each in self._waiting], epoch=self._epoch)

    async def _bring_some(self, *, until: float) -> None:
        while self._waiting and not self._is_done and time.monotonic() < until:
            await self._bring(self._waiting.popleft())

    async def _bring(self, delivery: ClaimedDelivery) -> None:
        try:
            headers = self._secrets.sign(self._webhook, event_id=delivery.event_id, sent_at=datetime.now(UTC), body=delivery.body)
        except SecretSealedError as error:
            attempt = Attempt(status=None, failure=str(error), retry_after_seconds=None, milliseconds=0.0)
        else:
            attempt = await self._sender.send(self._webhook.url, delivery.body, headers)
        end = self._judge(delivery, attempt)
        if not await end_attempt(self._database, self._webhook.webhook_id, delivery.delivery_id, end, epoch=self._epoch):
            self._is_done = True  # another term has taken over, or the webhook is gone
            return
        self._outcomes.labels("failed" if end.state == "pending" else end.state).inc()
        if end.switch_off is not None:
            log.warning("webhook_switched_off", webhook_id=str(self._webhook.webhook_id), because=end.switch_off)

    def _judge(self, delivery: ClaimedDelivery, attempt: Attempt) -> AttemptEnd:
        """What follows from an attempt."""
        if attempt.failure is None:
            self._failures = 0
            return AttemptEnd(state="delivered", status=attempt.status, error=None)
        self._failures += 1
        self._is_done = True
        retry = retry_delay_seconds(
            delivery.attempts + 1,
            draw=random.random(),  # noqa: S311 - spreads retries, guards nothing
            retry_after_seconds=attempt.retry_after_seconds,
        )
        switch_off = "gone" if attempt.status == _GONE else "failing" if self._is_failing_for_days() else None
        return AttemptEnd(
            state="given_up" if retry is None or switch_off is not None else "pending",
            status=attempt.status,
            error=attempt.failure,
            retry_seconds=retry or 0.0,
            rest_seconds=rest_seconds(self._failures, retry_after_seconds=attempt.retry_after_seconds),
            switch_off=switch_off,
        )

    def _is_failing_for_days(self) -> bool:
        since = self._webhook.failing_since
        return since is not None and (datetime.now(UTC) - since).total_seconds() > FAILING_SECONDS


if LEASE_SECONDS <= _SERVING_SECONDS + DEADLINE_SECONDS:
    raise AssertionError("A courier's last attempt would end after its lease.")
