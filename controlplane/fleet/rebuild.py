"""From what is known of all nodes to the table that selection reads: health, the hold of silence, suspicion, eligibility, load.

Over arrays: at 10,000 nodes a rebuild is a few milliseconds of an event loop that requests wait for.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from controlplane.fleet.columns import HEALTHS, Columns
from controlplane.fleet.in_flight import NEVER, Floats
from controlplane.fleet.model import Health, Region
from controlplane.fleet.policy import Policy
from controlplane.fleet.silence import Heard, Silence
from controlplane.fleet.table import ROW, ContenderLists, Fact, FleetTable, RegionTable

Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What follows from the reports and their ages at one instant, one element per node."""

    health: NDArray[np.int8]
    """Its place in columns.HEALTHS."""
    placeable: Flags
    """Eligible, but for its load."""
    preferred: Flags
    """Of these, the ones that are not suspect, or must count as not."""
    overdue: Flags
    stale: Flags
    bits_per_second: Floats
    """With what is in flight; so are the allocations."""
    allocations: Floats
    traffic_fill: Floats
    """The part of the utilisation that regions are compared and refused by, see load.refusing_utilisation."""
    fill: Floats
    """The utilisation."""
    slow_start: Floats

    @classmethod
    def of(cls, columns: Columns) -> Derived:
        """Before the first rebuild: nobody."""
        size = len(columns.nodes)
        none, zero = np.zeros(size, bool), np.zeros(size)
        return cls(
            health=columns.health_when_heard,
            placeable=none,
            preferred=none,
            overdue=none,
            stale=none,
            bits_per_second=zero,
            allocations=zero,
            traffic_fill=zero,
            fill=zero,
            slow_start=zero,
        )

    def health_counts(self, columns: Columns) -> dict[tuple[str, str], int]:
        counts = np.bincount(columns.region * len(HEALTHS) + self.health, minlength=len(columns.regions) * len(HEALTHS)).tolist()
        return {
            (slug, health.value): counts[number * len(HEALTHS) + code]
            for number, slug in enumerate(columns.regions)
            for code, health in enumerate(HEALTHS)
        }

    def eligible_counts(self, columns: Columns, *, policy: Policy) -> dict[str, int]:
        eligible = self.placeable & (self.fill < policy.overload_limit_utilisation)
        counts = np.bincount(columns.region[eligible], minlength=len(columns.regions)).tolist()
        return dict(zip(columns.regions, counts, strict=True))


def derive(
    columns: Columns,
    silence: Silence,
    *,
    now: float,
    seen_at: float,
    wall: float,
    interval_seconds: float,
    own_factor: float,
    outside_counts: bool = True,
    policy: Policy,
) -> Derived:
    """`now` and `seen_at` (up to when others' reports are known here) are monotonic, `wall` is Unix seconds. Also moves the
    hold of silence and the suspicions on, whose states have a memory. `outside_counts`: whether what was seen from outside does.
    """
    age = now - columns.received_at
    late, gone = age > policy.late_after_seconds(interval_seconds), age > policy.lease_seconds(interval_seconds)
    standing = columns.standing
    silence.observe(_heard(columns, standing & (age <= silence.expected_seconds(interval_seconds)), late), now=now)
    held = columns.release_order < silence.held_share(now=now)
    alive = standing & (~gone | held)
    unproductive = _unproductive(columns, now=now, policy=policy)
    suspect = (late & ~held) | unproductive
    health = columns.health_when_heard.copy()
    health[standing & (late | unproductive)] = HEALTHS.index(Health.SUSPECT)
    health[gone & ~held & (columns.received_at > NEVER)] = HEALTHS.index(Health.DOWN)
    condemned = columns.condemned & (now - columns.outside_at <= policy.outside_counts_seconds) & outside_counts
    health[condemned & (columns.received_at > NEVER)] = HEALTHS.index(Health.DOWN)
    placeable = alive & columns.fit & ~condemned
    in_flight_bits, in_flight_allocations = columns.in_flight.totals(now=now, own_factor=own_factor)
    bits, allocations = columns.bits_per_second + in_flight_bits, columns.allocations + in_flight_allocations
    bits_fill = bits / columns.safe_bits_per_second
    most_full = np.maximum(np.maximum(bits_fill, allocations / columns.safe_allocations), columns.other_fill)
    floor = policy.slow_start_floor
    return Derived(
        health=health,
        placeable=placeable,
        preferred=placeable & ~_most_suspect(columns, placeable, suspect, np.where(unproductive, np.inf, age), policy=policy),
        overdue=~held & (seen_at - columns.received_at > policy.overdue_after_intervals * interval_seconds),
        stale=held & (age > policy.stale_after_seconds),
        bits_per_second=bits,
        allocations=allocations,
        traffic_fill=np.maximum(bits_fill, columns.firm_fill),
        fill=most_full,
        slow_start=np.clip(floor + (1 - floor) * (wall - columns.proved_at) / policy.slow_start_seconds, floor, 1.0),
    )


def _heard(columns: Columns, expected: Flags, late: Flags) -> Mapping[str, Heard]:
    size = len(columns.regions)
    counts = np.bincount(columns.region[expected], minlength=size).tolist()
    fresh = np.bincount(columns.region[expected & ~late], minlength=size).tolist()
    return {slug: Heard(expected=counts[place], fresh=fresh[place]) for place, slug in enumerate(columns.regions)}


def _unproductive(columns: Columns, *, now: float, policy: Policy) -> Flags:
    """Black holes: nodes that were given many clients and report no new allocation (coturn answers its agent, and nobody else)."""
    in_flight = columns.in_flight
    expected = in_flight.uses_between(columns.allocated_at, columns.received_at - policy.blackhole_visible_seconds)
    expected += in_flight.retired_uses
    caught = np.nonzero((expected >= policy.blackhole_uses) & (columns.suspected_until <= now))[0]
    columns.suspicions[caught] += 1
    columns.suspected_until[caught] = now + np.minimum(
        policy.blackhole_most_seconds, policy.blackhole_seconds * columns.suspicions[caught]
    )
    # What it was given until now has been held against it.
    columns.allocated_at[caught] = columns.received_at[caught]
    in_flight.retired_uses[caught] = 0.0
    return np.asarray(columns.suspected_until > now)


def _most_suspect(columns: Columns, placeable: Flags, suspect: Flags, doubt: Floats, *, policy: Policy) -> Flags:
    """The suspect nodes of each region, up to the share of it that may be; those of least `doubt` are left out first."""
    found = placeable & suspect
    if not found.any():
        return found
    size = len(columns.regions)
    most = np.maximum(1, policy.suspect_share * np.bincount(columns.region[placeable], minlength=size)).astype(np.intp)
    for number in np.nonzero(np.bincount(columns.region[found], minlength=size) > most)[0].tolist():
        places = np.nonzero(found & (columns.region == number))[0]
        found[places[np.argsort(-doubt[places], kind="stable")[most[number] :]]] = False
    return found


def make_table(columns: Columns, derived: Derived, regions: Mapping[str, Region], *, held: bool, policy: Policy) -> FleetTable:
    """Of each region the best that there is: suspect nodes when no other has room, full ones when all are full."""
    number, size = columns.region, len(columns.regions)

    # Draws fade out between the two marks: a node that is a little fuller is drawn a little less, and nobody is left alone with
    # all requests because the others have just crossed a line.
    fading = policy.overload_limit_utilisation - policy.full_from_utilisation
    room = np.clip((policy.overload_limit_utilisation - derived.fill) / fading, 0.0, 1.0)

    def any_of(flags: Flags) -> Flags:
        return np.asarray(np.bincount(number[flags], minlength=size) > 0)

    has_preferred = any_of(derived.preferred)
    best = np.where(has_preferred[number], derived.preferred, derived.placeable)
    usable = np.zeros_like(best)
    for choice in (best & (room > 0), derived.placeable & (room > 0)):
        usable |= choice & ~any_of(usable)[number]
    has_room = any_of(usable)
    may_take = derived.placeable & (derived.traffic_fill < policy.overload_limit_utilisation)
    usable |= may_take & ~has_room[number]

    places = np.nonzero(usable)[0]
    drawn_by = derived.slow_start[places] * np.where(has_room[number[places]], room[places], 1.0)
    safe = columns.safe_bits_per_second[places]
    rows = np.empty((len(places), ROW))
    for fact, of_nodes in (
        (Fact.BITS_PER_SECOND, derived.bits_per_second),
        (Fact.ALLOCATIONS, derived.allocations),
        (Fact.SAFE_BITS_PER_SECOND, columns.safe_bits_per_second),
        (Fact.SAFE_ALLOCATIONS, columns.safe_allocations),
        (Fact.OTHER_FILL, columns.other_fill),
        (Fact.FIRM_FILL, columns.firm_fill),
        (Fact.OVERDUE, derived.overdue),
        (Fact.STALE, derived.stale),
    ):
        rows[:, fact] = of_nodes[places]
    lists = ContenderLists(
        contenders=columns.contenders[places].tolist(),
        cumulative=array("d", np.cumsum(safe * drawn_by).tobytes()),
        rows=array("d", rows.tobytes()),
    )
    bounds = np.searchsorted(number[places], np.arange(size + 1)).tolist()
    safe_sums = np.bincount(number[places], weights=safe, minlength=size).tolist()
    load_sums = np.bincount(number[places], weights=derived.traffic_fill[places] * safe, minlength=size).tolist()
    of_preferred = any_of(usable & derived.preferred).tolist()
    has_stale = any_of(usable & derived.stale).tolist()
    online = any_of((derived.health == HEALTHS.index(Health.UP)) | (derived.health == HEALTHS.index(Health.SUSPECT))).tolist()
    full = any_of(derived.placeable).tolist()
    return FleetTable(
        regions={
            slug: RegionTable(
                region=regions[slug],
                online=online[place],
                saturated=full[place],
                suspects=not of_preferred[place],
                overfull=not has_room[place],
                has_stale=has_stale[place],
                lists=lists,
                start=bounds[place],
                end=bounds[place + 1],
                safe_bits_per_second=safe_sums[place],
                weighted_load=load_sums[place],
            )
            for place, slug in enumerate(columns.regions)
        },
        held=held,
    )
