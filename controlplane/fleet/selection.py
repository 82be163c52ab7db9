"""Which node a caller gets: the region by RTT bands with proportional spill, the node by best-of-3 sampled by safe capacity.

Pure: everything that could differ between two runs (the table, the order of regions, the draws) is a parameter, and the
choice carries its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controlplane.fleet.policy import Policy
from controlplane.fleet.table import Contender, Draw, FleetTable, RegionTable


class Reason(StrEnum):
    """Why this region: the words of the X-Turn-Selection header."""

    FIXED = "fixed"
    PREFERRED = "preferred"
    NEAREST = "nearest"
    SPILL = "spill"
    FALLBACK = "fallback"
    LEAST_LOADED = "least-loaded"


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
class Selection:
    region: RegionTable
    contenders: tuple[Contender, ...]
    """The chosen nodes, the best first: as many as were asked for, or as there are."""
    reason: Reason


def select(
    table: FleetTable,
    *,
    ranked: Sequence[RankedRegion] | None,
    fixed: str | None = None,
    preferred: str | None = None,
    servers: int = 1,
    draw: Draw,
    policy: Policy,
    trace: Trace | None = None,
) -> Selection | Refusal:
    """Choose a region, then `servers` nodes in it, and count the placement on the table.

    `ranked` is every region by expected RTT from the caller (or from the preferred region), nearest first; None when the
    caller's place is unknown, then all regions are one band. `fixed` never spills. An unknown `preferred` counts as absent.
    """
    if fixed is not None:
        return _select_fixed(table, fixed, servers=servers, draw=draw, policy=policy, trace=trace)
    chosen = _choose_region(table, ranked, preferred if preferred in table.regions else None, draw=draw, policy=policy, trace=trace)
    if chosen is None:
        return Refusal.FLEET_UNAVAILABLE
    region, reason = chosen
    return Selection(region=region, contenders=_choose_nodes(region, servers, draw=draw, policy=policy, trace=trace), reason=reason)


def _select_fixed(
    table: FleetTable, slug: str, *, servers: int, draw: Draw, policy: Policy, trace: Trace | None
) -> Selection | Refusal:
    region = table.regions.get(slug)
    if region is None:
        return Refusal.REGION_UNKNOWN
    if not region.contenders:
        return Refusal.REGION_SATURATED if region.saturated else Refusal.REGION_DOWN
    _note(trace, region, "accepted", None)
    return Selection(
        region=region, contenders=_choose_nodes(region, servers, draw=draw, policy=policy, trace=trace), reason=Reason.FIXED
    )


def _bands(ranked: Sequence[RankedRegion], *, policy: Policy) -> list[list[RankedRegion]]:
    """Regions that are equally near for a caller, nearest band first."""
    bands: list[list[RankedRegion]] = []
    for each in ranked:
        if bands:
            first = bands[-1][0].rtt_milliseconds
            if each.rtt_milliseconds - first <= max(policy.band_milliseconds, policy.band_ratio * first):
                bands[-1].append(each)
                continue
        bands.append([each])
    return bands


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
    # A region that was made a moment ago is ranked already, and in the table at its next rebuild.
    available = [each for each in ranked if each.slug in table.regions and table.regions[each.slug].contenders]
    bands = _bands(available, policy=policy)
    if preferred is not None and table.regions[preferred].contenders:
        own = RankedRegion(slug=preferred, rtt_milliseconds=0.0)
        bands = [[own]] + [rest for band in bands if (rest := [each for each in band if each.slug != preferred])]
    spilled = False
    for band in bands:
        members = list(band)
        while members:
            pick = _draw_two(table, members, draw=draw, policy=policy)
            region = table.regions[pick.slug]
            room = policy.eligible_below_utilisation - region.utilisation
            accept = room / (policy.eligible_below_utilisation - policy.spill_from_utilisation)
            if accept >= 1 or (accept > 0 and draw() < accept):
                _note(trace, region, "accepted", pick.rtt_milliseconds)
                return region, _reason(region.region.slug, nearest, preferred, bands, spilled=spilled)
            _note(trace, region, "spilled", pick.rtt_milliseconds)
            members.remove(pick)
            spilled = True
    # Everybody refused: the emptiest of the two nearest bands is better than nothing. (Who is overloaded is no contender.)
    last = [table.regions[each.slug] for band in bands[:2] for each in band]
    emptiest = min(last, key=lambda region: region.utilisation, default=None)
    if emptiest is None:
        return None
    _note(trace, emptiest, "accepted", None)
    return emptiest, _reason(emptiest.region.slug, nearest, preferred, bands, spilled=spilled)


def _draw_two(table: FleetTable, members: Sequence[RankedRegion], *, draw: Draw, policy: Policy) -> RankedRegion:
    """Two regions of the band in proportion to their free safe capacity, and of those the less full."""
    if len(members) == 1:
        return members[0]
    pair = list(members)
    if len(members) > 2:  # noqa: PLR2004 - of two, both are looked at
        pair = []
        left = list(members)
        for _ in range(2):
            free = [
                max(1.0, (policy.eligible_below_utilisation - region.utilisation) * region.safe_bits_per_second)
                for region in (table.regions[each.slug] for each in left)
            ]
            point = draw() * sum(free)
            index = 0
            while index < len(free) - 1 and point >= free[index]:
                point -= free[index]
                index += 1
            pair.append(left.pop(index))
    return min(pair, key=lambda each: table.regions[each.slug].utilisation)


def _reason(
    slug: str, nearest: str | None, preferred: str | None, bands: Sequence[Sequence[RankedRegion]], *, spilled: bool
) -> Reason:
    if preferred is not None:
        if slug == preferred:
            return Reason.PREFERRED
        return Reason.SPILL if bands[0][0].slug == preferred else Reason.FALLBACK
    if nearest is None:
        return Reason.LEAST_LOADED
    if any(each.slug == slug for each in bands[0]):
        # The nearest band there is now. It is a fallback when the region that would be nearest is away.
        near = any(each.slug == nearest for each in bands[0])
        return Reason.NEAREST if near else Reason.FALLBACK
    return Reason.SPILL if spilled else Reason.FALLBACK


def _choose_nodes(region: RegionTable, servers: int, *, draw: Draw, policy: Policy, trace: Trace | None) -> tuple[Contender, ...]:
    """Best of `choices` sampled by safe capacity; `servers` of them, each counted with its share of the credential."""
    servers = min(servers, len(region.contenders))
    bits = policy.credential_bits_per_second / servers
    allocations = policy.credential_allocations / servers
    sampled = region.sample(max(policy.choices, servers), draw)
    scored = sorted((region.score(index, bits, allocations), draw(), index) for index in sampled)
    if trace is not None:
        trace.nodes.extend(NodeTrial(node_id=region.contenders[index].node_id, utilisation=score) for score, _, index in scored)
    chosen = [index for _, _, index in scored[:servers]]
    for index in chosen:
        region.place(index, bits, allocations)
    return tuple(region.contenders[index] for index in chosen)


def _note(trace: Trace | None, region: RegionTable, outcome: str, rtt_milliseconds: float | None) -> None:
    if trace is not None:
        trace.regions.append(
            RegionTrial(
                region=region.region.slug, utilisation=region.utilisation, outcome=outcome, rtt_milliseconds=rtt_milliseconds
            )
        )
