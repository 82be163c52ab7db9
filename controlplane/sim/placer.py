"""What every policy is to the engine: replicas that hear reports, refresh, rebuild, and place requests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random
from typing import ClassVar

from controlplane.sim.reports import Sample
from controlplane.sim.scenario import Scenario
from controlplane.sim.sessions import Changes, Floats, Integers
from controlplane.sim.workload import Purpose, Workload

REFUSED = -1
REFRESH_SECONDS = 0.5
"""Between two readings of the shared store, and between two rebuilds, by each replica."""
SHARE_SECONDS = 0.25
Timer = tuple[float, Callable[[int, float], None]]
"""(every so many seconds, what is done by which replica and when)."""


class Placer(ABC):
    """All replicas of one policy. Hosts, replicas and requests are given by their index."""

    name: ClassVar[str]

    def __init__(self, scenario: Scenario, workload: Workload, seed: int) -> None:
        self.scenario = scenario
        self.fleet = scenario.fleet
        self.workload = workload
        self.cut_off: frozenset[int] = frozenset()
        """Replicas that cannot reach the shared store now."""
        self.not_sharing: frozenset[int] = frozenset()
        """Replicas that can neither tell what they place nor be told; the former are among them."""
        names = [f"{seed}/{Purpose.DRAWS}/{self.name}/{replica}" for replica in range(scenario.replicas)]
        self.draws = [Random(name) for name in names]  # noqa: S311 - spreads load; nothing secret is drawn from it
        self.region_of_demand = [each.region for each in scenario.asking]
        self.project_of_demand = [each.project for each in scenario.asking]
        self.fixed_of_demand = [each.fixed_region for each in scenario.asking]
        self.demands: list[int] = workload.demand.tolist()

    def timers(self) -> tuple[Timer, ...]:
        """What each replica does again and again, at phases of its own."""
        return (REFRESH_SECONDS, self.refresh), (REFRESH_SECONDS, self.rebuild)

    @abstractmethod
    def heard(self, replica: int, sample: Sample) -> bool:
        """A report reached that replica. True: it rebuilds before its next turn."""

    @abstractmethod
    def refresh(self, replica: int, now: float) -> None:
        """It reads what the others heard, or fails to when it is cut off."""

    @abstractmethod
    def rebuild(self, replica: int, now: float) -> None:
        """It prepares what choosing looks at."""

    @abstractmethod
    def place(self, replica: int, request: int, now: float) -> int:
        """The host for a request, or REFUSED."""


class Omniscient(Placer):
    """One that is told of every change as it happens."""

    @abstractmethod
    def began(self, hosts: Integers, rates: Floats) -> None:
        """Where the initial sessions are, and their rates."""

    @abstractmethod
    def changed(self, changes: Changes, part: slice, hosts: Integers) -> None:
        """Loads changed; `hosts` are those of the changes in `part`, one beyond the last for sessions that were refused."""

    @abstractmethod
    def hosts_changed(self, alive: list[bool]) -> None:
        """Hosts died or started."""
