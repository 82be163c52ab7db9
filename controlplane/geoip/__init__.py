"""Where an address is, roughly: the prior for choosing a region, before any round trip was measured.

Everything is answered from local files; nothing here uses the network, logs or raises for what a client sent.
"""

from __future__ import annotations

from controlplane.geoip.client_address import client_address
from controlplane.geoip.database import DatabaseDescription, GeoipFileError
from controlplane.geoip.location import Location
from controlplane.geoip.locator import DEFAULT_DATABASE, Locator, Reload

__all__ = [
    "DEFAULT_DATABASE",
    "DatabaseDescription",
    "GeoipFileError",
    "Location",
    "Locator",
    "Reload",
    "client_address",
]
