"""Whether the TLS certificate on disk is another one than coturn serves."""

from __future__ import annotations

from pathlib import Path

_Marks = tuple[tuple[int, int], ...]


class Certificate:
    """Looks at the files each time it is asked. Both must be at rest between two looks: a renewal writes one after the other."""

    def __init__(self, *paths: Path | None) -> None:
        self._paths = [path for path in paths if path is not None]
        self._served: _Marks | None = None
        self._seen: _Marks | None = None
        self._read_at = 0.0

    def read_by_coturn(self, at: float) -> None:
        """A coturn that we did not watch until now has read the files then, in Unix seconds."""
        self._read_at = at
        self._served = None
        self._seen = None

    def renewed(self) -> bool:
        """True once for each change since coturn read them. Files that cannot be read now count as unchanged."""
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return False
        now = tuple((one.st_mtime_ns, one.st_ino) for one in stats)
        at_rest, self._seen = now == self._seen, now
        if not at_rest or now == self._served:
            return False
        first, self._served = self._served is None, now
        return not first or any(one.st_mtime > self._read_at for one in stats)
