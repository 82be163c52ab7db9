"""What happens to a fleet in a run: who asks for credentials when, and what breaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.sim.fleet import SimFleet
from controlplane.sim.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests of one project from one region's surroundings."""

    region: int
    """Index of the region that the callers are next to."""
    steps: tuple[tuple[float, float], ...]
    """(from which second on, requests per second), in order of time; the first begins at 0."""
    conversion: float
    """Share of its credentials that are relayed."""
    project: int = 0
    fixed_region: str | None = None
    initial: bool = True
    """Whether its sessions are under way already when the run begins, as many as at its first rate for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """Sessions that have been under way for a while and ask within a short time: their relay was lost, or they moved here."""

    region: int
    at_seconds: float
    spread_seconds: float
    """They ask evenly spread over this time."""
    sessions: float
    """Expected number of those that are relayed."""
    conversion: float = 1.0
    """Only who is relayed notices that a relay is gone."""
    project: int = 0
    fixed_region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Replicas that reach neither the shared store nor, through it, each other."""

    replicas: tuple[int, ...]
    from_seconds: float
    until_seconds: float
    placements_only: bool = False
    """They do hear each other's reports, and are not told alone what the others place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run without its seed and its policy. Times are seconds since the run began."""

    name: str
    fleet: SimFleet
    demands: tuple[Demand, ...]
    surges: tuple[Surge, ...] = ()
    initial_shares: tuple[float, ...] | None = None
    """How the sessions under way are spread over the hosts of their region; None: by capacity."""
    traffic: Traffic = field(default_factory=Traffic)
    duration_seconds: float = 720.0
    steady: tuple[float, float] = (400.0, 600.0)
    """The window of the steady measures; what is before is warm-up."""
    flash: tuple[float, float] = (600.0, 720.0)
    """The window of the measures of the flash crowd, or of whatever else happens."""
    replicas: int = 4
    interval_seconds: float = 2.0
    """Between two reports of a node, give or take a tenth."""
    averaged_reports: bool = False
    """Reports tell the mean load since the last one, instead of the momentary one."""
    deaths: tuple[tuple[int, float], ...] = ()
    """(host, when): from then on neither traffic nor reports, and no goodbye."""
    black_holes: tuple[tuple[int, float], ...] = ()
    """(host, when): from then on it relays nothing and lets nobody allocate, and reports as if nothing was."""
    joins: tuple[tuple[int, float], ...] = ()
    """(host, when): known to the directory all the time, it starts then, empty."""
    lost_share: float = 0.0
    """Of all reports, at random, from `trouble_at_seconds` on."""
    muted_share: float = 0.0
    """Of all hosts: not one of their reports arrives from `trouble_at_seconds` on, while they carry on."""
    muted_regions: tuple[int, ...] = ()
    """As above, all hosts of these regions, until `trouble_until_seconds`."""
    trouble_at_seconds: float = 600.0
    trouble_until_seconds: float = float("inf")
    partition: Partition | None = None
    clock_offsets: tuple[tuple[int, float], ...] = ()
    """(host, its clock minus ours in seconds), from `trouble_at_seconds` on."""

    @property
    def asking(self) -> tuple[Demand | Surge, ...]:
        """Who a request's number among the demands means."""
        return self.demands + self.surges
