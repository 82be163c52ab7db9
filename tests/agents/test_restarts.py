"""A restart of coturn that the control plane wants: done once, after the operator's own program, whatever comes of that."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from agents import parse
from agents.coturn import before_restart
from agents.coturn.restarts import Restarts
from agents.plan import LocalState, RestartCoturn, plan
from agents.settings import AgentSettings
from controlplane.wire.agent_api import Heartbeat, HeartbeatReply
from tests.agents.control_plane import ControlPlane, control_plane
from tests.agents.places import eventually, make_settings
from tests.agents.test_whole_agent import coturns, running


def program(folder: Path, text: str) -> Path:
    path = folder / "before"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def boot(beat: Heartbeat) -> str | None:
    return beat.coturn.boot_id


def restarted(plane: ControlPlane, generation: int) -> bool:
    return plane.beats[-1].coturn_generation == generation and plane.usable()


async def wanted_again(plane: ControlPlane, settings: AgentSettings, generation: int) -> None:
    """Raises when another coturn runs than before the same wish."""
    count, pid = len(plane.beats), coturns(settings)[0].pid
    plane.coturn_generation = generation
    await eventually(lambda: len(plane.beats) > count + 3, what="the wish is told again")
    assert [each.pid for each in coturns(settings)] == [pid]


async def test_it_is_done_once_after_the_program_and_not_again_after_a_restart_of_the_agent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNFLEET_AGENT_JOIN_TOKEN", "tfj_secret")
    seen, running_then = folder / "seen", folder / "running"
    # coturn must not run meanwhile; what our own environment holds of tokens is not its business.
    script = f'pgrep -f "{folder}/state/coturn/turnserver.conf" >> {running_then}; env | grep -c TURNFLEET >> {seen}; exit 0'
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url, before_restart=program(folder, script), on_exit="leave")
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            first = boot(plane.beats[-1])
            assert plane.beats[-1].coturn_generation == 0
            plane.coturn_generation = 3
            await eventually(lambda: restarted(plane, 3), what="coturn is restarted")
            second = boot(plane.beats[-1])
            assert second != first
            assert plane.beats[-1].coturn_failure is None
            assert seen.read_text() == "0\n"
            assert running_then.read_text() == ""
            assert "dead" not in {beat.coturn.state for beat in plane.beats}
            # A reply of a replica that knows less, or the same again, changes nothing.
            await wanted_again(plane, settings, 3)
            await wanted_again(plane, settings, 2)
        assert len(coturns(settings)) == 1
        plane.coturn_generation = 3
        async with running(settings):
            await eventually(lambda: boot(plane.beats[-1]) == second and plane.usable(), what="it is adopted")
            await wanted_again(plane, settings, 3)
            plane.coturn_generation = 4
            await eventually(lambda: restarted(plane, 4), what="coturn is restarted once more")
            assert boot(plane.beats[-1]) != second
            assert seen.read_text() == "0\n0\n"
        coturns(settings)[0].terminate()


async def test_a_coturn_that_another_run_left_is_restarted_rather_than_adopted(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url, on_exit="leave")
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            # As in the middle of a drain: without secrets nothing is adopted before the control plane has answered.
            plane.secrets = {}
            await eventually(lambda: plane.beats[-1].secrets == [], what="the secrets are withdrawn")
        (left,) = coturns(settings)
        plane.coturn_generation = 1
        async with running(settings):
            await eventually(
                lambda: plane.beats[-1].coturn_generation == 1 and plane.beats[-1].coturn.state == "running", what="a restart"
            )
            assert not left.is_running()
            assert len(coturns(settings)) == 1
        coturns(settings)[0].terminate()


async def test_a_program_that_fails_is_told_and_coturn_runs_again(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url, before_restart=program(folder, "echo E: no such package; exit 100"))
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            plane.coturn_generation = 1
            await eventually(lambda: restarted(plane, 1), what="coturn is restarted")
            said = plane.beats[-1].coturn_failure
            assert said is not None
            assert said.startswith(f"TURNFLEET_AGENT_BEFORE_RESTART: {folder}/before ended with status 100: E: no such package")
            assert (settings.state_dir / "before-restart.log").read_text() == "E: no such package\n"
        async with running(settings):
            await eventually(plane.usable, what="a usable node after a restart of the agent")
            assert plane.beats[-1].coturn_failure == said
            settings.before_restart.write_text("#!/bin/sh\n")  # type: ignore[union-attr] # set above
            plane.coturn_generation = 2
            await eventually(lambda: restarted(plane, 2), what="it is restarted again")
            assert plane.beats[-1].coturn_failure is None


async def test_what_another_supervisor_runs_is_not_restarted_and_said_so(folder: Path) -> None:
    settings = make_settings(folder, coturn="attached")
    settings.state_dir.mkdir()
    restarts = Restarts(settings, node_id="node-1")
    restarts.ask(5)
    assert (restarts.due, restarts.done) == (False, 5)
    assert restarts.failure is not None
    assert "TURNFLEET_AGENT_COTURN=attached" in restarts.failure


@pytest.mark.parametrize(
    ("has", "asked", "planned"), [(0, 0, []), (3, 0, []), (3, 2, []), (3, 3, []), (3, 5, [RestartCoturn(generation=5)])]
)
def test_only_a_higher_number_is_a_wish(has: int, asked: int, planned: list[RestartCoturn]) -> None:
    state = LocalState(realm="r", intent="active", interval_seconds=2.0, secrets={}, coturn_wanted=True, coturn_generation=has)
    reply = HeartbeatReply(
        interval_seconds=2.0, intent="active", realm="r", secret_versions=[], server_at=1.0, coturn_generation=asked
    )
    assert plan(reply, state) == planned


async def test_numbers_of_another_node_on_this_disk_do_not_count(folder: Path) -> None:
    settings = make_settings(folder)
    settings.state_dir.mkdir()
    restarts = Restarts(settings, node_id="node-1")
    restarts.ask(7)
    await restarts.prepare()
    assert Restarts(settings, node_id="node-1").done == 7
    assert Restarts(settings, node_id="node-2").done == 0
    (settings.state_dir / "coturn-generation.json").write_text("{")
    assert Restarts(settings, node_id="node-1").done == 0


async def test_a_sentence_fits_into_a_heartbeat(folder: Path) -> None:
    settings = make_settings(folder, before_restart=program(folder, "printf '%0300d' 0; printf '\\033[31m\\a'; exit 1"))
    settings.state_dir.mkdir()
    restarts = Restarts(settings, node_id="node-1")
    restarts.ask(1)
    await restarts.prepare()
    assert restarts.failure is not None
    assert len(restarts.failure) == 200
    assert restarts.failure.isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 0", None),
        ("kill -9 $$", "was ended by signal 9"),
        ("exit 3", "ended with status 3"),
        ("echo a; echo b >&2; echo; exit 1", "ended with status 1: b"),
    ],
)
async def test_how_a_program_ended_is_told(folder: Path, text: str, said: str | None) -> None:
    path = program(folder, text)
    assert await before_restart.run(path, folder / "output") == (None if said is None else f"{path} {said}")


async def test_a_program_that_cannot_be_run_is_told(folder: Path) -> None:
    path = folder / "before"
    assert await before_restart.run(path, folder / "output") == f"{path} could not be run (No such file or directory)"


async def test_a_program_without_end_is_stopped_with_all_that_it_started(folder: Path) -> None:
    path = program(folder, f"sleep 1000 & echo $! > {folder}/child; wait")
    began = time.monotonic()
    said = await before_restart.run(path, folder / "output", most_seconds=0.5)
    assert said == f"{path} did not end within 0 s and was stopped"
    assert time.monotonic() - began < 5
    child = int((folder / "child").read_text())
    await eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", what="its child is gone")


async def test_an_agent_that_ends_meanwhile_leaves_no_program_behind(folder: Path) -> None:
    path = program(folder, f"echo $$ > {folder}/itself; exec sleep 1000")
    task = asyncio.create_task(before_restart.run(path, folder / "output"))
    await eventually(lambda: (folder / "itself").exists() and (folder / "itself").read_text() != "", what="it runs")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(int((folder / "itself").read_text()))


@pytest.mark.parametrize(("mode", "words"), [(0o600, "can be run"), (0o777, "others may change"), (0o770, "others may change")])
def test_a_program_that_others_may_change_or_that_does_not_run_is_refused(folder: Path, mode: int, words: str) -> None:
    path = program(folder, "exit 0")
    path.chmod(mode)
    with pytest.raises(ValueError, match=words):
        parse.program(str(path))
    path.chmod(0o755)
    assert parse.program(str(path)) == path
