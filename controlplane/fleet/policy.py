"""Every tunable of every decision, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The numbers that decisions use. One instance per process; tests and the simulator make their own."""

    heartbeat_interval_seconds: float = 2.0
    """2 s with one retry makes a false `down` of a healthy node under 30 % loss a 1-in-6,000 event in ten minutes."""
    heartbeats_per_second: float = 5_000.0
    """What one fleet may cost all replicas together; beyond interval x this many nodes the interval grows."""
    overdue_after_intervals: float = 1.05
    """A report comes after an interval, give or take a tenth: a node without one is compared last. So a dead node loses its
    requests three seconds before it is suspect; a report that is late or lost costs a node that is well those of a moment.
    Simulated: at 1.25 a dead node is given half a second more of its share, below 1 the peaks grow."""
    suspect_after_intervals: float = 2.5
    """5 s at 2 s: two reports in a row are missing."""
    down_after_intervals: float = 6.0
    """12 s at 2 s: the lease. Detects a vanished host within 15 s with the view's and the answer's own delays."""
    good_reports_to_return: int = 2
    """One good report may be luck between two deaths; two cost 2 s."""
    clock_offset_limit_seconds: float = 5.0
    """At +30 s every credential of the default TTL is refused; 5 s leaves room for a slow round trip, not for a wrong clock."""
    probe_age_limit_seconds: float = 30.0
    """An agent probes every few seconds; a probe older than this says nothing about now."""
    silence_hold_seconds: float = 600.0
    """How long silence removes nobody while the loss of reports is ours: bounded, or it would last for ever."""
    silence_release_per_second: float = 0.2 / 60
    """Then a fifth of the held nodes a minute is let go."""
    ours_from_nodes: int = 8
    """In a smaller fleet half of the nodes may well die at once: there the lease always decides."""
    ours_below_share: float = 0.5
    ours_over_share: float = 0.7
    ours_over_seconds: float = 15.0
    """Silence is ours when fewer of the expected nodes were heard in time, and the node's again when more were, for so long."""
    suspect_share: float = 0.25
    """Of a region's nodes, the most that may be suspect at once; beyond it the least suspicious count as good. Envoy caps its
    ejections for the same reason: to lose the load of many nodes at once is worse than to use some that are slow to report."""
    stale_after_seconds: float = 30.0
    """A held node's report says nothing about its load any more: it is drawn by its capacity alone."""

    safety_deviations: float = 2.0
    """z of the safe capacity: mean load at which mean + 2 standard deviations just fits."""
    session_burst_bits_per_second: float = 4.3e6
    """beta = E[b^2]/E[b] of a relayed session's rate: lognormal, mean 2 Mbit/s, sigma 0.8, redrawn with sigma 0.35. Wrong by
    a factor of four either way costs 1 to 5 % of peak."""
    cpu_limit_ratio: float = 0.85
    """A relay's CPU figure is noisy; beyond this its packets queue."""
    full_from_utilisation: float = 0.95
    overload_limit_utilisation: float = 1.10
    """Between the two a node is drawn less and less, and above the second not at all: refusing is kinder than placing. A cut at
    the first leaves the last nodes below it alone with every request: simulated, 1.6 times the oracle's peak instead of 1.04."""
    choices: int = 3
    """d of best-of-d: 2 reacts slower, 4 herds more; 3 was best in simulation at 20 to 500 nodes."""
    slow_start_seconds: float = 60.0
    slow_start_floor: float = 0.25
    """A returning node starts at a quarter of its share and has it all after a minute: covers warm-up and flapping. Simulated with
    100 nodes, an empty one is given at most 3.5 times its share in any 5 s; with half a minute 3.8 times."""

    rtt_base_milliseconds: float = 6.0
    rtt_milliseconds_per_km: float = 0.015
    """Great circle; fits published probes (2,850 km: 56 ms; 7,900 km: 113 ms)."""
    band_milliseconds: float = 15.0
    band_ratio: float = 0.25
    """Regions within the larger of both of a band's first member are equally near: nobody hears 15 ms."""
    spill_from_utilisation: float = 0.83
    """Between this and full_from_utilisation a growing share spills: proportional, so nothing flips. Simulated with as much load as
    fits safely and a neighbour at 0.45, the neighbour's fullest minute of an hour is 0.66 at 0.80, and 0.64 here."""

    default_ttl_seconds: int = 30
    """As published by the API this one re-implements."""
    max_ttl_seconds: int = 86_400
    max_turn_urls: int = 4
    """Firefox warns above two servers and slows down at five."""

    blackhole_uses: float = 12.0
    """So many credentials of a node that reports no new allocation should have been used: e^-12 = 6e-6 when it is well."""
    blackhole_visible_seconds: float = 4.0
    """An allocation that was expected so long before a report would be in it: 3 s of ICE, and the agent's own second."""
    blackhole_seconds: float = 30.0
    blackhole_most_seconds: float = 300.0
    """For how long such a node is suspect: the first times so many, at most the other."""

    outside_failures_to_condemn: int = 3
    """Rounds in a row. Lost packets alone do not fail one, which sends each packet four times: three are for outages of seconds."""
    outside_successes_to_return: int = 2
    outside_counts_seconds: float = 300.0
    """What was seen from outside counts for nothing when it is older: a leader that is gone condemns nobody."""
    flapping_downs: int = 3
    flapping_seconds: float = 600.0
    """More times down than the first within the second: quarantine."""
    quarantine_seconds: float = 60.0
    quarantine_most_seconds: float = 1800.0
    """The first one, doubled each time, up to the longest."""
    quarantine_forgotten_seconds: float = 3600.0
    """So long after the last one the next is a first one again."""
    place_fault_share: float = 0.5
    place_good_share: float = 0.3
    """When more of the nodes that report well fail from outside than the first, it is the place they are tried from, until no more
    fail than the second."""
    place_from_nodes: int = 4
    place_from_regions: int = 2
    """In a fleet that is smaller in both, half of the nodes may well be unreachable at once."""
    place_lately_seconds: float = 20.0
    """The time of three rounds of a failing node."""
    place_sample_nodes: int = 8
    """So many must have been seen lately before the place is blamed."""

    def late_after_seconds(self, interval_seconds: float) -> float:
        """The age of a report that makes a node suspect."""
        return self.suspect_after_intervals * interval_seconds

    def lease_seconds(self, interval_seconds: float) -> float:
        """The age of a report that makes a node down."""
        return self.down_after_intervals * interval_seconds

    def interval_seconds(self, nodes: int) -> float:
        """The heartbeat interval for a fleet of that many nodes: 2 s up to 10,000, then rate-limited."""
        return max(self.heartbeat_interval_seconds, nodes / self.heartbeats_per_second)
