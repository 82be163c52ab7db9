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
    """How long silence removes nobody while this replica cannot see the fleet: bounded, or it would last for ever."""

    safety_deviations: float = 2.0
    """z of the safe capacity: mean load at which mean + 2 standard deviations just fits."""
    session_burst_bits_per_second: float = 4.3e6
    """beta = E[b^2]/E[b] of a relayed session's rate: lognormal, mean 2 Mbit/s, sigma 0.8, redrawn with sigma 0.35. Wrong by
    a factor of four either way costs 1 to 5 % of peak."""
    cpu_limit_ratio: float = 0.85
    """A relay's CPU figure is noisy; beyond this its packets queue."""
    eligible_below_utilisation: float = 0.95
    """A node above is not offered while others are below."""
    overload_limit_utilisation: float = 1.10
    """Above safe capacity by this much, refusing is kinder than placing."""
    choices: int = 3
    """d of best-of-d: 2 reacts slower, 4 herds more; 3 was best in simulation at 20 to 500 nodes."""
    slow_start_seconds: float = 30.0
    slow_start_floor: float = 0.25
    """A returning node starts at a quarter of its share and has it all after 30 s: covers warm-up and flapping."""

    credential_bits_per_second: float = 0.3e6
    """What one issued credential is expected to relay: 15 % relay at all, 2 Mbit/s each."""
    credential_allocations: float = 1.0
    """A browser allocates on what it is offered, used or not."""

    rtt_base_milliseconds: float = 6.0
    rtt_milliseconds_per_km: float = 0.015
    """Great circle; fits published probes (2,850 km: 56 ms; 7,900 km: 113 ms)."""
    band_milliseconds: float = 15.0
    band_ratio: float = 0.25
    """Regions within the larger of both of a band's first member are equally near: nobody hears 15 ms."""
    spill_from_utilisation: float = 0.80
    """Between this and eligible_below_utilisation a growing share spills: proportional, so nothing flips."""

    default_ttl_seconds: int = 30
    """As published by the API this one re-implements."""
    max_ttl_seconds: int = 86_400
    max_turn_urls: int = 4
    """Firefox warns above two servers and slows down at five."""

    def interval_seconds(self, nodes: int) -> float:
        """The heartbeat interval for a fleet of that many nodes: 2 s up to 10,000, then rate-limited."""
        return max(self.heartbeat_interval_seconds, nodes / self.heartbeats_per_second)
