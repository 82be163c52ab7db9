"""`turnfleet` with its output and exit status: in this process, which is quick, or as its users start it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from controlplane.__main__ import run
from tests.running_api import RunningApi

_DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self) -> Any:
        return json.loads(self.out)

    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]


@dataclass(slots=True, kw_only=True)
class Cli:
    """Runs commands with this environment, and nothing of the caller's but the path."""

    environment: dict[str, str] = field(default_factory=dict)
    own_process: bool = False
    """For what depends on how it is started: streams, colours, completion."""

    async def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Ended:
        complete = {"PATH": os.environ["PATH"], "TZ": "UTC", **self.environment, **environment}
        if not self.own_process:
            # In a thread: a server that it talks to may be on this loop.
            return await asyncio.to_thread(_in_this_process, arguments, stdin, complete)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "controlplane",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=complete,
        )
        async with asyncio.timeout(_DEADLINE_SECONDS):
            out, err = await process.communicate(stdin.encode())
        ended = Ended(status=process.returncode or 0, out=out.decode(), err=err.decode())
        assert "Traceback" not in ended.err, ended.err
        return ended


def _in_this_process(arguments: Sequence[str], stdin: str, environment: dict[str, str]) -> Ended:
    """The same entry as a process has, one at a time: the environment and the streams are this process's."""
    everything = {name: environment.get(name) for name in {*os.environ, *environment}}
    before, status = sys.argv, 0
    try:
        with CliRunner().isolation(stdin, everything) as (out, err, _):
            time.tzset()
            sys.argv = ["turnfleet", *arguments]
            try:
                run()
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            sys.stdout.flush()
            sys.stderr.flush()
            return Ended(status=status, out=out.getvalue().decode(), err=err.getvalue().decode())
    finally:
        sys.argv = before
        time.tzset()


def cli_for(api: RunningApi, folder: Path, kind: str = "project") -> Cli:
    """With URL and token in the environment, and a home of its own."""
    return Cli(
        environment={
            "TURNFLEET_CLIENT_URL": api.url,
            "TURNFLEET_CLIENT_TOKEN": api.tokens[f"{kind}_token"],
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
        }
    )
