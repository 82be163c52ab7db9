"""Running `deploy/dev` and its Python side as programs, and waiting for what happens in other processes."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import psutil

from deploy.local.layout import CHECKOUT

ENTRY = CHECKOUT / "deploy/dev"
DEADLINE = timedelta(seconds=20)


async def entry(
    *arguments: str, path: str | None = None, script: Path = ENTRY, within: Sequence[str] = (), **given: str
) -> tuple[int, str]:
    """`within` are words before the command, `given` is environment."""
    process = await asyncio.create_subprocess_exec(
        *within,
        "/bin/sh",
        str(script),
        *arguments,
        env=os.environ | ({"PATH": path} if path else {}) | given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def stand_in(folder: str | Path, name: str, body: str) -> None:
    """A program of that name, instead of any other in the folder."""
    program = Path(folder) / name
    program.unlink(missing_ok=True)
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


async def dev(*arguments: str, umask: int = -1) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.local",
        *arguments,
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        umask=umask,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE.total_seconds()):
        while not condition():  # noqa: ASYNC110 - what is waited for happens outside this process
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
