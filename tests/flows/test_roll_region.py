"""The leader's pass over rolls, on a real PostgreSQL and a real relay: every step can be the last one of a leader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID

import pytest
import pytest_asyncio

from controlplane.fleet.intent import Change
from controlplane.fleet.outside import ProberPlace
from controlplane.fleet.roll import RollState
from controlplane.postgres_store.errors import ConflictError
from controlplane.postgres_store.intents import forget_node
from controlplane.postgres_store.rolls import resume_roll, stop_roll, stopped_rolls, take_move
from tests.agents.places import free_port
from tests.builders import ACTOR
from tests.rolling_world import World, world_of


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with world_of(database_url, redis_url) as made:
        yield made


async def test_every_node_is_restarted_once_and_one_is_always_in_service(world: World) -> None:
    roll = await world.start(reason="4.7")
    ended = await world.until(roll, "finished")
    assert [each.step for each in ended.nodes] == ["done", "done"]
    assert (world.asked, world.least_in_service) == (["a", "b"], 1)
    assert await world.intents() == {"a": "active", "b": "active"}
    told = await world.sql("SELECT kind, coalesce(was, ''), became FROM fleet_events WHERE kind LIKE 'roll.%' ORDER BY id")
    path = ["waiting", "draining", "restarting", "verifying", "returning", "done"]
    steps = [("roll.node", was, became) for was, became in pairwise(path)]
    assert [tuple(row) for row in told] == [("roll.started", "", "running"), *steps, *steps, ("roll.finished", "", "finished")]


async def test_a_new_leader_at_every_step_and_an_old_one_that_comes_back_change_nothing(world: World) -> None:
    roll = await world.start()
    for _ in range(40):
        if (await world.now(roll)).state is RollState.FINISHED:
            break
        before = await world.steps(roll)
        old = world.epoch
        await world.new_leader()
        await world.tick(epoch=old)
        assert await world.steps(roll) == before, "a leader whose term is over has taken a step"
        await world.tick()
        await world.later()
    assert (await world.now(roll)).state is RollState.FINISHED
    assert world.asked == ["a", "b"]


async def test_two_leaders_that_decide_the_same_at_once_take_one_step(world: World) -> None:
    roll = await world.start()
    for _ in range(40):
        if (await world.now(roll)).state is RollState.FINISHED:
            break
        await world.directory.refresh()
        world.beat()
        await asyncio.gather(world.tick(), world.tick())
        await world.later()
    assert (await world.now(roll)).state is RollState.FINISHED
    assert world.asked == ["a", "b"]
    told = await world.sql("SELECT count(*) FROM fleet_events WHERE kind = 'roll.node'")
    assert told[0][0] == 2 * 5


async def test_a_failed_restart_stops_it_and_a_resumption_does_that_node_again(world: World) -> None:
    world.agents["a"].failure = "E: no such package"
    roll = await world.start()
    stopped = await world.until(roll, "stopped")
    assert stopped.stopped_because == "a: E: no such package. It is left draining."
    assert (stopped.stopped_by, await world.steps(roll)) == ("system", "a:failed b:waiting")
    assert await world.intents() == {"a": "draining", "b": "active"}
    assert [each.because for each in await stopped_rolls(world.database)] == [stopped.stopped_because]
    for _ in range(3):
        await world.tick()
    assert await world.steps(roll) == "a:failed b:waiting"
    world.agents["a"].failure = ""
    await resume_roll(world.database, UUID(roll.roll_id), reason="", actor=ACTOR)
    assert await stopped_rolls(world.database) == []
    ended = await world.until(roll, "finished")
    assert [each.step for each in ended.nodes] == ["done", "done"]
    assert (world.asked, ended.stopped_because) == (["a", "a", "b"], "")


async def test_a_relay_that_does_not_relay_from_outside_gets_no_clients(world: World) -> None:
    good, world.agents["a"].port = world.agents["a"].port, free_port()
    roll = await world.start()
    await world.until(roll, "a:verifying")
    for _ in range(3):
        await world.tick()
    assert await world.steps(roll) == "a:verifying b:waiting"
    await world.later(120)
    stopped = await world.until(roll, "stopped")
    assert stopped.stopped_because.startswith("a: It was restarted, and does not relay: turn:127.0.0.1:")
    assert stopped.stopped_because.endswith("It is left cordoned.")
    assert await world.intents() == {"a": "cordoned", "b": "active"}
    world.agents["a"].port = good
    await resume_roll(world.database, UUID(roll.roll_id), reason="", actor=ACTOR)
    await world.until(roll, "finished")
    assert await world.intents() == {"a": "active", "b": "active"}


async def test_while_the_place_is_at_fault_a_relay_is_not_condemned(world: World) -> None:
    good, world.agents["a"].port = world.agents["a"].port, free_port()
    roll = await world.start()
    await world.until(roll, "a:verifying")
    world.keeper.view.prober = (ProberPlace(ours=True, since=None, failing=2, tried=2), time.monotonic())
    await world.later(120)
    await world.tick()
    assert await world.steps(roll) == "a:verifying b:waiting"
    world.keeper.view.prober, world.agents["a"].port = None, good
    await world.until(roll, "finished")


async def test_where_relays_are_not_tried_from_outside_the_agents_own_probes_are_enough(world: World) -> None:
    world.from_outside, world.prober = False, None
    world.agents["a"].port = free_port()
    ended = await world.until(await world.start(), "finished")
    assert ([each.step for each in ended.nodes], world.asked) == (["done", "done"], ["a", "b"])


@pytest.mark.parametrize(
    ("step", "change", "intent"),
    [
        ("a:draining", Change.UNDRAIN, "active"),
        ("a:restarting", Change.DRAIN, "draining"),
        ("a:verifying", Change.CORDON, "cordoned"),
    ],
)
async def test_what_an_operator_wants_in_the_middle_is_left_so(world: World, step: str, change: Change, intent: str) -> None:
    roll = await world.start(deadline_seconds=0 if step != "a:draining" else 3600)
    world.agents["a"].obeys = step != "a:restarting"
    world.agents["a"].port = world.agents["a"].port if step != "a:verifying" else free_port()
    await world.until(roll, step)
    await world.change("a", change, "mine")
    stopped = await world.until(roll, "stopped")
    assert stopped.stopped_because == f"a: Somebody else has made it {intent} (mine) meanwhile: it is left so."
    assert (await world.intents())["a"] == intent
    # Resumed, it is judged by the rule for its beginning.
    await resume_roll(world.database, UUID(roll.roll_id), reason="", actor=ACTOR)
    await world.until(roll, "a:draining" if intent == "active" else "a:skipped")


async def test_a_step_that_was_decided_before_an_operator_s_call_is_not_taken(world: World) -> None:
    roll = await world.start(deadline_seconds=3600)
    (decided,) = await world.decided(roll)
    await world.change("a", Change.CORDON, "mine")
    assert not await take_move(world.database, roll, decided, epoch=world.epoch)
    assert await world.steps(roll) == "a:waiting b:waiting"
    assert (await world.intents())["a"] == "cordoned"


async def test_a_forgotten_node_is_skipped_and_an_operator_s_cordon_is_kept(world: World) -> None:
    await world.change("b", Change.CORDON, "mine")
    roll = await world.start(max_unavailable=2)
    await world.until(roll, "a:draining")
    await forget_node(world.database, world.ids["a"], actor=ACTOR)
    ended = await world.until(roll, "finished")
    assert {each.name: (each.step, each.detail) for each in ended.nodes} == {
        "a": ("skipped", "It was forgotten."),
        "b": ("skipped", "It was cordoned (mine) before, and is left so."),
    }
    assert (await world.intents())["b"] == "cordoned"


async def test_a_relay_that_is_dead_is_the_first_and_comes_back(world: World) -> None:
    world.agents["b"].dead = True
    roll = await world.start()
    await world.until(roll, "b:restarting")
    assert await world.steps(roll) == "a:waiting b:restarting"
    world.agents["b"].dead = False
    await world.until(roll, "finished")
    assert world.asked == ["b", "a"]


async def test_it_waits_for_a_silent_node_and_stops_after_ten_minutes(world: World) -> None:
    world.agents["a"].silent = True
    world.keeper.view.columns.received_at[world.keeper.view.columns.place_of[world.ids["a"]]] -= 60
    roll = await world.start()
    for _ in range(3):
        await world.tick()
    assert await world.steps(roll) == "a:waiting b:waiting"
    await world.sql("UPDATE rolls SET running_since = running_since - interval '10 minutes'")
    await world.later(600)
    stopped = await world.until(roll, "stopped")
    assert stopped.stopped_because.startswith("It waited for 10 minutes. At most 1 may be out of service, and these are: a (down, ")


async def test_a_stop_holds_where_it_is_and_a_resumption_goes_on_from_there(world: World) -> None:
    roll = await world.start()
    await world.until(roll, "a:restarting")
    (decided,) = await world.decided(roll)
    await stop_roll(world.database, UUID(roll.roll_id), reason="lunch", actor=ACTOR)
    assert not await take_move(world.database, roll, decided, epoch=world.epoch)
    for _ in range(3):
        await world.tick()
    stopped = await world.now(roll)
    assert (stopped.state, stopped.stopped_by, stopped.stopped_because) == ("stopped", "operator", "lunch")
    assert await world.steps(roll) == "a:restarting b:waiting"
    assert await stopped_rolls(world.database) == []
    await resume_roll(world.database, UUID(roll.roll_id), reason="", actor=ACTOR)
    await world.until(roll, "finished")
    assert world.asked == ["a", "b"]


async def test_one_region_has_one_roll_and_only_its_newest_is_resumed(world: World) -> None:
    first = await world.start()
    with pytest.raises(ConflictError, match="is running"):
        await world.start()
    await stop_roll(world.database, UUID(first.roll_id), reason="", actor=ACTOR)
    second = await world.start()
    for each in (first, second):
        with pytest.raises(ConflictError):
            await resume_roll(world.database, UUID(each.roll_id), reason="", actor=ACTOR)
    await world.until(second, "finished")
    with pytest.raises(ConflictError, match="newer roll"):
        await resume_roll(world.database, UUID(first.roll_id), reason="", actor=ACTOR)
    with pytest.raises(ConflictError, match="finished"):
        await stop_roll(world.database, UUID(second.roll_id), reason="", actor=ACTOR)


async def test_without_a_master_key_nothing_is_touched(world: World) -> None:
    world.prober = None
    roll = await world.start()
    stopped = await world.until(roll, "stopped")
    assert "TURNFLEET_MASTER_KEY_FILE" in stopped.stopped_because
    assert await world.intents() == {"a": "active", "b": "active"}


async def test_an_agent_that_knows_a_higher_number_is_asked_for_one_above_it(world: World) -> None:
    """As after a restore of PostgreSQL."""
    world.agents["a"].generation = 40
    roll = await world.start()
    await world.until(roll, "a:verifying")
    assert world.agents["a"].generation == 41
    assert [row[0] for row in await world.sql("SELECT coturn_generation FROM nodes WHERE name = 'a'")] == [41]


async def test_what_an_agent_says_cannot_hold_up_the_leader(world: World) -> None:
    world.agents["a"].failure = "a\x00b\ud800c"
    world.agents["a"].generation = 2**31 - 1
    roll = await world.start()
    await world.until(roll, "a:restarting")
    world.agents["a"].generation = 2**31 - 1
    stopped = await world.until(roll, "stopped")
    assert stopped.stopped_because == "a: a\ufffdb\ufffdc. It is left draining."
