"""Which node a caller gets: the region by RTT bands with proportional spill, the node by best-of-3 sampled by safe capacity.

Pure: everything that could differ between two runs (the table, the order of regions, the draws) is a parameter, and the
choice carries its reason.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from controlplane.fleet.columns import Contender
from controlplane.fleet.policy import Policy
from controlplane.fleet.table import Draw, FleetTable, RegionTable


class Reason(StrEnum):
    """Why this region: the words of the X-Turn-Selection header."""

    FIXED = "fixed"
    PREFERRED = "preferred"
    NEAREST = "nearest"
    SPILL = "spill"
    FALLBACK = "fallback"
    LEAST_LOADED = "least-loaded"


class NodeReason(StrEnum):
    """How its nodes were chosen."""

    LEAST_LOADED = "least-loaded"
    """The emptiest of those that were drawn by safe capacity."""
    HELD = "held"
    """By its capacity alone: it is silent by our own fault, for so long that its load is unknown."""
    SUSPECT = "suspect"
    """The emptiest of those that were drawn, among suspect nodes: no other of the region has room."""
    OVERFULL = "overfull"
    """The emptiest of those that were drawn; all of the region are fuller than nodes should be."""


class Refusal(StrEnum):
    """Why nobody can be selected."""

    REGION_UNKNOWN = "region_unknown"
    REGION_DOWN = "region_down"
    REGION_SATURATED = "region_saturated"
    FLEET_UNAVAILABLE = "fleet_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRegion:
    slug: str
    rtt_milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionTrial:
    """One region that was looked at, for explanations."""

    region: str
    utilisation: float
    outcome: str
    """`accepted`, `spilled` (too full for its draw), or `lower_utilisation_elsewhere`."""
    rtt_milliseconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTrial:
    node_id: str
    utilisation: float
    """With this placement."""


@dataclass(slots=True)
class Trace:
    """Filled in while choosing when somebody wants to know why."""

    regions: list[RegionTrial]
    nodes: list[NodeTrial]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What one credential is expected to bring its node."""

    bits_per_second: float
    allocations: float
    uses: float = 1.0
    """How likely there is any allocation."""

    def shared_by(self, nodes: int) -> Weight:
        return Weight(bits_per_second=self.bits_per_second / nodes, allocations=self.allocations / nodes, uses=self.uses / nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    region: RegionTable
    contenders: tuple[Contender, ...]
    """The chosen nodes, the best first: as many as were asked for, or as there are."""
    reason: Reason
    node_reason: NodeReason
    share: Weight
    """What each of the nodes was counted with."""


def select(
    table: FleetTable,
    *,
    ranked: Sequence[RankedRegion] | None,
    fixed: str | None = None,
    preferred: str | None = None,
    servers: int = 1,
    weight: Weight,
    draw: Draw,
    policy: Policy,
    trace: Trace | None = None,
) -> Selection | Refusal:
    """Choose a region, then `servers` nodes in it, and count the placement of one credential on the table.

    `ranked` is every region by expected RTT from the caller (or from the preferred region), nearest first; None when the
    caller's place is unknown, then all regions are one band. `fixed` never spills. An unknown `preferred` counts as absent.
    """
    if fixed is not None:
        region = table.regions.get(fixed)
        if region is None:
            return Refusal.REGION_UNKNOWN
        if not region.size:
            return Refusal.REGION_SATURATED if region.saturated else Refusal.REGION_DOWN
        _note(trace, region, "accepted", None)
        reason = Reason.FIXED
    else:
        known = preferred if preferred in table.regions else None
        chosen = _choose_region(table, ranked, known, draw=draw, policy=policy, trace=trace)
        if chosen is None:
            return Refusal.FLEET_UNAVAILABLE
        region, reason = chosen
    servers = min(servers, region.size)
    share = weight if servers == 1 else weight.shared_by(servers)
    places, node_reason = _choose_nodes(region, servers, share, draw=draw, policy=policy, trace=trace)
    for place in places:
        region.place(place, share.bits_per_second, share.allocations)
    contenders = region.lists.contenders
    return Selection(
        region=region,
        contenders=tuple([contenders[place] for place in places]),
        reason=reason,
        node_reason=node_reason,
        share=share,
    )


def _bands(
    table: FleetTable, ranked: Iterable[RankedRegion], preferred: str | None, *, policy: Policy
) -> Iterator[list[tuple[RankedRegion, RegionTable]]]:
    """Regions that take clients and are equally near for a caller, the nearest band first; a preferred one is its own, in front."""
    if preferred is not None and table.regions[preferred].size:
        yield [(RankedRegion(slug=preferred, rtt_milliseconds=0.0), table.regions[preferred])]
    band: list[tuple[RankedRegion, RegionTable]] = []
    widest = 0.0
    for each in ranked:
        # A region that was made a moment ago is ranked already, and in the table at its next rebuild.
        region = table.regions.get(each.slug)
        if region is None or not region.size or each.slug == preferred:
            continue
        if band and each.rtt_milliseconds > widest:
            yield band
            band = []
        if not band:
            widest = each.rtt_milliseconds + max(policy.band_milliseconds, policy.band_ratio * each.rtt_milliseconds)
        band.append((each, region))
    if band:
        yield band


def _choose_region(
    table: FleetTable,
    ranked: Sequence[RankedRegion] | None,
    preferred: str | None,
    *,
    draw: Draw,
    policy: Policy,
    trace: Trace | None,
) -> tuple[RegionTable, Reason] | None:
    nearest = ranked[0].slug if ranked else None
    if ranked is None:
        ranked = [RankedRegion(slug=slug, rtt_milliseconds=0.0) for slug in sorted(table.regions)]
    seen: list[list[tuple[RankedRegion, RegionTable]]] = []
    for band in _bands(table, ranked, preferred, policy=policy):
        seen.append(band)
        members = band
        while members:
            pick = _draw_two(members, draw=draw, policy=policy)
            place, region = pick
            room = policy.full_from_utilisation - region.utilisation
            accept = room / (policy.full_from_utilisation - policy.spill_from_utilisation)
            if accept >= 1 or (accept > 0 and draw() < accept):
                _note(trace, region, "accepted", place.rtt_milliseconds)
                spilled = len(members) < len(band) or len(seen) > 1
                return region, _reason(place.slug, nearest, preferred, seen[0], spilled=spilled)
            _note(trace, region, "spilled", place.rtt_milliseconds)
            members = [each for each in members if each is not pick]
    # Everybody refused: the emptiest of the two nearest bands is better than nothing. (Who is overloaded is no contender.)
    last = [region for band in seen[:2] for _, region in band]
    emptiest = min(last, key=lambda region: region.utilisation, default=None)
    if emptiest is None:
        return None
    _note(trace, emptiest, "accepted", None)
    return emptiest, _reason(emptiest.region.slug, nearest, preferred, seen[0], spilled=True)


def _draw_two(
    members: Sequence[tuple[RankedRegion, RegionTable]], *, draw: Draw, policy: Policy
) -> tuple[RankedRegion, RegionTable]:
    """Two regions of the band in proportion to their free safe capacity, and of those the less full."""
    if len(members) == 1:
        return members[0]
    pair = members
    if len(members) > 2:  # noqa: PLR2004 - of two, both are looked at
        full = policy.full_from_utilisation
        free = [max(1.0, full * region.safe_bits_per_second - region.weighted_load) for _, region in members]
        pair = []
        for _ in range(2):
            point = draw() * sum(free)
            index = min(bisect_right(list(accumulate(free)), point), len(free) - 1)
            pair.append(members[index])
            free[index] = 0.0
    return min(pair, key=lambda each: each[1].utilisation)


def _reason(
    slug: str,
    nearest: str | None,
    preferred: str | None,
    first: Sequence[tuple[RankedRegion, RegionTable]],
    *,
    spilled: bool,
) -> Reason:
    """`first` is the nearest band that there is now."""
    if preferred is not None:
        if slug == preferred:
            return Reason.PREFERRED
        return Reason.SPILL if first[0][0].slug == preferred else Reason.FALLBACK
    if nearest is None:
        return Reason.LEAST_LOADED
    if slug == nearest:
        return Reason.NEAREST
    if any(place.slug == slug for place, _ in first):
        # It is a fallback when the region that would be nearest is away.
        near = any(place.slug == nearest for place, _ in first)
        return Reason.NEAREST if near else Reason.FALLBACK
    return Reason.SPILL if spilled else Reason.FALLBACK


def _choose_nodes(
    region: RegionTable, servers: int, share: Weight, *, draw: Draw, policy: Policy, trace: Trace | None
) -> tuple[list[int], NodeReason]:
    """Best of `choices` sampled by safe capacity: `servers` of them, as places in the region's lists."""
    sampled = region.sample(max(policy.choices, servers), draw)
    ranked = region.ranked(sampled, share.bits_per_second, share.allocations, draw)
    reason = NodeReason.SUSPECT if region.suspects else NodeReason.OVERFULL if region.overfull else NodeReason.LEAST_LOADED
    if region.has_stale:
        # Of a small region all are looked at, and none was drawn.
        first = sampled[0] if region.size > len(sampled) else region.sample(1, draw)[0]
        if region.stale(first):
            # What is known of its load is noise: nobody is compared with it, and it gets its share by capacity.
            reason = NodeReason.HELD
            ranked.sort(key=lambda each: each[3] != first)
        else:
            ranked.sort(key=lambda each: region.stale(each[3]))
    if trace is not None:
        trace.nodes.extend(
            NodeTrial(node_id=region.lists.contenders[place].node_id, utilisation=score) for _, score, _, place in ranked
        )
    return [place for _, _, _, place in ranked[:servers]], reason


def _note(trace: Trace | None, region: RegionTable, outcome: str, rtt_milliseconds: float | None) -> None:
    if trace is not None:
        trace.regions.append(
            RegionTrial(
                region=region.region.slug, utilisation=region.utilisation, outcome=outcome, rtt_milliseconds=rtt_milliseconds
            )
        )
