"""The tokens of nodes follow one another: offered in heartbeat replies until the node has used the next one.

Each is derived from the master key, so that every replica offers the same, however many replies are lost, and nothing but a
number is stored. The first one, of the join, is random.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import lru_cache

import structlog

from controlplane.fleet.model import Node
from controlplane.flows.directory import Directory
from controlplane.flows.master_keys import MasterKeys
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.node_tokens import take_token, want_old_token
from controlplane.wire.redacted import Redacted
from controlplane.wire.token_format import RANDOM_BYTES_NEEDED, ParsedToken, make_token

_SCHEDULED_AT_ONCE = 5
"""Nodes whose token is too old are asked so many at a pass: each is a write, and every replica reads the directory anew."""
_CONFIRM_SECONDS = 0.5
"""Well below the time that an agent gives a heartbeat's answer."""

log = structlog.get_logger()


class NodeTokens:
    """HKDF-SHA256 (RFC 5869) of the master key in use with info `turnfleet/node-token/<node id>/<generation>`.

    While the master key is changed, what another replica offered under the other one is taken, too.
    """

    def __init__(self, keys: MasterKeys) -> None:
        self._keys = keys

        @lru_cache(maxsize=65_536)
        def derive(key_id: str, node_id: str, generation: int) -> tuple[Redacted, ParsedToken]:
            info = f"turnfleet/node-token/{node_id}/{generation}".encode()
            return make_token("node", keys.derive(key_id, info)[:RANDOM_BYTES_NEEDED])

        self._derive = derive

    def offered(self, node: Node, *, shown: bytes) -> Redacted | None:
        """What the reply to a node that showed a token with the hash `shown` offers. None: nothing, or it has it already."""
        if node.token_wanted_at is None or shown != node.token_sha256:
            return None
        return self._derive(self._keys.in_use, node.node_id, node.token_generation + 1)[0]

    def successors(self, node: Node) -> list[bytes]:
        """The hashes of the tokens that work beside the node's own: none, or one of each master key that is known here."""
        if node.token_wanted_at is None:
            return []
        return [self._derive(key_id, node.node_id, node.token_generation + 1)[1].sha256 for key_id in sorted(self._keys.known)]


async def confirm_token(database: Database, directory: Directory, node: Node, *, shown: bytes) -> None:
    """A node that showed the successor of its token has it for good: the one before stops working.

    While PostgreSQL is away or slow both work, and the next heartbeat tries this again. Every replica follows with its next look at
    the directory.
    """
    if shown == node.token_sha256 or directory.failing:
        return
    try:
        async with asyncio.timeout(_CONFIRM_SECONDS):
            if await take_token(database, node, shown):
                log.info("node_token_replaced", node=node.name, region=node.region, generation=node.token_generation + 1)
    except (DatabaseUnavailableError, TimeoutError) as error:
        log.warning("node_token_not_confirmed", node=node.name, reason=str(error) or "PostgreSQL is slow.")


class TokenAger:
    """The leader's pass over the age of tokens. Remembers nothing. One per term."""

    def __init__(self, database: Database, directory: Directory, *, every: timedelta | None, epoch: int) -> None:
        """`every`: how old a token may become; None: for ever."""
        self._database = database
        self._directory = directory
        self._every = every
        self._epoch = epoch

    async def advance(self) -> None:
        """Raises DatabaseUnavailableError."""
        changed = False
        for node in self._due():
            changed |= await want_old_token(self._database, node, epoch=self._epoch)
        if changed:
            await self._directory.refresh()

    def _due(self) -> list[Node]:
        """The oldest first."""
        if self._every is None:
            return []
        now = self._directory.database_now()
        old = [
            (node.token_at, node.node_id, node)
            for node in self._directory.nodes.values()
            if node.token_wanted_at is None and node.token_at is not None and now - node.token_at >= self._every
        ]
        return [node for _, _, node in sorted(old)[:_SCHEDULED_AT_ONCE]]
