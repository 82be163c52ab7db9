"""The secret of each node and version: derived from the master key when needed, never stored."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.fleet.model import Node
from controlplane.wire.agent_api import secret_digest
from controlplane.wire.redacted import Redacted

SECRET_BYTES = 32


class NodeSecrets:
    """HKDF-SHA256 (RFC 5869) of the master key with info `turnfleet/node/<node id>/<version>`.

    A stolen relay gives away its own secret alone, and nobody has to keep a table of secrets.
    """

    def __init__(self, master_key: Redacted) -> None:
        key = base64.b64decode(master_key.reveal())

        @lru_cache(maxsize=65_536)
        def derive(node_id: str, version: int) -> str:
            info = f"turnfleet/node/{node_id}/{version}".encode()
            raw = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=info).derive(key)
            return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

        self._derive = derive

    def secret(self, node_id: str, version: int) -> Redacted:
        """43 base64url characters, as they stand in coturn's table."""
        return Redacted(self._derive(node_id, version))

    def signing_key(self, node_id: str, version: int) -> bytes:
        """The same as the bytes that coturn uses as HMAC key."""
        return self._derive(node_id, version).encode("ascii")

    def check(self, node: Node, loaded: Iterable[tuple[int, str]]) -> tuple[tuple[int, ...], bool]:
        """From (version, digest) pairs that a node reports: the versions with the right value, and whether it drifted.

        It drifted when it holds a wrong value, a version it should not, or lacks one that it should.
        """
        right, wrong = [], False
        for version, digest in loaded:
            if digest == secret_digest(self._derive(node.node_id, version)):
                right.append(version)
            else:
                wrong = True
        return tuple(sorted(right)), wrong or set(right) != set(node.wanted_versions)
