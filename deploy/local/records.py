"""Which processes are ours, written down so that they can be found and ended after their supervisor is gone.

A pid alone proves nothing, since the kernel gives it out again: a process is ours when it also started at the recorded time.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

import psutil

from deploy.local.files import write_private

__all__ = ["Records", "coturns_below", "end_all", "started_at_seconds"]

# psutil derives start times from the kernel's ticks and the boot time: two readings differ by a tick at most.
SAME_START_SECONDS = 0.5


class Records:
    """name → pid and start time, in one file that is replaced as a whole."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, pids: Mapping[str, int | None]) -> None:
        found = {
            name: {"pid": pid, "started_at_seconds": started}
            for name, pid in pids.items()
            if pid is not None and (started := started_at_seconds(pid)) is not None
        }
        write_private(self._file, json.dumps(found, indent=2))

    def living(self) -> dict[str, psutil.Process]:
        """Those that still run and are really the ones that were written down."""
        try:
            found = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        living: dict[str, psutil.Process] = {}
        for name, record in found.items():
            process = _living(record["pid"], record["started_at_seconds"])
            if process is not None:
                living[name] = process
        return living

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)


def started_at_seconds(pid: int) -> float | None:
    """When the process started, by the wall clock; None when there is none, or when it only waits to be reaped."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _living(pid: int, started: float) -> psutil.Process | None:
    found = started_at_seconds(pid)
    if found is None or abs(found - started) > SAME_START_SECONDS:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def coturns_below(folder: Path) -> list[psutil.Process]:
    """Every coturn that runs with a configuration in `folder`: the one an agent started and may have left behind."""
    below = f"{folder}{os.sep}"
    return [
        process
        for process in psutil.process_iter(["name", "cmdline", "status"])
        if process.info["name"] == "turnserver"
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and any(below in part for part in process.info["cmdline"] or ())
    ]


def end_all(processes: Iterable[psutil.Process], *, deadline: timedelta = timedelta(seconds=10)) -> None:
    """Asks, waits, insists. Blocking. For processes that are not our children."""
    waiting = list(processes)
    for process in waiting:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
            process.terminate()
    _, stubborn = psutil.wait_procs(waiting, timeout=deadline.total_seconds())
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=deadline.total_seconds())
