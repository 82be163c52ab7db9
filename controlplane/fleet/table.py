"""What selection looks at: per region, the selectable nodes in arrays prepared for drawing. Rebuilt about once a second."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

from controlplane.fleet.model import Region

Draw = Callable[[], float]
"""A number drawn evenly from [0, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A node that may be selected, with what scoring it needs."""

    node_id: str
    stun_urls: list[str]
    turn_urls: list[str]
    secret_version: int
    safe_bits_per_second: float
    safe_allocations: float
    bits_per_second: float
    """Reported plus in flight."""
    allocations: float
    reported_allocations: float
    packet_utilisation: float
    cpu_utilisation: float
    slow_start: float
    """1, or less while the node has only just returned."""


@dataclass(slots=True, kw_only=True)
class RegionTable:
    """One region's contenders. Placements made on this table are added in place, so that the next choice sees them."""

    region: Region
    online: bool
    """Some node of it is up or suspect."""
    saturated: bool
    """Some node of it would be eligible if it were not full."""
    contenders: tuple[Contender, ...]
    """Of the best health there is: suspect nodes only when there is no other. Those above the overload limit are left out."""
    safe_bits_per_second: float = 0.0
    _weighted_load: float = 0.0
    _cumulative: list[float] = field(default_factory=list)
    _bits: list[float] = field(default_factory=list)
    _allocations: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._cumulative = list(accumulate(each.safe_bits_per_second * each.slow_start for each in self.contenders))
        self._bits = [each.bits_per_second for each in self.contenders]
        self._allocations = [each.allocations for each in self.contenders]
        self.safe_bits_per_second = sum(each.safe_bits_per_second for each in self.contenders)
        self._weighted_load = sum(self._relaying(index) * each.safe_bits_per_second for index, each in enumerate(self.contenders))

    @property
    def utilisation(self) -> float:
        """How full the contenders are with traffic, weighted by their safe capacity; infinite when there are none."""
        return self._weighted_load / self.safe_bits_per_second if self.contenders else float("inf")

    def score(self, index: int, bits_per_second: float = 0.0, allocations: float = 0.0) -> float:
        """The utilisation that the contender would have with that much more."""
        each = self.contenders[index]
        return max(
            (self._bits[index] + bits_per_second) / each.safe_bits_per_second,
            (self._allocations[index] + allocations) / each.safe_allocations,
            each.packet_utilisation,
            each.cpu_utilisation,
        )

    def _relaying(self, index: int) -> float:
        """The part of it that regions are compared and refused by: see load.refusing_utilisation."""
        each = self.contenders[index]
        return max(
            self._bits[index] / each.safe_bits_per_second,
            each.reported_allocations / each.safe_allocations,
            each.packet_utilisation,
        )

    def sample(self, count: int, draw: Draw) -> list[int]:
        """Indices of up to `count` different contenders, drawn by safe capacity x slow start, without replacement."""
        size = len(self.contenders)
        if size <= count:
            return list(range(size))
        chosen: list[int] = []
        total = self._cumulative[-1]
        excluded: list[tuple[float, float]] = []  # (start, width) of what was drawn already, by start
        for _ in range(count):
            remaining = total - sum(width for _, width in excluded)
            point = draw() * remaining
            for start, width in excluded:
                if point >= start:
                    point += width
            index = min(bisect_right(self._cumulative, point), size - 1)
            if index in chosen:  # a rounding error at a border: the neighbour that is still free
                index = next(each for each in range(size) if each not in chosen)
            chosen.append(index)
            start = self._cumulative[index - 1] if index else 0.0
            excluded.append((start, self._cumulative[index] - start))
            excluded.sort()
        return chosen

    def place(self, index: int, bits_per_second: float, allocations: float) -> None:
        """Count a placement, so that the next choice on this table sees it."""
        before = self._relaying(index)
        self._bits[index] += bits_per_second
        self._allocations[index] += allocations
        self._weighted_load += (self._relaying(index) - before) * self.contenders[index].safe_bits_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTable:
    """All regions as this replica sees them."""

    regions: dict[str, RegionTable]
    held: bool = False
    """Silence removes nobody now, because this replica cannot see the fleet: answers are marked degraded."""
