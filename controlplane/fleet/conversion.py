"""What an issued credential will bring its node, learned from what the earlier ones brought.

Most credentials relay nothing (peers that can reach each other directly do not use their relay), and the share differs by a
factor of ten between applications. Counted are credentials that are old enough to tell: how many were issued, how many relayed,
how many allocations they made. Old counts decay, those of a project are shrunk to the fleet's, and the fleet's to a prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.fleet.selection import Weight

RELAYED_BYTES = 100_000
"""A credential that carried as much relayed a call: checks and keep-alives of unused allocations stay far below."""
RELAYING_BITS_PER_SECOND = 20_000.0
"""A slower allocation is no session whose rate says anything."""
FASTEST_BITS_PER_SECOND = 50e6
"""A session that says to be faster counts as this: one agent that is wrong must not speak for the fleet."""
OLD_ENOUGH_SECONDS = 60.0
"""Whoever relays at all has by then, and its agent has told it."""

PRIOR_RELAYING = 0.15
"""Share of credentials that relay: about 15 % by Twilio's statement, 22 % of conferences by callstats.io (2015)."""
PRIOR_USED = 0.5
"""Share of credentials with any allocation: applications that fetch them ahead use few."""
PRIOR_ALLOCATIONS = 1.0
"""A browser allocates on what it is offered, used or not."""
PRIOR_BITS_PER_SECOND = 2e6
"""Of a relaying session at its node, in the busier direction: a video call."""
PRIOR_CREDENTIALS = 200.0
"""What the priors are worth."""
SHRINK_CREDENTIALS = 50.0
"""What the fleet's shares are worth to a project's."""
PRIOR_SESSIONS = 50.0

FLEET_HALF_LIFE_SECONDS = 60.0
PROJECT_HALF_LIFE_SECONDS = 600.0
FLOOR = 0.02
"""Nobody's credentials count for less: conversion can jump at any time."""
MOST_ALLOCATIONS = 8.0
"""A client allocates on four URLs, for audio and video."""
FORGOTTEN_CREDENTIALS = 0.5
"""A project whose decayed count is below is as good as unknown."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """Decayed numbers of credentials: of those that were issued, how many relayed, and how many allocations they made."""

    issued: float = 0.0
    relayed: float = 0.0
    used: float = 0.0
    """Those that had an allocation at all."""
    allocations: float = 0.0

    def add(self, other: Counts) -> None:
        self.issued += other.issued
        self.relayed += other.relayed
        self.used += other.used
        self.allocations += other.allocations

    def decay(self, factor: float) -> None:
        self.issued *= factor
        self.relayed *= factor
        self.used *= factor
        self.allocations *= factor


@dataclass(slots=True, kw_only=True)
class Rates:
    """Decayed: the sum of the rates of relaying sessions, in bits per second, and their number."""

    bits_per_second: float = 0.0
    sessions: float = 0.0


@dataclass(slots=True, kw_only=True)
class Conversion:
    """What was learned until `at` (Unix seconds)."""

    at: float = 0.0
    fleet: Counts = field(default_factory=Counts)
    projects: dict[str, Counts] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)

    def learn(self, found: Mapping[str, Counts], rates: Rates, *, at: float) -> None:
        """Counts of each project's credentials that have become old enough since the last call."""
        passed = max(0.0, at - self.at)
        self.at = at
        fleet_factor, project_factor = 0.5 ** (passed / FLEET_HALF_LIFE_SECONDS), 0.5 ** (passed / PROJECT_HALF_LIFE_SECONDS)
        self.fleet.decay(fleet_factor)
        for counts in self.projects.values():
            counts.decay(project_factor)
        self.rates.bits_per_second = self.rates.bits_per_second * fleet_factor + rates.bits_per_second
        self.rates.sessions = self.rates.sessions * fleet_factor + rates.sessions
        for project, counts in found.items():
            self.fleet.add(counts)
            self.projects.setdefault(project, Counts()).add(counts)
        self.projects = {project: counts for project, counts in self.projects.items() if counts.issued >= FORGOTTEN_CREDENTIALS}

    def weight(self, project: str | None, *, forced_relay: bool = False) -> Weight:
        """What a credential of that project counts. One that may only relay, relays."""
        fleet, own = self.fleet, self.projects.get(project or "", _NOTHING)
        known, shrunk = fleet.issued + PRIOR_CREDENTIALS, own.issued + SHRINK_CREDENTIALS

        def share(of_fleet: float, prior: float, of_project: float) -> float:
            return (of_project + SHRINK_CREDENTIALS * (of_fleet + prior * PRIOR_CREDENTIALS) / known) / shrunk

        relaying = 1.0 if forced_relay else share(fleet.relayed, PRIOR_RELAYING, own.relayed)
        rate = (self.rates.bits_per_second + PRIOR_BITS_PER_SECOND * PRIOR_SESSIONS) / (self.rates.sessions + PRIOR_SESSIONS)
        return Weight(
            bits_per_second=min(1.0, max(FLOOR, relaying)) * min(FASTEST_BITS_PER_SECOND, rate),
            allocations=min(MOST_ALLOCATIONS, max(FLOOR, share(fleet.allocations, PRIOR_ALLOCATIONS, own.allocations))),
            uses=min(1.0, share(fleet.used, PRIOR_USED, own.used)),
        )


_NOTHING = Counts()
