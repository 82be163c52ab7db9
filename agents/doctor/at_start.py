"""What the doctor finds while the agent runs, told in its log. It holds nothing up: coturn comes first."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from agents.doctor.checks import checks, seen_from_outside
from agents.doctor.examine import examine
from agents.doctor.look.stun import Mapped
from agents.settings import AgentSettings
from controlplane.wire.findings import Finding

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

WAIT_SECONDS = 5.0
"""A node that serves nobody by then may be one that cannot join: that is when somebody needs to know why."""
QUIET_SECONDS = 1.0
"""The good news of the first probe goes out before the processor has this to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    examined_at: float
    """Unix seconds."""
    findings: list[Finding]
    seen_address: str | None
    """As a STUN server outside sees the relay address."""


async def tell(settings: AgentSettings, settled: asyncio.Event) -> Examination:
    """Examines the host once coturn has been probed, or was not for too long: what is wrong, then in one line what is well."""
    with suppress(TimeoutError):
        async with asyncio.timeout(WAIT_SECONDS):
            await settled.wait()
    await asyncio.sleep(QUIET_SECONDS)
    found = await examined(settings, with_ports=not settled.is_set())
    tell_faults(found.findings)
    good = {one.name: one.detail for one in found.findings if one.state == "ok"}
    counts = {state: sum(one.state == state for one in found.findings) for state in ("warning", "wrong")}
    log.info("host_examined", found=good, warnings=counts["warning"], wrong=counts["wrong"])
    return found


def tell_faults(findings: list[Finding]) -> None:
    """A line each."""
    for one in findings:
        if one.state != "ok":
            told = log.error if one.state == "wrong" else log.warning
            told("host_fault_found", check=one.name, detail=one.detail, remedy=one.remedy)


async def examined(settings: AgentSettings, *, with_ports: bool) -> Examination:
    """In threads of its own, which nobody waits for at the end: not the event loop's, and not the disk's."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Examination] = loop.create_future()
    seen: list[str] = []

    def ask() -> Mapped | Exception | None:
        said = seen_from_outside(settings)
        if isinstance(said, Mapped):
            seen.append(said.address)
        return said

    def hand_over(found: Examination) -> None:
        if not answer.done():
            answer.set_result(found)

    def work() -> None:
        # Trying ports that coturn has says nothing new, and would be in its way if it started anew just now.
        findings = examine([one for one in checks(settings, seen=ask) if with_ports or one.name != "ports"])
        found = Examination(examined_at=time.time(), findings=findings, seen_address=next(iter(seen), None))
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(hand_over, found)

    threading.Thread(target=work, name="examination", daemon=True).start()
    return await answer
