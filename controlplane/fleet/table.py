"""What selection looks at: the selectable nodes of every region in lists prepared for drawing. Rebuilt about once a second."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.fleet.columns import Contender
from controlplane.fleet.model import Region

Draw = Callable[[], float]
"""A number drawn evenly from [0, 1)."""


@dataclass(slots=True, kw_only=True)
class ContenderLists:
    """All regions' contenders one after the other, a region's together. Loads are reported plus in flight, and grow in place."""

    contenders: list[Contender]
    cumulative: list[float]
    """Of safe capacity x slow start, which nodes are drawn by."""
    safe_bits_per_second: list[float]
    safe_allocations: list[float]
    bits_per_second: list[float]
    allocations: list[float]
    other_fill: list[float]
    """The fuller of packets and CPU, which no placement changes."""
    firm_fill: list[float]
    """The fuller of packets and reported allocations: what regions are refused by beside the bits, see load."""
    overdue: list[bool]
    """Its report should have come already: it is chosen when all that were drawn are so."""
    stale: list[bool]
    """Held while silent for so long that its load is unknown."""


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

    def score(self, index: int, bits_per_second: float = 0.0, allocations: float = 0.0) -> float:
        """The utilisation that the contender at that place would have with that much more."""
        lists = self.lists
        return max(
            (lists.bits_per_second[index] + bits_per_second) / lists.safe_bits_per_second[index],
            (lists.allocations[index] + allocations) / lists.safe_allocations[index],
            lists.other_fill[index],
        )

    def sample(self, count: int, draw: Draw) -> list[int]:
        """Places of up to `count` different contenders, drawn by safe capacity x slow start, without replacement."""
        start, end = self.start, self.end
        if end - start <= count:
            return list(range(start, end))
        cumulative = self.lists.cumulative
        base = cumulative[start - 1] if start else 0.0
        total = cumulative[end - 1] - base
        chosen: list[int] = []
        taken: list[tuple[float, float]] = []  # (from, width) of what was drawn already, in order
        for _ in range(count):
            point = base + draw() * total
            for since, width in taken:
                if point >= since:
                    point += width
            index = min(bisect_right(cumulative, point, start, end), end - 1)
            if index in chosen:  # a rounding error at a border: the neighbour that is still free
                index = next(each for each in range(start, end) if each not in chosen)
            chosen.append(index)
            since = cumulative[index - 1] if index else 0.0
            width = cumulative[index] - since
            total -= width
            taken.append((since, width))
            taken.sort()
        return chosen

    def place(self, index: int, bits_per_second: float, allocations: float) -> None:
        """Count a placement, so that the next choice on this table sees it."""
        lists = self.lists
        safe, firm, bits = lists.safe_bits_per_second[index], lists.firm_fill[index], lists.bits_per_second[index]
        lists.bits_per_second[index] = bits + bits_per_second
        lists.allocations[index] += allocations
        self.weighted_load += (max((bits + bits_per_second) / safe, firm) - max(bits / safe, firm)) * safe


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTable:
    """Every region, also those without a node to select."""

    regions: dict[str, RegionTable] = field(default_factory=dict)
    held: bool = False
    """The fault is ours: silence removes nobody, answers say `degraded`."""
