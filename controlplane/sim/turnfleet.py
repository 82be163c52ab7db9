"""Our own policy: the real code, each replica with a view of its own."""

from __future__ import annotations

from controlplane.fleet.conversion import Conversion
from controlplane.fleet.policy import Policy
from controlplane.sim.learning import LEARN_SECONDS, Learner
from controlplane.sim.placer import REFRESH_SECONDS, REFUSED, Placer, Timer
from controlplane.sim.replica import SharedStore, SimReplica, wall
from controlplane.sim.reports import Sample, make_capacity, make_report
from controlplane.sim.scenario import Scenario
from controlplane.sim.workload import Workload

EXCHANGE_SECONDS = 0.25
"""Between two times that a replica tells the others what it placed."""


class Turnfleet(Placer):
    name = "turnfleet"

    def __init__(
        self,
        scenario: Scenario,
        workload: Workload,
        seed: int,
        *,
        policy: Policy | None = None,
        conversion: Conversion | None = None,
    ) -> None:
        """`conversion`: what credentials count for, instead of what is learned."""
        super().__init__(scenario, workload, seed)
        policy = policy or Policy(heartbeat_interval_seconds=scenario.interval_seconds)
        self.store = SharedStore(scenario.replicas)
        self.replicas = [SimReplica(self.fleet, self.store, policy=policy, draw=dice.random) for dice in self.draws]
        self._capacities = [make_capacity(host) for host in self.fleet.hosts]
        self._index = {host.name: index for index, host in enumerate(self.fleet.hosts)}
        self._learner = None if conversion is not None else Learner(workload, self.project_of_demand)
        if conversion is not None:
            self.store.conversion = conversion

    def timers(self) -> tuple[Timer, ...]:
        return (REFRESH_SECONDS, self.refresh), (EXCHANGE_SECONDS, self.exchange), (LEARN_SECONDS, self.learn)

    def heard(self, replica: int, sample: Sample) -> bool:
        host = self.fleet.hosts[sample.host]
        report = make_report(sample, host, self._capacities[sample.host])
        return self.replicas[replica].hear(host.name, report, now=sample.at_seconds, shared=replica not in self.cut_off)

    def refresh(self, replica: int, now: float) -> None:
        if replica in self.cut_off:
            self.replicas[replica].refresh_failed(now)
        else:
            self.replicas[replica].refresh(now)
        self.rebuild(replica, now)

    def rebuild(self, replica: int, now: float) -> None:
        self.replicas[replica].rebuild(now)

    def exchange(self, replica: int, now: float) -> None:
        if replica in self.not_sharing:
            self.replicas[replica].exchange_failed(now)
        else:
            self.replicas[replica].exchange(now)

    def learn(self, replica: int, now: float) -> None:
        """The leader's job, done beside the first replica; the others read what it found."""
        if replica == 0 and self._learner is not None:
            self._learner.learn(self.store.conversion, now, at=wall(now).timestamp())

    def place(self, replica: int, request: int, now: float) -> int:
        demand = self.demands[request]
        chosen = self.replicas[replica].place(
            self.region_of_demand[demand], project=self.project_of_demand[demand], fixed=self.fixed_of_demand[demand]
        )
        return self._index.get(chosen, REFUSED)
