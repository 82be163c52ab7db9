"""One open MaxMind DB file: what it is, and the place it gives an address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import maxminddb

from controlplane.geoip.location import Location, location_of

_PROBED_NETWORK_COUNT = 1000
"""A guess: one usable record among the first this many shows that a file is of the right kind; they take under 1 ms to read."""


class GeoipFileError(Exception):
    """A GeoIP file cannot be used. The message names the file, what is wrong, and what to do."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"The GeoIP file {path} cannot be used: {problem}. "
            "Put a MaxMind DB file (.mmdb) with countries or coordinates there, or take it off the list of GeoIP files."
        )
        self.path = path
        self.problem = problem


class FileIdentity(NamedTuple):
    """Which bytes a path led to. `ctime` is in it so that repaired permissions count as a change."""

    device: int
    inode: int
    size_bytes: int
    modified_nanoseconds: int
    changed_nanoseconds: int

    @classmethod
    def of(cls, path: Path) -> FileIdentity | None:
        """None where there is no such file, or no way to it."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class DatabaseDescription(NamedTuple):
    """What a loaded file says of itself, for metrics and for attribution."""

    path: Path
    database_type: str
    """The maker's name for it, such as `GeoLite2-City`: a source that asks for attribution is recognised by it."""
    built_at: datetime
    """Aware, UTC."""
    node_count: int


class Database:
    """An open file. Immutable: a changed file is a new Database. The operating system closes the map with the object.

    The file is mapped, not read. Replace it by renaming a new one over it, as geoipupdate does; writing into it in
    place changes it under the reader, and cutting it short kills the process (SIGBUS).
    """

    __slots__ = ("_centroids", "_get", "_ipv4_only", "description", "identity", "path")

    def __init__(self, path: Path, centroids: Mapping[str, Location]) -> None:
        """Opens and probes the file, blocking. Raises GeoipFileError."""
        self.path = path
        # Before the file is opened: one replaced in between then looks changed, and is read again.
        self.identity = FileIdentity.of(path)
        try:
            # MODE_AUTO is MODE_MMAP_EXT where the C extension is built, else the Python reader.
            reader = maxminddb.open_database(path, maxminddb.MODE_AUTO)
            metadata = reader.metadata()
            self.description = DatabaseDescription(
                path=path,
                database_type=metadata.database_type,
                built_at=datetime.fromtimestamp(metadata.build_epoch, UTC),
                node_count=metadata.node_count,
            )
            located = any(location_of(record, centroids) for _, record in islice(reader, _PROBED_NETWORK_COUNT))
        except maxminddb.InvalidDatabaseError as error:
            raise GeoipFileError(path, f"it is not a complete MaxMind DB file ({error})") from error
        except OSError as error:
            raise GeoipFileError(path, f"it cannot be opened ({error.strerror or error})") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise GeoipFileError(path, f"its metadata make no sense ({error})") from error
        if not located:
            kind = metadata.database_type
            raise GeoipFileError(path, f"its records name no country and no coordinates (its type is {kind!r})")
        self._centroids = centroids
        self._get = reader.get
        self._ipv4_only = metadata.ip_version == 4  # noqa: PLR2004

    def locate(self, address: str, *, is_ipv6: bool) -> Location | None:
        """The place of an address that `public_address` let through. None where the file does not know. Never raises."""
        # A file of IPv4 alone raises for an IPv6 address.
        if is_ipv6 and self._ipv4_only:
            return None
        try:
            record = self._get(address)
        except (maxminddb.InvalidDatabaseError, ValueError):
            # A broken branch of the tree beyond what was probed: as good as an unknown address.
            return None
        return location_of(record, self._centroids)
