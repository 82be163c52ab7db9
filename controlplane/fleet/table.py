"""What selection looks at: the selectable nodes of every region in lists prepared for drawing. Rebuilt about twice a second."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from controlplane.fleet.columns import Contender
from controlplane.fleet.model import Region

Draw = Callable[[], float]
"""A number drawn evenly from [0, 1)."""
Ranked: TypeAlias = tuple[float, float, float, int]
"""Of one contender: 1 when it is overdue, its utilisation, a draw that breaks ties, its place. Less is better."""


class Fact(IntEnum):
    """What is kept of each contender, by its place in the contender's row. Loads are reported plus in flight, and grow in place."""

    BITS_PER_SECOND = 0
    ALLOCATIONS = 1
    SAFE_BITS_PER_SECOND = 2
    SAFE_ALLOCATIONS = 3
    OTHER_FILL = 4
    """The fuller of packets and CPU, which no placement changes."""
    FIRM_FILL = 5
    """The fuller of packets and reported allocations: what regions are refused by beside the bits, see load."""
    OVERDUE = 6
    """1: its report should have come already. It is chosen when all that were drawn are so."""
    STALE = 7
    """1: held while silent for so long that its load is unknown."""


_DRAWS_PER_CONTENDER = 16
"""A contender that was drawn already is drawn again: that is sampling without replacement, so long as there is an end to it."""

ROW = len(Fact)
# Their plain numbers: an enum's cost a dictionary look-up each, on a path that runs for every request.
_BITS, _ALLOCATIONS, _SAFE_BITS, _SAFE_ALLOCATIONS, _OTHER, _FIRM, _OVERDUE, _STALE = (int(fact) for fact in Fact)


@dataclass(slots=True, kw_only=True)
class ContenderLists:
    """All regions' contenders one after the other, a region's together."""

    contenders: list[Contender]
    cumulative: array[float]
    """Of safe capacity x slow start, which nodes are drawn by."""
    rows: array[float]
    """A row of eight doubles per contender, a cache line: at 10,000 nodes it is memory that a choice waits for."""


@dataclass(slots=True, kw_only=True)
class RegionTable:
    """One region's contenders. Placements made on this table are added in place, so that the next choice sees them."""

    region: Region
    online: bool
    """Some node of it is up or suspect."""
    saturated: bool
    """Some node of it would be eligible if it were not full."""
    suspects: bool = False
    """Its contenders are suspect: it has nothing better."""
    overfull: bool = False
    """Its contenders are above the utilisation up to which nodes are offered: it has nothing emptier."""
    has_stale: bool = False
    """Some of its contenders are held while their load is unknown."""
    lists: ContenderLists
    start: int
    end: int
    """Its contenders' places in the lists."""
    size: int = field(init=False)
    safe_bits_per_second: float = 0.0
    weighted_load: float = 0.0
    """Sum of utilisation by traffic x safe capacity."""

    def __post_init__(self) -> None:
        self.size = self.end - self.start

    @property
    def contenders(self) -> list[Contender]:
        """Of the best health there is: suspect nodes only when there is no other. Those above the overload limit are left out."""
        return self.lists.contenders[self.start : self.end]

    @property
    def utilisation(self) -> float:
        """How full the contenders are with traffic, weighted by their safe capacity; infinite when there are none."""
        return self.weighted_load / self.safe_bits_per_second if self.safe_bits_per_second else float("inf")

    def ranked(self, places: Iterable[int], bits_per_second: float, allocations: float, draw: Draw) -> list[Ranked]:
        """The contenders at those places with that much more on each, the best first."""
        rows = self.lists.rows
        ranked: list[Ranked] = []
        for place in places:
            row = place * ROW
            fill = max(
                (rows[row + _BITS] + bits_per_second) / rows[row + _SAFE_BITS],
                (rows[row + _ALLOCATIONS] + allocations) / rows[row + _SAFE_ALLOCATIONS],
                rows[row + _OTHER],
            )
            ranked.append((rows[row + _OVERDUE], fill, draw(), place))
        ranked.sort()
        return ranked

    def stale(self, index: int) -> bool:
        return self.lists.rows[index * ROW + _STALE] > 0

    def sample(self, count: int, draw: Draw) -> list[int]:
        """Places of up to `count` different contenders, drawn by safe capacity x slow start, without replacement."""
        start, end = self.start, self.end
        if end - start <= count:
            return list(range(start, end))
        cumulative = self.lists.cumulative
        base = cumulative[start - 1] if start else 0.0
        total = cumulative[end - 1] - base
        chosen: list[int] = []
        for _ in range(_DRAWS_PER_CONTENDER * count):
            index = bisect_right(cumulative, base + draw() * total, start, end - 1)
            if index not in chosen:
                chosen.append(index)
                if len(chosen) == count:
                    return chosen
        # A few contenders have nearly all the weight: who stands beside them hardly matters.
        return chosen + [each for each in range(start, end) if each not in chosen][: count - len(chosen)]

    def place(self, index: int, bits_per_second: float, allocations: float) -> None:
        """Count a placement, so that the next choice on this table sees it."""
        rows, row = self.lists.rows, index * ROW
        safe, firm, bits = rows[row + _SAFE_BITS], rows[row + _FIRM], rows[row + _BITS]
        rows[row + _BITS] = bits + bits_per_second
        rows[row + _ALLOCATIONS] += allocations
        self.weighted_load += (max((bits + bits_per_second) / safe, firm) - max(bits / safe, firm)) * safe


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTable:
    """Every region, also those without a node to select."""

    regions: dict[str, RegionTable] = field(default_factory=dict)
    held: bool = False
    """The fault is ours: silence removes nobody, answers say `degraded`."""
