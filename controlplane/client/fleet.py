"""Regions as applications see them, and the fleet as operators do."""

from __future__ import annotations

from datetime import datetime

from controlplane.client.call import Call, Pages, Stream, get, json_of, nothing, part
from controlplane.client.methods import Driver, Group, call, pages, stream
from controlplane.wire.events_api import FleetEventView
from controlplane.wire.fleet_api import (
    DrainBody,
    FleetExport,
    FleetRegionView,
    IntentBody,
    JoinTokenBody,
    JoinTokenView,
    NodeDetail,
    NodeView,
    Overview,
    RegionBody,
)
from controlplane.wire.history_api import NodeHistory, RegionHistory
from controlplane.wire.ice_api import RegionView
from controlplane.wire.probe_api import NodeProbeBody, NodeProbeView
from controlplane.wire.rolls_api import RollBody, RollSummary, RollView
from controlplane.wire.rotation_api import MasterKeyView, RotateFleetBody, RotateNodeBody, RotationView, SecretView
from controlplane.wire.tenants_api import AuditView

RegionList = list[RegionView]
PROBE_SECONDS = 12.0
"""The deadlines of a probe's two parts, one after the other, with some time to spare."""


class Regions(Group[Driver]):
    @call
    @staticmethod
    def list() -> Call[RegionList]:
        """Every region, and whether it takes new credentials now."""
        return get("/regions", RegionList)


class Fleet(Group[Driver]):
    """For operator tokens."""

    @call
    @staticmethod
    def overview() -> Call[Overview]:
        """Totals, regions, the worst nodes, and what a person should look at."""
        return get("/fleet/overview", Overview)

    @call
    @staticmethod
    def export() -> Call[FleetExport]:
        """The fleet as the simulator reads it."""
        return get("/fleet/export", FleetExport)

    @pages
    @staticmethod
    def regions() -> Pages[FleetRegionView]:
        """Every region with its load."""
        return Pages(path="/fleet/regions", item=FleetRegionView)

    @call
    @staticmethod
    def put_region(slug: str, *, name: str, city: str, country: str, latitude: float, longitude: float) -> Call[FleetRegionView]:
        """Make a region, or change its name and place. `country` is ISO 3166-1 alpha-2."""
        return Call(
            method="PUT",
            path=f"/fleet/regions/{part(slug)}",
            body=RegionBody(name=name, city=city, country=country, latitude=latitude, longitude=longitude),
            read=json_of(FleetRegionView),
            repeat="refused",
        )

    @call
    @staticmethod
    def roll(
        region: str, *, reason: str = "", max_unavailable: int = 1, deadline_seconds: int = 3600, force: bool = True
    ) -> Call[RollView]:
        """Restart the relays of a region one after another. Deadline and `force` are those of each node's drain."""
        body = RollBody(reason=reason, max_unavailable=max_unavailable, deadline_seconds=deadline_seconds, force=force)
        return Call(method="POST", path=f"/fleet/regions/{part(region)}/roll", body=body, read=json_of(RollView), repeat="limited")

    @pages
    @staticmethod
    def rolls(*, region: str | None = None, state: str | None = None) -> Pages[RollSummary]:
        """Every roll, the newest first. `state` is running, stopped or finished."""
        return Pages(path="/fleet/rolls", item=RollSummary, query={"region": region, "state": state})

    @call
    @staticmethod
    def show_roll(roll_id: str) -> Call[RollView]:
        """One roll, with how far each node has come."""
        return get(f"/fleet/rolls/{part(roll_id)}", RollView)

    @call
    @staticmethod
    def stop_roll(roll_id: str, *, reason: str = "") -> Call[RollView]:
        """Take no further step of it. Of one that stopped by itself: somebody has looked at it."""
        return _roll_change(roll_id, "stop", reason)

    @call
    @staticmethod
    def resume_roll(roll_id: str, *, reason: str = "") -> Call[RollView]:
        """Go on with one that was stopped, or stopped by itself."""
        return _roll_change(roll_id, "resume", reason)

    @pages
    @staticmethod
    def nodes(*, region: str | None = None, health: str | None = None) -> Pages[NodeView]:
        """Every node by name."""
        return Pages(path="/fleet/nodes", item=NodeView, query={"region": region, "health": health})

    @call
    @staticmethod
    def node(node: str) -> Call[NodeDetail]:
        """One node, by its id or its name."""
        return get(f"/fleet/nodes/{part(node)}", NodeDetail)

    @call
    @staticmethod
    def node_history(node: str, *, since: datetime | None = None, until: datetime | None = None) -> Call[NodeHistory]:
        """What a node carried and how it was over time, for charts; of the last day without `since`."""
        return get(f"/fleet/nodes/{part(node)}/history", NodeHistory, query={"from": since, "to": until})

    @call
    @staticmethod
    def region_history(slug: str, *, since: datetime | None = None, until: datetime | None = None) -> Call[RegionHistory]:
        """The same of a region: what its nodes carried together, and whether it took clients."""
        return get(f"/fleet/regions/{part(slug)}/history", RegionHistory, query={"from": since, "to": until})

    @call
    @staticmethod
    def cordon(node: str, *, reason: str = "") -> Call[NodeView]:
        """Give it no new clients; those it has stay."""
        return _intent(node, "cordon", IntentBody(reason=reason))

    @call
    @staticmethod
    def uncordon(node: str, *, reason: str = "") -> Call[NodeView]:
        """Give a cordoned node new clients again."""
        return _intent(node, "uncordon", IntentBody(reason=reason))

    @call
    @staticmethod
    def drain(node: str, *, reason: str = "", deadline_seconds: int = 3600, force: bool = True) -> Call[NodeView]:
        """Take it out of service. What is left at the deadline is ended, unless `force` is false."""
        return _intent(node, "drain", DrainBody(reason=reason, deadline_seconds=deadline_seconds, force=force))

    @call
    @staticmethod
    def undrain(node: str, *, reason: str = "") -> Call[NodeView]:
        """Put a draining or drained node into service again."""
        return _intent(node, "undrain", IntentBody(reason=reason))

    @call
    @staticmethod
    def rotate_node_secret(node: str, *, emergency: bool = False, reason: str = "") -> Call[RotationView]:
        """Give a node a new secret. With `emergency` the one so far is out at once, with every credential of it."""
        body = RotateNodeBody(emergency=emergency, reason=reason)
        return Call(
            method="POST", path=f"/fleet/nodes/{part(node)}/secrets/rotate", body=body, read=json_of(RotationView), repeat="limited"
        )

    @call
    @staticmethod
    def rotate_node_token(node: str, *, reason: str = "") -> Call[NodeDetail]:
        """Give its agent a new token; the one so far works until the agent has shown the new one. Asked twice it is what it was."""
        body = IntentBody(reason=reason)
        return Call(
            method="POST", path=f"/fleet/nodes/{part(node)}/token/rotate", body=body, read=json_of(NodeDetail), repeat="always"
        )

    @call
    @staticmethod
    def rotate_secrets(*, region: str | None = None, emergency: bool = False, reason: str = "") -> Call[RotationView]:
        """The same for every node of a region, or of the fleet."""
        body = RotateFleetBody(region=region, emergency=emergency, reason=reason)
        return Call(method="POST", path="/fleet/secrets/rotate", body=body, read=json_of(RotationView), repeat="limited")

    @pages
    @staticmethod
    def secrets(*, region: str | None = None) -> Pages[SecretView]:
        """Every node's secret versions by the node's name, and what each is for. Never what they are."""
        return Pages(path="/fleet/secrets", item=SecretView, query={"region": region})

    @call
    @staticmethod
    def master_key() -> Call[MasterKeyView]:
        """Which master key is used, and how many nodes and webhooks still need another one."""
        return get("/fleet/master-key", MasterKeyView)

    @call
    @staticmethod
    def forget(node: str, *, force: bool = False) -> Call[None]:
        """Forget a node that is gone; with `force` also one that is in service."""
        return Call(method="DELETE", path=f"/fleet/nodes/{part(node)}", query={"force": force}, read=nothing, repeat="refused")

    @call
    @staticmethod
    def probe(node: str, *, peers: bool = False) -> Call[NodeProbeView]:
        """Relay a packet through each listener of a node, now, from the control plane. `peers`: also ask for forbidden ones."""
        return Call(
            method="POST",
            path=f"/fleet/nodes/{part(node)}/probe",
            body=NodeProbeBody(peers=peers),
            read=json_of(NodeProbeView),
            repeat="always",
            takes_seconds=PROBE_SECONDS,
        )

    @pages
    @staticmethod
    def audit(
        *,
        organization: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Pages[AuditView]:
        """Who changed what, the newest first. `actor` is a token's id."""
        return Pages(
            path="/fleet/audit",
            item=AuditView,
            query={"organization": organization, "actor": actor, "action": action, "from": since, "to": until},
        )

    @pages
    @staticmethod
    def events(
        *,
        node: str | None = None,
        region: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Pages[FleetEventView]:
        """What happened to nodes and regions, the newest first. `node` is an id or a name, `kind` such as node.health."""
        return Pages(
            path="/fleet/events",
            item=FleetEventView,
            query={"node": node, "region": region, "kind": kind, "from": since, "to": until},
        )

    @stream
    @staticmethod
    def stream_events(
        *, node: str | None = None, region: str | None = None, kind: str | None = None, after: int | None = None
    ) -> Stream[FleetEventView]:
        """What happens, as it happens: from now on, or `after` the event with that id. It ends when you break out of it."""
        return Stream(
            path="/fleet/events/stream",
            item=FleetEventView,
            query={"node": node, "region": region, "kind": kind},
            after=after,
        )

    @call
    @staticmethod
    def create_join_token(
        region: str | None = None,
        *,
        name: str | None = None,
        replace: str | None = None,
        force: bool = False,
        ttl_seconds: int = 3600,
    ) -> Call[JoinTokenView]:
        """A one-time token for a new node of `region`, or for a new host in place of the node `replace`. It is shown here only."""
        return Call(
            method="POST",
            path="/fleet/join-tokens",
            body=JoinTokenBody(region=region, name=name, replace=replace, force=force, ttl_seconds=ttl_seconds),
            read=json_of(JoinTokenView),
            repeat="limited",
        )


def _roll_change(roll_id: str, change: str, reason: str) -> Call[RollView]:
    body = IntentBody(reason=reason)
    return Call(method="POST", path=f"/fleet/rolls/{part(roll_id)}/{change}", body=body, read=json_of(RollView), repeat="limited")


def _intent(node: str, change: str, body: IntentBody) -> Call[NodeView]:
    """Asked twice it is what it was."""
    return Call(method="POST", path=f"/fleet/nodes/{part(node)}/{change}", body=body, read=json_of(NodeView), repeat="always")
