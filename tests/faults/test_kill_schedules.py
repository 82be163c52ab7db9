"""Seeded schedules of SIGKILL over the API, Redis and PostgreSQL, under load: what was answered is recorded, once."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from tests.faults.loaded_fleet import loaded_fleet, recorded
from tests.issue_load import Answers, closed_loop, while_loaded
from tests.running_api import until

_SECONDS = 15.0
_CONNECTIONS = 4


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
async def test_every_answer_has_its_row_once_whatever_is_killed(seed: int) -> None:
    generator = random.Random(seed)
    async with loaded_fleet() as (api, postgres, redis):
        ends_at = time.monotonic() + _SECONDS
        api_kills = 0

        async def kill_at_random() -> None:
            nonlocal api_kills
            while time.monotonic() < ends_at - 3:
                await asyncio.sleep(generator.uniform(0.5, 2.0))
                pause = generator.uniform(0, 3)
                match generator.choice(["api", "redis", "postgres"]):
                    case "api":
                        # A replica that starts needs both stores once, to know its tokens and its nodes.
                        api_kills += 1
                        await api.kill()
                        await api.start()
                    case "redis":
                        await redis.kill()
                        await asyncio.sleep(pause)
                        await redis.start()
                    case _:
                        await postgres.kill()
                        await asyncio.sleep(pause)
                        await postgres.start()

        def over(_: Answers) -> bool:
            return time.monotonic() > ends_at

        load = closed_loop(api.url, api.tokens["project_token"], until=over, connections=_CONNECTIONS)
        answers = await while_loaded(load, kill_at_random)
        assert len(answers.credential_ids) > 100

        async def all_recorded() -> bool:
            return set(answers.credential_ids) <= set(await recorded(postgres))

        await until(all_recorded, within_seconds=60, what="every answered issue has its row")
        rows = await recorded(postgres)
        assert len(rows) == len(set(rows))
        extra = len(rows) - len(answers.credential_ids)
        print(f"seed {seed}: {len(answers.credential_ids)} answered, {extra} more recorded, {api_kills} kills of the API")
        assert extra <= 2 + api_kills * _CONNECTIONS
