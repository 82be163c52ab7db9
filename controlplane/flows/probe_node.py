"""A node tried from here, as a client would: with a credential of its own that is no application's, through each listener."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from controlplane.fleet.credentials import sign
from controlplane.fleet.eligibility import signing_version
from controlplane.fleet.ice_urls import turn_urls
from controlplane.fleet.model import Node, NodeRecord
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.turn.client import CredentialPair
from controlplane.turn.failures import OUR_OWN, Failure
from controlplane.turn.forbidden import PeersTried, try_forbidden_peers
from controlplane.turn.relaying import DEADLINE_SECONDS, probe_url
from controlplane.turn.target import parse_url
from controlplane.turn.trust import trust
from controlplane.turn.username import probe_id
from controlplane.wire.probe_api import RelayFailure, UrlProbe
from controlplane.wire.redacted import Redacted

CREDENTIAL_SECONDS = 30
"""Longer than a probe takes; a relay whose clock is some seconds ahead accepts it still."""
MOST_LISTENERS = 8
MOST_AT_ONCE = 8
"""Nodes. Each has up to MOST_LISTENERS connections meanwhile."""

log = structlog.get_logger()


class TooManyProbesError(Exception):
    """MOST_AT_ONCE probes are running: nothing waits, for whoever asked sits in front of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProbed:
    """`peers`: None where they were not asked for, why where they could not be tried."""

    listeners: tuple[UrlProbe, ...]
    peers: PeersTried | str | None
    unsigned: bool
    """coturn holds no secret that may sign: it has to answer 401."""
    withdrawn: bool
    """And should hold none: a drain has taken them."""
    trusting: bool
    """The authorities could be read; without them a TLS listener cannot be judged."""

    @property
    def ok(self) -> bool:
        peers_good = self.peers is None or (isinstance(self.peers, PeersTried) and not self.peers.permitted)
        return bool(self.listeners) and all(each.ok for each in self.listeners) and peers_good

    @property
    def tells_nothing(self) -> bool:
        """Whether nothing but this machine's own fault kept its listeners from relaying."""
        failing = [each for each in self.listeners if not each.ok]
        return bool(failing) and all(self.is_own_fault(each) for each in failing)

    def is_own_fault(self, failing: UrlProbe) -> bool:
        """Whether a listener that does not relay may be as good as any."""
        return failing.failure in OUR_OWN or (failing.transport == "tls" and not self.trusting)

    @property
    def as_expected(self) -> bool:
        """A node that drains and whose secrets are withdrawn refuses everybody, and should."""
        refuses = bool(self.listeners) and all(each.failure is RelayFailure.UNAUTHORIZED for each in self.listeners)
        return self.ok or (refuses and self.withdrawn)

    @property
    def note(self) -> str | None:
        if not self.listeners:
            return "The node has reported no listeners: there is nothing to try."
        if self.withdrawn:
            return "The node is draining and its secrets are withdrawn: 401 is what it should answer."
        if self.unsigned:
            return "coturn holds no secret that may sign (secret_missing): 401 follows from it."
        if isinstance(self.peers, str):
            return f"Forbidden peers could not be tried: {self.peers}."
        return None


class NodeProber:
    """Of one process. `ca_file` holds authorities beside the system's, for relays whose certificates are the operator's own."""

    def __init__(self, secrets: NodeSecrets, *, ca_file: Path | None) -> None:
        self._secrets = secrets
        self._ca_file = ca_file
        self._running = 0

    async def probe(self, node: Node, record: NodeRecord | None, *, peers: bool = False) -> NodeProbed:
        """Because somebody asks. Takes seconds where a listener is silent. Raises TooManyProbesError."""
        async with self._one_of_few():
            made = await self.look(node, record, peers=peers, context=await self.trust())
        log.info(
            "node_probed",
            node=node.name,
            ok=made.ok,
            failures=[each.failure for each in made.listeners if each.failure],
            permitted_peers=made.peers.permitted if isinstance(made.peers, PeersTried) else None,
        )
        return made

    async def look(
        self,
        node: Node,
        record: NodeRecord | None,
        *,
        peers: bool,
        context: ssl.SSLContext | None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> NodeProbed:
        """Without a bound: the caller has one. `deadline_seconds` is of each listener."""
        version = signing_version(node, record)
        listeners = () if record is None else record.report.listeners
        credential = partial(self._credential, node, version)
        # Each with a credential of its own: a quota of one allocation is not in the way.
        probed = await asyncio.gather(
            *(
                probe_url(url, credential=credential(), context=context, deadline_seconds=deadline_seconds)
                for url in turn_urls(listeners, limit=MOST_LISTENERS)
            )
        )
        tried = await self._try_peers(probed, credential, context) if peers and probed else None
        return NodeProbed(
            listeners=tuple(probed),
            peers=tried,
            unsigned=version is None,
            withdrawn=not node.wanted_versions,
            trusting=context is not None,
        )

    async def trust(self) -> ssl.SSLContext | None:
        """Whom to believe now: authorities are renewed, too. Takes a hundredth of a second, in a thread."""
        return await asyncio.to_thread(self._trust)

    async def _try_peers(
        self, probed: Sequence[UrlProbe], credential: Callable[[], CredentialPair], context: ssl.SSLContext | None
    ) -> PeersTried | str:
        """Through a listener that relays: where none does, nobody can reach anything through it either.

        By TCP or TLS where it can be. Of an IPv6 allocation that it refuses over UDP, coturn 4.6.1 remembers the user for a minute,
        and does not let in whoever draws the same port at the same address meanwhile.
        """
        relaying = [each for each in probed if each.ok]
        if not relaying:
            return "no listener relays"
        url = min(relaying, key=lambda each: each.transport == "udp").url
        tried = await try_forbidden_peers(parse_url(url), credential=credential, context=context)
        return tried.words if isinstance(tried, Failure) else tried

    def _trust(self) -> ssl.SSLContext | None:
        """None where they cannot be read: TLS listeners fail, and say so."""
        try:
            return trust(self._ca_file)
        except OSError as error:
            log.warning("authorities_not_read", file=str(self._ca_file), reason=str(error))
            return None

    def _credential(self, node: Node, version: int | None) -> CredentialPair:
        """A new one, with a version that coturn holds; where it holds none, with one that it does not: it answers 401."""
        chosen = version if version is not None else max(set(node.secret_versions) - node.unknown_versions, default=0)
        key = self._secrets.signing_key(node.node_id, chosen, node.key_of(chosen) if chosen else None)
        signed = sign(key, credential_id=probe_id(), expires_at_unix=int(time.time()) + CREDENTIAL_SECONDS)
        return signed.username, Redacted(signed.password)

    @asynccontextmanager
    async def _one_of_few(self) -> AsyncIterator[None]:
        if self._running >= MOST_AT_ONCE:
            raise TooManyProbesError
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
