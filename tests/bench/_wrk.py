"""wrk, and what it printed."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

_FAILURES = r"Non-2xx or 3xx responses: (\d+)|(?:connect|read|write|timeout) (\d+)"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    requests: int
    per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    failures: int
    """Answers other than 2xx and 3xx, and socket errors."""


async def wrk(url: str, *, seconds: int, connections: int, script: Path | None = None, cpu: int | None = None) -> Load:
    """A closed loop over keep-alive connections in one thread, on `cpu` where it can be pinned."""
    pin = ["taskset", "-c", str(cpu)] if cpu is not None and shutil.which("taskset") else []
    lua = ["-s", str(script)] if script is not None else []
    process = await asyncio.create_subprocess_exec(
        *pin, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *lua, url, stdout=asyncio.subprocess.PIPE
    )
    output = (await process.communicate())[0].decode()
    if process.returncode != 0:
        raise RuntimeError(f"wrk failed: {output}")
    return Load(
        requests=int(_found(r"(\d+) requests in", output)),
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", output)),
        p50_milliseconds=_milliseconds(r"50%\s+([\d.]+)(us|ms|s)", output),
        p99_milliseconds=_milliseconds(r"99%\s+([\d.]+)(us|ms|s)", output),
        failures=sum(int(number) for pair in re.findall(_FAILURES, output) for number in pair if number),
    )


def _found(pattern: str, output: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(f"wrk printed nothing like {pattern}: {output}")
    return match.group(1)


def _milliseconds(pattern: str, output: str) -> float:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(f"wrk printed nothing like {pattern}: {output}")
    return float(match.group(1)) * _UNITS[match.group(2)]
