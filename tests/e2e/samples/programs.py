"""The published samples as programs: which there are, and how each is run."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import base_environment
from tests.e2e.samples.runtimes import ORG_JSON, SYSTEM_NODE_MODULES, needs

__all__ = ["PROGRAMS", "Program", "run_program"]

FOLDER = Path(__file__).parent / "programs"
GLOBAL_FETCH = FOLDER / "stand_in"
END_DEADLINE_SECONDS = 90.0

# Java starts faster, and on a single core, when it does not prepare for a long life.
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", str(ORG_JSON))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`sample` is the name in SAMPLES and of the stored request."""

    sample: str
    runtime: str
    file: str


def _programs(runtime: str, folder: str, files: dict[str, str], *, prefix: str | None = None) -> tuple[Program, ...]:
    return tuple(
        Program(sample=f"{prefix or runtime}-{sample}", runtime=runtime, file=f"{folder}/{file}") for sample, file in files.items()
    )


_NODE_FILES = {
    "simple": "simple.js",
    "region": "region.js",
    "region-preferred": "region_preferred.js",
    "client-ip": "client_ip.js",
    "clients-and-room": "clients_and_room.js",
}

PROGRAMS = (
    *_programs(
        "curl",
        "curl",
        {
            "simple": "simple.sh",
            "region-preferred": "region_preferred.sh",
            "region-fixed": "region_fixed.sh",
            "client-ip": "client_ip.sh",
            "clients-and-room": "clients_and_room.sh",
        },
    ),
    *_programs(
        "ruby",
        "ruby",
        {"simple": "simple.rb", "region": "region.rb", "client-ip": "client_ip.rb", "clients-and-room": "clients_and_room.rb"},
        prefix="httparty",
    ),
    *_programs("node", "node", _NODE_FILES),
    *_programs("node-fetch", "node", _NODE_FILES),
    *_programs(
        "java",
        "java",
        {
            "simple": "Simple.java",
            "region": "Region.java",
            "client-ip": "ClientIp.java",
            "clients-and-room": "ClientsAndRoom.java",
        },
    ),
)


async def run_program(program: Program, *, api_url: str, token: str) -> str:
    """What it printed. Fails when it fails, or does not end."""
    executable, file = needs(program.runtime), str(FOLDER / program.file)
    command: tuple[str, ...]
    match program.runtime:
        case "curl":
            command = ("/bin/sh", file)
        case "java":
            command = (executable, *JAVA_OPTIONS, file)
        case _:
            command = (executable, file)
    modules = SYSTEM_NODE_MODULES if program.runtime == "node-fetch" else GLOBAL_FETCH
    process = await asyncio.create_subprocess_exec(
        *command,
        env=base_environment() | {"API_URL": api_url, "API_TOKEN": token, "NODE_PATH": str(modules)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), END_DEADLINE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{program.file} ended with status {process.returncode}: {errors.decode()}"
    return output.decode()
