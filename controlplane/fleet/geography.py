"""How far a client is from a region, in milliseconds of expected round trip."""

from __future__ import annotations

import math

from controlplane.fleet.policy import Policy

EARTH_RADIUS_KM = 6371.0
"""Mean radius (IUGG)."""


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Great-circle distance by the haversine formula."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_phi = (other_phi - phi) / 2
    half_lambda = math.radians(other_longitude - longitude) / 2
    root = math.sin(half_phi) ** 2 + math.cos(phi) * math.cos(other_phi) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(root)))


def expected_rtt_milliseconds(distance: float, *, policy: Policy) -> float:
    """Round trip over `distance` km of ordinary Internet."""
    return policy.rtt_base_milliseconds + policy.rtt_milliseconds_per_km * distance
