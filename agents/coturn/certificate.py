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

    def renewed(self) -> bool:
        """True once for each change. Files that cannot be read now count as unchanged."""
        try:
            now = tuple((path.stat().st_mtime_ns, path.stat().st_ino) for path in self._paths)
        except OSError:
            return False
        at_rest, self._seen = now == self._seen, now
        if self._served is None:
            self._served = now
        if now == self._served or not at_rest:
            return False
        self._served = now
        return True
