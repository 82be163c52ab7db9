"""What the doctor finds, told once in the log of `turnfleet-agent run`. It holds nothing up: coturn comes first."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import structlog

from agents.doctor.checks import checks
from agents.doctor.examine import examine
from agents.settings import AgentSettings
from controlplane.wire.findings import Finding

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

WAIT_SECONDS = 5.0
"""A node that serves nobody by then may be one that cannot join: that is when somebody needs to know why."""
QUIET_SECONDS = 1.0
"""The good news of the first probe goes out before the processor has this to do."""


async def tell(settings: AgentSettings, settled: asyncio.Event) -> None:
    """Examines the host once coturn has been probed, or was not for too long: what is wrong, then in one line what is well."""
    with suppress(TimeoutError):
        async with asyncio.timeout(WAIT_SECONDS):
            await settled.wait()
    await asyncio.sleep(QUIET_SECONDS)
    found = await _examined(settings, with_ports=not settled.is_set())
    for one in found:
        if one.state != "ok":
            told = log.error if one.state == "wrong" else log.warning
            told("host_fault_found", check=one.name, detail=one.detail, remedy=one.remedy)
    good = {one.name: one.detail for one in found if one.state == "ok"}
    counts = {state: sum(one.state == state for one in found) for state in ("warning", "wrong")}
    log.info("host_examined", found=good, warnings=counts["warning"], wrong=counts["wrong"])


async def _examined(settings: AgentSettings, *, with_ports: bool) -> list[Finding]:
    """In threads of its own, which nobody waits for at the end: not the event loop's, and not the disk's."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Finding]] = loop.create_future()

    def hand_over(found: list[Finding]) -> None:
        if not answer.done():
            answer.set_result(found)

    def work() -> None:
        # Trying ports that coturn has says nothing new, and would be in its way if it started anew just now.
        found = examine([one for one in checks(settings) if with_ports or one.name != "ports"])
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(hand_over, found)

    threading.Thread(target=work, name="examination", daemon=True).start()
    return await answer
