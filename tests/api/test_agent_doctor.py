"""The agent's doctor and a real API understand each other."""

from __future__ import annotations

import asyncio

from agents.doctor.judge import origin as judge
from agents.doctor.look import origin
from tests.running_api import RunningApi


async def test_the_doctor_reaches_a_real_api_and_reads_its_clock(api: RunningApi) -> None:
    facts = await asyncio.to_thread(origin.ask, api.url, ca_file=None)
    assert facts.is_turnfleet
    assert facts.clock_offset_seconds is not None
    assert abs(facts.clock_offset_seconds) <= 1 + facts.clock_error_seconds
    assert [(one.name, one.state) for one in judge.reached(facts)] == [("control_plane", "ok"), ("clock", "ok")]
