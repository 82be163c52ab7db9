"""The node as a whole: what it is now (for the report), and how an action of the plan is done."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import assert_never

import structlog
from msgspec import structs

from agents import AGENT_VERSION, host, report
from agents.badge import Badge
from agents.coturn import config
from agents.coturn.certificate import Certificate
from agents.coturn.command_line import CommandLine
from agents.coturn.config import Wanted
from agents.coturn.supervisor import Supervisor
from agents.coturn.turndb import TurnDatabase
from agents.errors import CoturnError
from agents.identity import Identity
from agents.plan import (
    Action,
    ChangeRealm,
    EndAllocations,
    KeepTo,
    LocalState,
    RestartCoturn,
    SetIntent,
    SetInterval,
    StartCoturn,
    TakeDenials,
    WriteSecrets,
    applied,
)
from agents.prober import Prober
from agents.settings import AgentSettings
from agents.status import Status, StatusFile
from agents.usage.room import Usage
from controlplane.wire.agent_api import Capacity, Heartbeat, LeaveRequest, Listener, Load, LoadedSecret, secret_digest
from controlplane.wire.redacted import Redacted

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

SLOW_DISK_SECONDS = 1.0
"""Longer than this no heartbeat waits for the disk."""
FIRST_INTERVAL_SECONDS = 2.0
"""Until a reply says otherwise."""


class Node:
    def __init__(
        self,
        *,
        settings: AgentSettings,
        badge: Badge,
        certificate: Certificate,
        boot_id: str,
        database: TurnDatabase,
        command_line: CommandLine,
        supervisor: Supervisor,
        prober: Prober,
        usage: Usage,
        wanted: Callable[[str], Wanted],
        beat_now: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._badge = badge
        self._certificate = certificate
        self._boot_id = boot_id
        self._database = database
        self._command_line = command_line
        self._supervisor = supervisor
        self._prober = prober
        self._usage = usage
        self._wanted = wanted
        self._beat_now = beat_now
        self._status = StatusFile(settings.state_dir)
        self._capacity = host.capacity(settings)
        self._sequence = 0
        self._meter: report.Meter | None = None
        self._load: Load | None = None
        self._allocations = 0
        self._counted = False
        """Whether this coturn has ever told how many it has: until then nobody is to be told that there are none."""
        self._answered_at: float | None = None
        self._last_heartbeat = "none"
        self._state = LocalState(
            realm=badge.who.realm,
            intent=None,
            interval_seconds=FIRST_INTERVAL_SECONDS,
            secrets={},
            coturn_wanted=False,
            coturn_generation=supervisor.restarts.done,
        )

    @property
    def interval_seconds(self) -> float:
        return self._state.interval_seconds

    @property
    def identity(self) -> Identity:
        return self._badge.who

    @property
    def capacity(self) -> Capacity:
        return self._capacity

    @property
    def load(self) -> Load | None:
        """As it was measured last; None before the first time."""
        return self._load

    @property
    def counters(self) -> report.Sample | None:
        """The host's, of the same moment."""
        return self._meter.sample if self._meter is not None else None

    @property
    def is_dead(self) -> bool:
        return self._supervisor.state == "dead"

    def local_state(self) -> LocalState:
        return self._state

    def death_reported(self) -> None:
        self._supervisor.death_reported()

    async def load_secrets(self) -> None:
        """At the start: what an earlier run left in the database, without rows that nobody accounts for."""
        try:
            found = await self._database.read(self._state.realm)
            await self._database.replace(self._state.realm, found)
        except sqlite3.Error as error:
            raise CoturnError(f"The secrets in coturn's database cannot be read and put in order: {error}.") from None
        self._state = replace(self._state, secrets=found)
        # A relay that has its secrets serves at once: it does not need the control plane for that.
        self.serve_what_is_there()
        self.write_status()

    async def measure(self) -> None:
        """Reads everything that the next report shows. What does not answer keeps its last value."""
        try:
            async with asyncio.timeout(SLOW_DISK_SECONDS):
                self._state = replace(self._state, secrets=await self._database.read(self._state.realm))
        except TimeoutError:
            log.warning("secrets_not_read", reason="The disk is slow.")
        except (sqlite3.Error, CoturnError) as error:
            log.warning("secrets_not_read", reason=str(error))
        if self._supervisor.state == "running":
            total = await self._command_line.total_sessions()
            self._allocations = total if total is not None else self._allocations
            self._counted = self._counted or total is not None
        else:
            self._allocations, self._counted = 0, False
        now = host.sample(self._settings.interface)
        self._meter = report.metered(self._meter, now)
        await self._supervisor.look_after_files()
        files = host.open_files(self._supervisor.pid)
        self._load = report.load(
            self._meter,
            allocations=self._allocations,
            memory_ratio=now.memory_ratio,
            open_files=files.count,
            open_files_limit=files.limit,
        )

    def heartbeat(self) -> Heartbeat:
        """A new report of what was measured last; process, probe and clock are those of this moment."""
        if self._load is None:
            raise RuntimeError("Nothing has been measured yet.")
        self._sequence += 1
        coturn = self._supervisor.snapshot()
        return Heartbeat(
            boot_id=self._boot_id,
            sequence=self._sequence,
            sent_at=time.time(),
            coturn=coturn if self._counted or coturn.state != "running" else structs.replace(coturn, state="starting"),
            load=self._load,
            capacity=self._capacity,
            listeners=[
                Listener(transport=one.transport, host=self._settings.public_host, port=one.port) for one in self._prober.targets
            ],
            secrets=[
                LoadedSecret(version=version, digest=secret_digest(secret.reveal()))
                for version, secret in sorted(self._state.secrets.items())
            ],
            probe=self._prober.snapshot(),
            agent_version=AGENT_VERSION,
            denied_up_to=self._usage.enforcer.denied_up_to,
            allocations_started=self._usage.started,
            certificate_ends_at=ends_at.timestamp() if (ends_at := self._certificate.ends_at) is not None else None,
            coturn_generation=self._supervisor.restarts.done,
            coturn_failure=self._supervisor.restarts.failure,
        )

    def goodbye(self, reason: str) -> LeaveRequest:
        self._sequence += 1
        return LeaveRequest(boot_id=self._boot_id, sequence=self._sequence, reason=reason)

    async def follow(self, actions: list[Action]) -> None:
        """Does the plan in its order. One that fails (a full disk) ends it: the next reply leads to the same plan again."""
        try:
            for action in actions:
                await self._apply(action)
            self._settle()
        except (OSError, sqlite3.Error, CoturnError) as error:
            log.error("plan_failed", reason=str(error))  # noqa: TRY400 - the sentence says it all

    async def _apply(self, action: Action) -> None:
        match action:
            case SetInterval() | KeepTo():
                pass
            case ChangeRealm(realm=realm):
                await self._badge.move(realm)
                log.info("realm_changed", realm=realm)
            case WriteSecrets(realm=realm, secrets=secrets):
                if await self._database.replace(realm, secrets):
                    log.info("secrets_written", versions=sorted(secrets))
                    self._beat_now()
            case SetIntent(intent=intent):
                log.info("intent_changed", **{"from": self._state.intent, "to": intent})
            case StartCoturn():
                log.info("coturn_wanted", realm=self._state.realm)
            case RestartCoturn(generation=generation):
                self._supervisor.restart(generation)
            case EndAllocations(wanted=wanted):
                self._usage.enforcer.end_everything(wanted)
            case TakeDenials(delta=delta):
                await self._usage.enforcer.take(delta)
            case _:
                assert_never(action)
        self._state = applied(self._state, action)

    def _settle(self) -> None:
        """After a plan is done: coturn and the probe go by the state that it led to."""
        if self._state.coturn_wanted:
            try:
                self._supervisor.want(config.render(self._wanted(self._state.realm)))
            except ValueError as error:
                log.error("coturn_config_refused", reason=str(error), realm=self._state.realm)  # noqa: TRY400 - a sentence
        self._prober.use_secret(_newest(self._state))

    def serve_what_is_there(self) -> None:
        """Starts coturn with the secrets on disk; without any, nobody could use it, and it stays down."""
        if self._state.secrets and not self._state.coturn_wanted:
            self._state = replace(self._state, coturn_wanted=True)
            log.info("coturn_wanted", realm=self._state.realm, reason="secrets on disk")
            self._settle()

    def note_heartbeat(self, outcome: str) -> None:
        self._last_heartbeat = outcome
        if outcome == "answered":
            self._answered_at = round(time.time(), 3)
        self.write_status()

    def write_status(self) -> None:
        settings = self._settings
        with suppress(OSError):
            # Nobody depends on it, and a full disk must not end the agent.
            self._status.write(self._status_of(settings))

    def _status_of(self, settings: AgentSettings) -> Status:
        return Status(
            agent_pid=os.getpid(),
            coturn_pid=self._supervisor.pid,
            node_id=self._badge.who.node_id,
            region=self._badge.who.region,
            realm=self._badge.who.realm,
            host=settings.public_host,
            port=settings.port,
            tls_port=settings.tls_port if settings.serves_tls else None,
            coturn_state=self._supervisor.state,
            probe_ok=self._prober.ok,
            last_heartbeat_at=self._answered_at,
            last_heartbeat=self._last_heartbeat,
            usage_waiting=self._usage.sender.waiting,
            denied=self._usage.denied,
        )


def _newest(state: LocalState) -> Redacted | None:
    return state.secrets[max(state.secrets)] if state.secrets else None
