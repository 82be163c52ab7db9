"""How far away a relay is: STUN binding requests over UDP."""

from __future__ import annotations

import asyncio
import statistics
import time

from controlplane.turn.client import TurnClient, TurnError
from controlplane.turn.connecting import connect, look_up
from controlplane.turn.failures import Failure, failure_of
from controlplane.turn.target import Target
from controlplane.wire.redacted import Redacted

REQUESTS = 5
DEADLINE_SECONDS = 3.0
"""For all of them."""


async def median_round_trip(
    target: Target, *, requests: int = REQUESTS, deadline_seconds: float = DEADLINE_SECONDS
) -> float | Failure:
    """Milliseconds: the median of those that were answered, so that a lost packet, which is sent again, does not count."""
    client = TurnClient(username="", password=Redacted(""))
    took: list[float] = []
    try:
        async with asyncio.timeout(deadline_seconds):
            await connect(client, target, await look_up(target), None)
            for _ in range(requests):
                began = time.perf_counter()
                await client.ask_address()
                took.append((time.perf_counter() - began) * 1000)
    except (TimeoutError, OSError, TurnError) as error:
        if not took:
            return failure_of(error, step="connect", deadline_seconds=deadline_seconds)
    finally:
        client.close()
    return round(statistics.median(took), 3)
