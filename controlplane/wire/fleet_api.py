"""What operators and dashboards see of the fleet, and what they may send. Instants are RFC 3339, UTC."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from controlplane.wire.agent_api import Capacity, Coturn, Count, Listener, Load, Name, Probe, Rate, Ratio
from controlplane.wire.evidence_api import ListenerEvidence, OutsideView
from controlplane.wire.found_api import FoundView

_SLUG = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z"
_SLUG_LENGTH = 63
Slug = Annotated[str, Meta(min_length=1, max_length=_SLUG_LENGTH, pattern=_SLUG)]
Title = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+\Z")]


def is_slug(text: str) -> bool:
    """Whether a text that is no field of a body (a path, an argument) is a slug."""
    return len(text) <= _SLUG_LENGTH and re.match(_SLUG, text) is not None


class RegionBody(Struct, frozen=True, kw_only=True):
    """PUT /fleet/regions/{slug}."""

    name: Title
    city: Title
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
    """ISO 3166-1 alpha-2."""
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class JoinTokenBody(Struct, frozen=True, kw_only=True):
    """POST /fleet/join-tokens: either `region` or `replace`."""

    region: Slug | None = None
    name: Name | None = None
    """Only a node of this name may use it; None: any."""
    replace: Name | None = None
    """The name or id of a node whose name, region and intent the new one takes. That one is forgotten when the new one joins."""
    force: bool = False
    """Replace it although it reports and is not drained."""
    ttl_seconds: Annotated[int, Meta(ge=60, le=604_800)] = 3600


class JoinTokenView(Struct, frozen=True, kw_only=True):
    join_token: str
    """Shown here only."""
    region: str
    name: str | None
    replaces: str | None
    """The id of the node that is forgotten when the new one joins."""
    expires_at: datetime


class NodeQuery(Struct, frozen=True, kw_only=True):
    """GET /fleet/nodes."""

    region: str | None = None
    health: Literal["unknown", "up", "suspect", "down"] | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: str = ""
    """`next_cursor` of the page before."""


class IntentBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /fleet/nodes/{node_id}/cordon, uncordon, undrain."""

    reason: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")] = ""
    """For whoever looks at the node next."""


class DrainBody(IntentBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /fleet/nodes/{node_id}/drain."""

    deadline_seconds: Annotated[int, Meta(ge=0, le=604_800)] = 3600
    """From now. Then the node's secrets are withdrawn, whoever still holds a credential."""
    force: bool = True
    """Whether allocations that are left at the deadline are ended; false: they run out by themselves."""


class ForgetQuery(Struct, frozen=True, kw_only=True):
    """DELETE /fleet/nodes/{node_id}."""

    force: bool = False
    """Also a node that reports and is not drained."""


class DrainView(Struct, frozen=True, kw_only=True):
    """How far a drain has come."""

    phase: str
    deadline_at: datetime
    force: bool
    allocations_left: Count | None
    """By its newest report; None: it never reported."""


class CoturnAdvisory(Struct, frozen=True, kw_only=True):
    """A fault of some versions of coturn."""

    id: str
    """Such as CVE-2026-27624."""
    mended_in: str
    """The first version without it."""
    effect: str


class NodeView(Struct, frozen=True, kw_only=True):
    """One node: what is observed, what is wanted, and what follows from both."""

    node_id: str
    name: str
    region: str
    health: str
    health_reason: str
    health_detail: str
    intent: str
    intent_reason: str
    intent_at: datetime | None
    """None: nobody ever wanted anything of it."""
    intent_by: str
    """The id of the token that asked for it."""
    drain: DrainView | None
    """While it is draining."""
    eligible: bool
    ineligible_because: list[str]
    utilisation: Ratio
    """The fullest resource against its safe capacity, placements in flight included."""
    last_report_age_seconds: float | None
    """None: never reported."""
    agent_version: str | None
    coturn_version: str | None
    coturn_advisories: list[CoturnAdvisory]
    """Known faults that a coturn of that version has."""


class NodeTokenView(Struct, frozen=True, kw_only=True):
    """The token that the node's agent shows, never what it is."""

    generation: Count
    """0: the one that it joined with."""
    since_at: datetime | None
    next_offered_at: datetime | None
    """Since when it is offered the next one; None: it is not."""


class NodeDetail(NodeView, frozen=True, kw_only=True):
    joined_at: datetime | None
    token: NodeTokenView
    certificate_ends_at: datetime | None
    """Of what its TLS listener serves; None: it serves none."""
    found: FoundView | None
    """What its agent found on the host; None: it has not told yet, or PostgreSQL does not answer."""
    agent_version: str | None
    clock_offset_seconds: float | None
    coturn: Coturn | None
    probe: Probe | None
    load: Load | None
    capacity: Capacity | None
    safe_bits_per_second: Rate | None
    safe_allocations: Rate | None
    listeners: list[Listener]
    secret_versions: list[int]
    """Wanted."""
    secret_versions_loaded: list[int]
    """In coturn now, with the right value."""
    secrets_drifted: bool
    signing_version: int | None
    evidence: list[ListenerEvidence]
    outside: OutsideView | None
    """None: it was not tried from outside in the last minutes."""


class FleetRegionView(Struct, frozen=True, kw_only=True):
    slug: str
    name: str
    city: str
    country: str
    latitude: float
    longitude: float
    is_online: bool
    is_operational: bool
    nodes: Count
    nodes_by_health: dict[str, int]
    eligible_nodes: Count
    utilisation: float | None
    """Load over safe capacity of the nodes that take clients; None when none does."""
    allocations: Count
    bits_per_second: Rate
    safe_bits_per_second: Rate


class ExportedRegion(Struct, frozen=True, kw_only=True):
    slug: str
    latitude: float
    longitude: float


class ExportedNode(Struct, frozen=True, kw_only=True):
    name: str
    region: str
    capacity_bits_per_second: Rate
    capacity_allocations: Count
    bits_per_second: Rate
    """Relayed at its last report, in the busier direction."""
    allocations: Count


class ExportedTraffic(Struct, frozen=True, kw_only=True):
    """As learned from records and usage."""

    conversion: float
    """Share of issued credentials that relay."""
    mean_bits_per_second: Rate
    """Of a relaying session at its node."""


class FleetExport(Struct, frozen=True, kw_only=True):
    """The fleet as the simulator reads it: no addresses, no secrets."""

    at: datetime
    regions: list[ExportedRegion]
    nodes: list[ExportedNode]
    """Those that reported, without those that are down."""
    traffic: ExportedTraffic


class Totals(Struct, frozen=True, kw_only=True):
    regions: Count
    operational_regions: Count
    nodes: Count
    nodes_by_health: dict[str, int]
    eligible_nodes: Count
    allocations: Count
    bits_per_second: Rate


class OpenProblem(Struct, frozen=True, kw_only=True):
    """Something that a person should look at."""

    severity: str
    """`critical`: clients are refused somewhere; `warning`: capacity or safety is reduced."""
    what: str
    region: str | None = None
    node_id: str | None = None


class Degraded(Struct, frozen=True, kw_only=True):
    view_held: bool
    """Silence removes nobody now, because this replica cannot see the fleet."""
    redis_unreachable: bool
    database_unreachable: bool
    journal_failing: bool
    journal_backlog_bytes: Count


class Overview(Struct, frozen=True, kw_only=True):
    at: datetime
    totals: Totals
    regions: list[FleetRegionView]
    worst_nodes: list[NodeView]
    """Those that are not up or not eligible first, then the fullest; at most 10."""
    problems: list[OpenProblem]
    """The gravest first; at most 100."""
    problems_left_out: Count
    """How many more there are."""
    credentials_per_second: float
    """Of this replica, over the last minute."""
    degraded: Degraded


class NodeList(Struct, frozen=True, kw_only=True):
    items: list[NodeView]
    next_cursor: str | None


class FleetRegionList(Struct, frozen=True, kw_only=True):
    items: list[FleetRegionView]
    next_cursor: str | None


class Liveness(Struct, frozen=True, kw_only=True):
    alive: bool


class Readiness(Struct, frozen=True, kw_only=True):
    ready: bool
    reasons: list[str]
    """Why not; empty when ready."""
    degraded: list[str]
    """What is away while this replica still issues."""
