"""Where an address is, by the configured databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from controlplane.geoip.database import Database, DatabaseDescription, FileIdentity, GeoipFileError
from controlplane.geoip.location import DATA_FOLDER, Location, read_centroids
from controlplane.geoip.public_address import public_address

DEFAULT_DATABASE = DATA_FOLDER / "geo-whois-asn-country.mmdb"
"""The country database that comes with the package. Source, build date and licence: NOTICE beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What looking for changed files came to. Both empty: nothing changed."""

    reopened: tuple[DatabaseDescription, ...]
    """Files now answering with their new content."""
    failures: tuple[GeoipFileError, ...]
    """Files whose new content cannot be used. Their old content goes on answering. Each change is reported once."""


class Locator:
    """Places for addresses from a list of MaxMind DB files, asked in order: the first that knows a place wins.

    `locate` may run while another thread runs `reload_if_changed`.
    """

    def __init__(self, paths: Sequence[str | Path] = (DEFAULT_DATABASE,)) -> None:
        """Opens every file, blocking for some milliseconds. Raises GeoipFileError for the first that cannot be used."""
        self._centroids = read_centroids()
        self._databases = tuple(Database(Path(path), self._centroids) for path in paths)
        self._failed: dict[Path, FileIdentity | None] = {}
        self._reloading = Lock()

    def locate(self, address: str) -> Location | None:
        """The place of an address, or None where it is junk, not public, or in no file. Never raises, never blocks.

        Spaces around the address and a zone id are ignored; IPv4-mapped IPv6 is looked up as IPv4.
        """
        public = public_address(address)
        if public is None:
            return None
        text, is_ipv6 = public
        for database in self._databases:
            location = database.locate(text, is_ipv6=is_ipv6)
            if location is not None:
                return location
        return None

    def reload_if_changed(self) -> Reload:
        """Reopens files that were replaced since they were opened. Never raises for a file: failures are in the answer.

        Blocking (one stat per file; some milliseconds for one that changed): call it in a thread. All changes become
        visible to `locate` in one step.
        """
        with self._reloading:
            databases: list[Database] = []
            reopened: list[DatabaseDescription] = []
            failures: list[GeoipFileError] = []
            for current in self._databases:
                database = current
                try:
                    database = self._changed(current)
                except GeoipFileError as error:
                    failures.append(error)
                databases.append(database)
                if database is not current:
                    reopened.append(database.description)
            self._databases = tuple(databases)
        return Reload(reopened=tuple(reopened), failures=tuple(failures))

    def describe(self) -> list[DatabaseDescription]:
        """The files that are answering now, in the order in which they are asked."""
        return [database.description for database in self._databases]

    def _changed(self, current: Database) -> Database:
        """`current` itself, or its successor. Raises GeoipFileError once for each change that cannot be used."""
        path = current.path
        found = FileIdentity.of(path)
        if found == current.identity:
            self._failed.pop(path, None)
            return current
        if path in self._failed and self._failed[path] == found:
            return current
        try:
            database = Database(path, self._centroids)
        except GeoipFileError:
            self._failed[path] = found
            raise
        self._failed.pop(path, None)
        return database
