"""`up`, `down`, `status`, `logs`, `stop` and `start`."""

import argparse
import asyncio
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from deploy.local.control import NotRunning, Running, StackLock, call, find_running
from deploy.local.folders import FolderRefused, state_folder
from deploy.local.layout import CHECKOUT, StackOptions
from deploy.local.logs import SUPERVISOR_LOG, LogFollower, log_files
from deploy.local.parser import DEFAULT_STATE
from deploy.local.process import last_lines
from deploy.local.records import end_all
from deploy.local.stack import sweep
from deploy.local.supervisor import Supervisor, already_up, say

__all__ = ["run"]

FOLLOW_POLL = timedelta(milliseconds=100)
# A supervisor that was told to end waits for the slowest part it has.
DOWN_DEADLINE = timedelta(seconds=60)


def run(options: argparse.Namespace) -> int:
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "up": _up,
        "down": _down,
        "status": _status,
        "logs": _logs,
        "stop": _stop_or_start,
        "start": _stop_or_start,
    }
    try:
        return commands[options.command](options)
    except (NotRunning, FolderRefused) as error:
        print(f"deploy/dev: {error}", file=sys.stderr)
        return 1


def _up(options: argparse.Namespace) -> int:
    state = state_folder(options.dir)
    try:
        stack = StackOptions(
            state=state,
            port_base=options.port_base,
            regions=options.regions,
            nodes_per_region=options.nodes_per_region,
            say=say,
            dir_argument="" if options.dir == DEFAULT_STATE else f" --dir {options.dir}",
            environment={name: value for name, value in os.environ.items() if name.startswith("TURNFLEET_")},
        )
        _ = stack.ports
    except ValueError as error:
        print(f"deploy/dev up: {error}", file=sys.stderr)
        return 2
    if options.detach and options.ready_descriptor is None:
        return _up_detached(options, state)
    show_logs = options.ready_descriptor is None and not options.quiet
    return asyncio.run(Supervisor(stack, ready_descriptor=options.ready_descriptor, show_logs=show_logs).run())


def _up_detached(options: argparse.Namespace, state: Path) -> int:
    """Starts the supervisor in a session of its own and shows what it says until it is ready or has given up."""
    lock = StackLock(state)
    if not lock.take():
        say(already_up(state, "" if options.dir == DEFAULT_STATE else f" --dir {options.dir}"))
        return 1
    log_file = state / SUPERVISOR_LOG
    # What it says at the end holds tokens, as ready.json does.
    log_file.unlink(missing_ok=True)
    log_file.touch(mode=0o600)
    lock.release()
    ready, told = os.pipe()
    arguments = [sys.executable, "-P", "-m", "deploy.local", "up", "--dir", str(options.dir), "--detach"]
    arguments += ["--regions", ",".join(options.regions), "--nodes-per-region", str(options.nodes_per_region)]
    arguments += ["--port-base", str(options.port_base), "--ready-descriptor", str(told)]
    with log_file.open("ab") as log:
        supervisor = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ) | {"PYTHONPATH": str(CHECKOUT)},
            start_new_session=True,
            pass_fds=(told,),
        )
    os.close(told)
    follower = LogFollower({"supervisor": log_file}, from_end=False)
    try:
        while not select.select([ready], [], [], FOLLOW_POLL.total_seconds())[0]:
            _show(follower)
        is_ready = bool(os.read(ready, 16))
        if not is_ready:
            supervisor.wait()
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        _show(follower)
        return 130
    finally:
        os.close(ready)
    _show(follower)
    return 0 if is_ready else supervisor.returncode or 1


def _show(follower: LogFollower) -> None:
    for _, line in follower.new_lines():
        say(line)


def _down(options: argparse.Namespace) -> int:
    state = _existing_state(options)
    began = time.monotonic()
    try:
        running = find_running(state)
    except NotRunning as error:
        # Its supervisor may have been killed, and what it had started goes on.
        if not _sweep_alone(state):
            say(f"{state} is taken: turnfleet is being started or stopped there")
            return 1
        say(str(error))
        return 0
    with contextlib.suppress(OSError):
        asyncio.run(call(running, "down"))
    _wait_for_end(running)
    # Where it is taken again somebody has started the next one, which sweeps for itself.
    _sweep_alone(state)
    say(f"stopped ({time.monotonic() - began:.1f} s); the state in {options.dir} is kept")
    return 0


def _sweep_alone(state: Path) -> bool:
    """False when a supervisor holds the folder: what runs there is its own."""
    lock = StackLock(state)
    if not lock.is_there():
        return True  # Nothing was ever started here.
    if not lock.take():
        return False
    try:
        sweep(StackOptions(state=state), say)
    finally:
        lock.release()
    return True


def _wait_for_end(running: Running) -> None:
    """A supervisor that does not end is ended; what it leaves behind is swept afterwards."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(running.pid)
        if not running.lives():
            return
        try:
            process.wait(timeout=DOWN_DEADLINE.total_seconds())
        except psutil.TimeoutExpired:
            say(f"the supervisor (pid {running.pid}) does not end by itself: ending it")
            end_all([process])


def _status(options: argparse.Namespace) -> int:
    answer = asyncio.run(_ask(options, "status"))
    if options.json:
        print(json.dumps(answer, indent=2))
        return 0 if "error" not in answer else 1
    if "error" in answer:
        print(f"deploy/dev: {answer['error']}", file=sys.stderr)
        return 1
    print(f"API {answer['ready']['api_url']}\n")
    print(f"{'PART':<20} {'STATE':<10} {'PID':>8} {'CRASHES':>8} {'COTURN':>8}")
    for row in answer["parts"]:
        coturn = (row["coturn_pid"] or "-") if "coturn_pid" in row else ""
        print(f"{row['name']:<20} {row['state']:<10} {row['pid'] or '-':>8} {row['crash_count']:>8} {coturn:>8}")
    return 0


def _stop_or_start(options: argparse.Namespace) -> int:
    answer = asyncio.run(_ask(options, options.command, options.target))
    if "error" in answer:
        print(f"deploy/dev: {answer['error']}", file=sys.stderr)
        return 1
    print(answer["said"])
    return 0


async def _ask(options: argparse.Namespace, command: str, target: str = "") -> dict[str, Any]:
    running = find_running(_existing_state(options))
    try:
        return await call(running, command, target)
    except OSError as error:
        return {"error": f"the supervisor does not answer: {error}"}


def _logs(options: argparse.Namespace) -> int:
    files = log_files(_existing_state(options))
    if options.name is not None:
        if options.name not in files:
            print(f"deploy/dev: no log of {options.name!r}; there are: {', '.join(files) or 'none'}", file=sys.stderr)
            return 1
        files = {options.name: files[options.name]}
    width = max((len(name) for name in files), default=0)
    prefix = {name: "" if options.name else f"{name:<{width}} | " for name in files}
    follower = LogFollower(files, from_end=True)
    for name, file in files.items():
        for line in last_lines(file, count=options.lines):
            say(f"{prefix[name]}{line}")
    if options.follow:
        asyncio.run(follower.run(lambda name, line: say(f"{prefix[name]}{line}")))
    return 0


def _existing_state(options: argparse.Namespace) -> Path:
    """Asking about a stack must not make its folder."""
    folder: Path = options.dir
    if not folder.is_dir():
        raise NotRunning(f"nothing runs in {folder}")
    return folder.resolve()
