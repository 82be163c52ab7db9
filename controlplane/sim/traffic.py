"""How relayed sessions behave: how long, how fast, and how soon after a credential was issued.

These are measurements and assumptions about the world, kept apart from the constants by which `fleet` judges it: the two may
differ, and the simulator is there to show what that costs.
"""

from __future__ import annotations

from dataclasses import dataclass

TICK_SECONDS = 0.05
"""Loads change at these instants only; requests and reports happen between them, at their own time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Distributions of one relayed session. Rates in bits per second, one direction."""

    conversion: float = 0.15
    """Share of issued credentials whose session is relayed: 15 % by Twilio's statement, 22 % of conferences by callstats (2015)."""
    mean_bits_per_second: float = 2e6
    rate_sigma: float = 0.8
    """Of the lognormal rate: calls, screens and data channels side by side. Assumed."""
    fluctuation_sigma: float = 0.35
    """Of the lognormal factor (mean 1) that a session's rate is multiplied by once it is ramped up. Assumed."""
    fluctuation_seconds: float = 20.0
    """Mean of the exponential gaps at which that factor is drawn anew. Assumed."""
    mean_length_seconds: float = 300.0
    length_sigma: float = 1.2
    """Of the lognormal length: half of the sessions are shorter than 146 s, one in ten lasts 11 minutes. Assumed."""
    ice_from_seconds: float = 0.5
    ice_to_seconds: float = 3.0
    """Uniform between the two: from the issue of a credential to the first relayed byte."""
    ramp: tuple[tuple[float, float], ...] = ((0.0, 0.30), (3.0, 0.35), (8.0, 0.35))
    """(seconds after the first byte, share of the rate that begins then): a sender's bandwidth estimator finding its rate."""
    gathering_seconds: float = 0.3
    """From the issue to the allocation, which a browser makes while gathering, whether it will relay or not."""
    unused_allocation_seconds: float = 15.0
    """How long an allocation that relays nothing is kept. Assumed."""

    @property
    def relayed_bits_per_second_per_request(self) -> float:
        """What one issued credential brings on average."""
        return self.conversion * self.mean_bits_per_second
