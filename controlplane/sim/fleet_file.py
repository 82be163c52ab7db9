"""The file that `turnfleet sim what-if` reads: an operator's own fleet, its load now, and nothing that must stay secret.

    {"regions": [{"slug": "eu-central", "latitude": 50.11, "longitude": 8.68}],
     "nodes": [{"name": "fra-1", "region": "eu-central", "capacity_bits_per_second": 1e9, "bits_per_second": 3.1e8}]}

What else is in it (an export may say more) is not looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from controlplane.fleet.model import Region
from controlplane.sim.fleet import Host, SimFleet

Slug = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z", max_length=63)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]


class FleetFileError(Exception):
    """The file says nothing that can be simulated. The message is a sentence for the operator."""


class FileRegion(msgspec.Struct, frozen=True, kw_only=True):
    slug: Slug
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class FileNode(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)]
    region: Slug
    capacity_bits_per_second: Positive
    bits_per_second: NotNegative = 0.0
    """Relayed now, in the busier direction."""
    capacity_allocations: Annotated[int, Meta(gt=0)] = 16_384


class FileTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the sessions; where nothing is, the simulator's own assumptions stay."""

    conversion: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Share of issued credentials whose session is relayed."""
    mean_bits_per_second: Positive | None = None
    mean_length_seconds: Positive | None = None


class FleetFile(msgspec.Struct, frozen=True, kw_only=True):
    regions: Annotated[list[FileRegion], Meta(min_length=1)]
    nodes: Annotated[list[FileNode], Meta(min_length=1)]
    traffic: FileTraffic = FileTraffic()


def read_fleet_file(path: Path) -> FleetFile:
    """Raises FleetFileError."""
    try:
        read = msgspec.json.decode(path.read_bytes(), type=FleetFile)
    except OSError as error:
        raise FleetFileError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise FleetFileError(f"{path} is no fleet: {error}.") from None
    slugs = [region.slug for region in read.regions]
    for what, names in (("region", slugs), ("node", [node.name for node in read.nodes])):
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise FleetFileError(f"{path} has the {what} {min(twice)!r} twice.")
    unknown = sorted({node.region for node in read.nodes} - set(slugs))
    if unknown:
        raise FleetFileError(f"{path} has nodes in {', '.join(unknown)}, which is no region of it.")
    if not any(node.bits_per_second for node in read.nodes):
        raise FleetFileError(f"{path} says of no node what it relays now (bits_per_second): there is no load to start from.")
    return read


def to_fleet(read: FleetFile) -> SimFleet:
    index = {region.slug: number for number, region in enumerate(read.regions)}
    return SimFleet(
        regions=tuple(
            Region(slug=region.slug, name=region.slug, city="", country="", latitude=region.latitude, longitude=region.longitude)
            for region in read.regions
        ),
        hosts=tuple(
            Host(
                name=node.name,
                region=index[node.region],
                capacity_bits_per_second=node.capacity_bits_per_second,
                capacity_allocations=node.capacity_allocations,
            )
            for node in read.nodes
        ),
    )
