"""The secret of each node and version: derived from a master key when needed, never stored."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache

from controlplane.fleet.model import Node
from controlplane.flows.master_keys import MasterKeys
from controlplane.wire.agent_api import secret_digest
from controlplane.wire.redacted import Redacted


class NodeSecrets:
    """HKDF-SHA256 (RFC 5869) of a master key with info `turnfleet/node/<node id>/<version>`.

    A stolen relay gives away its own secret alone, and nobody has to keep a table of secrets. Every method raises KeyError for
    a version of a master key that this process does not have: those are in Node.unknown_versions.
    """

    def __init__(self, keys: MasterKeys) -> None:
        @lru_cache(maxsize=65_536)
        def derive(node_id: str, version: int, key_id: str | None) -> str:
            raw = keys.derive(key_id, f"turnfleet/node/{node_id}/{version}".encode())
            return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

        self._derive = derive
        self._known = keys.known

    def secret(self, node: Node, version: int) -> Redacted:
        """43 base64url characters, as they stand in coturn's table."""
        return Redacted(self._derive(node.node_id, version, node.key_of(version)))

    def signing_key(self, node_id: str, version: int, key_id: str | None) -> bytes:
        """The same as the bytes that coturn uses as HMAC key."""
        return self._derive(node_id, version, key_id).encode("ascii")

    def check(self, node: Node, loaded: Iterable[tuple[int, str]]) -> tuple[tuple[int, ...], bool]:
        """From (version, digest) pairs that a node reports: the versions with the right value, and whether it drifted.

        It drifted when it holds a wrong value, a version it should not, or lacks one that it should. A version that cannot be
        judged here counts as right: the replicas that can judge it must not lose the node to the word of one that cannot.
        """
        right, wrong = [], False
        for version, digest in loaded:
            key = node.key_of(version)
            if (key is not None and key not in self._known) or digest == secret_digest(self._derive(node.node_id, version, key)):
                right.append(version)
            else:
                wrong = True
        return tuple(sorted(right)), wrong or set(right) != set(node.wanted_versions)
