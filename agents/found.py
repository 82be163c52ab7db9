"""Tells the control plane what was found on this host: at the start, and when it has become something else."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import structlog
from msgspec import structs

from agents.backoff import asked_delay, full_jitter
from agents.badge import Badge
from agents.coturn.certificate import Certificate
from agents.doctor import at_start
from agents.doctor.at_start import Examination
from agents.link import Link, Refused, Unreachable
from agents.settings import AgentSettings
from controlplane.wire.findings import Finding
from controlplane.wire.found_api import DETAIL_MAX, FINDINGS_MAX, Found, HostFinding

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LOOK_SECONDS = 3600.0
"""How often the host is examined anew."""
RETRY_BASE_SECONDS = 5.0
RETRY_CAP_SECONDS = 300.0
"""Nothing waits for it."""

_UNAUTHORIZED = 401
_dice = random.SystemRandom()


class Finder:
    """Run `run()` as a task. `look_now()` after something that the host's certificate shows."""

    def __init__(
        self, *, settings: AgentSettings, link: Link, badge: Badge, certificate: Certificate, first: asyncio.Task[Examination]
    ) -> None:
        """`first` is the examination of the start."""
        self._settings = settings
        self._link = link
        self._badge = badge
        self._certificate = certificate
        self._first = first
        self._news = asyncio.Event()
        self._told: Found | None = None

    def look_now(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Never returns."""
        examination = await asyncio.shield(self._first)
        while True:
            self._news.clear()
            await self._tell(self._report(examination))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS * _dice.uniform(0.9, 1.1)):
                    await self._news.wait()
            known = {(one.name, one.state) for one in examination.findings}
            examination = await at_start.examined(self._settings, with_ports=False)
            at_start.tell_faults([one for one in examination.findings if (one.name, one.state) not in known])

    async def _tell(self, report: Found) -> None:
        """Until it is answered. An older control plane refuses, as it knows no such call: it is asked again in an hour."""
        if self._told is not None and structs.replace(report, examined_at=self._told.examined_at) == self._told:
            return
        failures = 0
        while True:
            outcome = await self._link.found(self._badge.token, report)
            unknown = isinstance(outcome, Refused) and outcome.status == _UNAUTHORIZED  # for a moment, while tokens change
            if isinstance(outcome, Unreachable) or unknown:
                failures += 1
                delay = full_jitter(failures, _dice.random(), base_seconds=RETRY_BASE_SECONDS, cap_seconds=RETRY_CAP_SECONDS)
                asked = outcome.retry_after_seconds if isinstance(outcome, Unreachable) else None
                await asyncio.sleep(max(delay, asked_delay(asked, _dice.random())))
                continue
            if isinstance(outcome, Refused):
                log.warning("findings_refused", status=outcome.status, reason=outcome.reason)
            else:
                self._told = report
            return

    def _report(self, examination: Examination) -> Found:
        settings, certificate = self._settings, self._certificate
        return Found(
            examined_at=round(examination.examined_at, 3),
            listen_address=settings.listen_address,
            relay_address=settings.relay_address,
            external_address=settings.external_address,
            seen_address=examination.seen_address,
            tls_offered=settings.serves_tls and certificate.offered,
            tls_fault=_plain(certificate.fault) if settings.serves_tls and certificate.fault is not None else None,
            findings=[_finding(one) for one in examination.findings[:FINDINGS_MAX]],
        )


def _finding(one: Finding) -> HostFinding:
    return HostFinding(name=one.name, state=one.state, detail=_plain(one.detail), remedy=_plain(one.remedy))


def _plain(text: str) -> str:
    """Certificates, name servers and other programs have a say in these texts."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:DETAIL_MAX]
