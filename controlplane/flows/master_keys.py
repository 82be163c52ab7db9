"""The master keys that this process has: its current one and, while the key is changed, the one before."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import replace

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.fleet.model import Node
from controlplane.fleet.words import some_of
from controlplane.wire.redacted import Redacted

KEY_ID_HEX_DIGITS = 8


class MasterKeys:
    """Keys by their ids. An id tells nothing about its key, and may be stored and shown."""

    def __init__(self, current: Redacted, previous: Redacted | None = None) -> None:
        """Of settings that were checked."""
        keys: dict[str, bytes] = {}
        self.current = _add(current, keys)
        """The id of the key that this process was told to use."""
        if previous:
            _add(previous, keys)
        self._keys = keys
        self._in_use = self.current
        self.missed: str | None = None
        """The id of the key that the fleet uses, where this process does not have it."""

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self._keys)

    @property
    def in_use(self) -> str:
        """The id of the key that new things come from: the fleet's, where this process has it."""
        return self._in_use

    def use(self, key_id: str) -> None:
        """What the fleet uses, as PostgreSQL tells."""
        has = key_id in self._keys
        self._in_use, self.missed = (key_id, None) if has else (self.current, key_id)

    def derive(self, key_id: str | None, info: bytes) -> bytes:
        """HKDF-SHA256 (RFC 5869), 32 bytes. None: of the current key. Raises KeyError for a key that is not known here."""
        return _derive(self._keys[key_id or self.current], info)

    def see(self, node: Node) -> Node:
        """The node with the versions that this process cannot derive."""
        known = {None, *self._keys}
        unknown = frozenset(version for version in node.secret_versions if node.key_of(version) not in known)
        return replace(node, unknown_versions=unknown) if unknown != node.unknown_versions else node


def missing_key(nodes: Iterable[Node]) -> str | None:
    """A sentence when nothing can be signed for some nodes, since the master key of all of their secrets is missing here."""
    blind = sorted((node for node in nodes if node.unknown_versions.issuperset(node.secret_versions)), key=lambda node: node.name)
    if not blind:
        return None
    shown = some_of([node.name for node in blind])
    keys = " and ".join(sorted({str(node.key_of(version)) for node in blind for version in node.secret_versions}))
    return (
        f"The secrets of {shown} come from the master key {keys}, which this process does not have: "
        "set it as TURNFLEET_MASTER_KEY_PREVIOUS until `turnfleet secret status` says that nobody needs it."
    )


def _add(key: Redacted, keys: dict[str, bytes]) -> str:
    raw = base64.b64decode(key.reveal())
    key_id = hashlib.sha256(_derive(raw, b"turnfleet/master-key-id")).hexdigest()[:KEY_ID_HEX_DIGITS]
    keys[key_id] = raw
    return key_id


def _derive(key: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
