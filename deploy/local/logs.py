"""Reading the logs of the parts, and following them with the part's name in front of each line."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

__all__ = ["SUPERVISOR_LOG", "LogFollower", "log_files", "set_aside"]

# Not among the others, which are set aside at each start: the supervisor is writing to it by then.
SUPERVISOR_LOG = "supervisor.log"
POLL = timedelta(milliseconds=200)


def log_files(state: Path) -> dict[str, Path]:
    """What can be read: every part by its name, and each node's coturn as `NODE:coturn`."""
    files = {file.stem: file for file in (*sorted((state / "log").glob("*.log")), state / SUPERVISOR_LOG) if file.exists()}
    for file in sorted((state / "nodes").glob("*/**/*.log")):
        files[f"{file.relative_to(state / 'nodes').parts[0]}:coturn"] = file
    return files


def set_aside(folder: Path) -> None:
    """Makes room for the logs of a new run; those of the run before are kept as `NAME.log.1`."""
    for file in folder.glob("*.log"):
        file.replace(file.with_suffix(".log.1"))


class LogFollower:
    """Hands out complete lines as they are appended. A file that shrinks or is replaced is read from its start."""

    def __init__(self, files: Mapping[str, Path], *, from_end: bool) -> None:
        self._files = dict(files)
        self._offsets = {name: _size(file) if from_end else 0 for name, file in self._files.items()}
        self._rests = dict.fromkeys(self._files, b"")

    def new_lines(self) -> list[tuple[str, str]]:
        return [(name, line) for name, file in self._files.items() for line in self._new_lines_of(name, file)]

    async def run(self, show: Callable[[str, str], None]) -> None:
        """Until cancelled."""
        while True:
            for name, line in self.new_lines():
                show(name, line)
            await asyncio.sleep(POLL.total_seconds())

    def _new_lines_of(self, name: str, file: Path) -> list[str]:
        size = _size(file)
        if size < self._offsets[name]:
            self._offsets[name], self._rests[name] = 0, b""
        if size == self._offsets[name]:
            return []
        try:
            with file.open("rb") as opened:
                opened.seek(self._offsets[name])
                content = opened.read()
        except OSError:  # Gone since we looked: what stands there the next time is read.
            return []
        self._offsets[name] += len(content)
        *lines, self._rests[name] = (self._rests[name] + content).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
