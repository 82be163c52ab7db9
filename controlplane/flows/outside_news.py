"""What a look from outside amounts to: from a probe to the core's words, and from a change to an event. Pure."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from controlplane.fleet.model import Intent, Node, Transport
from controlplane.fleet.outside import ListenerSeen, Outside, PeersSeen, ProberPlace, Sight, Standing
from controlplane.flows.probe_node import NodeProbed
from controlplane.postgres_store.events import FleetEvent
from controlplane.wire.probe_api import RelayFailure, UrlProbe

_REFUSALS = {RelayFailure.UNAUTHORIZED, RelayFailure.FORBIDDEN}
"""401 without a secret; 403 of a newer coturn that drains."""


def as_seen(made: NodeProbed, node: Node) -> list[ListenerSeen]:
    refusing = made.withdrawn or made.unsigned or node.intent is Intent.DRAINING
    return [
        ListenerSeen(
            url=each.url,
            transport=Transport(each.transport),
            sight=_sight(made, each, refusing=refusing),
            failure="" if each.failure is None else each.failure.value,
            words=each.words or "",
            milliseconds=each.milliseconds,
            certificate_expires_at=each.certificate_expires_at,
        )
        for each in made.listeners
        if each.transport is not None
    ]


def _sight(made: NodeProbed, probe: UrlProbe, *, refusing: bool) -> Sight:
    if probe.ok:
        return Sight.RELAYS
    if made.is_own_fault(probe):
        return Sight.NOT_SENT
    return Sight.REFUSES if refusing and probe.failure in _REFUSALS else Sight.FAILS


def standing_event(node: Node, before: Outside | None, after: Outside, *, at: datetime) -> FleetEvent | None:
    """When a node is condemned, quarantined or acquitted; None: nothing has changed."""
    was = Standing.GOOD if before is None else before.standing
    if was is after.standing:
        return None
    return FleetEvent(
        happened_at=at,
        kind="node.outside",
        region=node.region,
        node_id=UUID(node.node_id),
        was=was.value,
        became=after.standing.value,
        reason="" if after.reason is None else after.reason.value,
        detail=after.detail if after.reason is not None else _back_in_words(after),
    )


def _back_in_words(after: Outside) -> str:
    if after.sight is Sight.RELAYS:
        return "It relays from outside again."
    return "Most of the fleet fails from outside: the fault is taken for the control plane's own."


def peers_event(node: Node, before: PeersSeen | None, after: PeersSeen) -> FleetEvent | None:
    """When a relay begins to permit what it must not, another address of that sort, or nothing any more."""
    was = () if before is None else before.permitted
    if was == after.permitted:
        return None
    return FleetEvent(
        happened_at=after.tried_at,
        kind="node.peers",
        region=node.region,
        node_id=UUID(node.node_id),
        was="permitted" if was else "refused",
        became="permitted" if after.permitted else "refused",
        reason="forbidden_peers",
        detail=f"It permits {', '.join(after.permitted)}." if after.permitted else "It refuses every forbidden peer.",
    )


def place_event(place: ProberPlace, *, at: datetime) -> FleetEvent:
    return FleetEvent(
        happened_at=at,
        kind="outside.place",
        region=None,
        node_id=None,
        was="well" if place.ours else "at_fault",
        became="at_fault" if place.ours else "well",
        reason="",
        detail=f"{place.failing} of {place.tried} nodes that report well fail from outside.",
    )
