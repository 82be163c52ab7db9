"""The operator's own program that runs while coturn is stopped, before it starts anew: to install a newer one, for example.

Which program that is stands in the agent's settings alone: nothing that the control plane says becomes part of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, STDOUT, Process
from contextlib import suppress
from pathlib import Path

import structlog

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

MOST_SECONDS = 300.0
"""Longer than a package manager needs for one package; the roll that asked for the restart waits 420 s."""
TERMINATE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL: one that installs something gets to put it in order."""
_TAIL_BYTES = 4096


async def run(program: Path, output: Path, *, most_seconds: float = MOST_SECONDS) -> str | None:
    """None when it ended with status 0, else a sentence. What it prints is in the file `output`, of its last run alone."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(output, flags, 0o600), "wb") as file:
            process = await asyncio.create_subprocess_exec(
                str(program),
                stdin=DEVNULL,
                stdout=file,
                stderr=STDOUT,
                cwd="/",
                env={key: value for key, value in os.environ.items() if not key.startswith("TURNFLEET_")},
                start_new_session=True,
            )
    except OSError as error:
        return f"{program} could not be run ({error.strerror})"
    log.info("before_restart_started", program=str(program), pid=process.pid)
    try:
        async with asyncio.timeout(most_seconds):
            status = await process.wait()
    except TimeoutError:
        return f"{program} did not end within {most_seconds:.0f} s and was stopped"
    finally:
        await _end(process)
    log.info("before_restart_ended", program=str(program), status=status)
    if status == 0:
        return None
    how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
    return f"{program} {how}" + (f": {last}" if (last := _last_line(output)) else "")


async def _end(process: Process) -> None:
    """With all that it started. Also when the agent itself is told to end meanwhile."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(TERMINATE_SECONDS):
            await process.wait()
            return
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _last_line(output: Path) -> str:
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(character for character in last if character.isprintable())
