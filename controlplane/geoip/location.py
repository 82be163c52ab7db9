"""What a database record says of a place, whichever of the two common shapes it has."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DATA_FOLDER = Path(__file__).with_name("data")

COUNTRY_SIZED_RADIUS_KILOMETRES = 500
"""From this accuracy radius on, a record's point stands for a country. MaxMind writes 1,000 for a country of which no more is
known, and 200 or less for nearly every city; the value between them is a guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A place on Earth, good for comparing distances to regions and for nothing finer."""

    latitude: float
    """Degrees north, WGS 84."""
    longitude: float
    """Degrees east, WGS 84."""
    country: str | None
    """ISO 3166-1 alpha-2, capitals. None where the record has coordinates alone."""
    precision: Literal["city", "country"]
    """`country`: the point stands for a whole country, and may be a thousand kilometres from the client."""


def read_centroids(path: Path = DATA_FOLDER / "country_centroids.csv") -> dict[str, Location]:
    """The representative point of every country, by its code. Sources and derivation: NOTICE beside the file."""
    with path.open(encoding="ascii", newline="") as lines:
        return {
            row["country"]: Location(
                latitude=float(row["latitude"]),
                longitude=float(row["longitude"]),
                country=row["country"],
                precision="country",
            )
            for row in csv.DictReader(lines)
        }


def location_of(record: object, centroids: Mapping[str, Location]) -> Location | None:
    """The place that a record names, or None where it names none that we can put on a map. Never raises.

    Read are the flat keys (`country_code`, `latitude`, `longitude`) and MaxMind's nested ones (`country.iso_code`, then
    `registered_country.iso_code`; `location.latitude`, `location.longitude`). A record without usable coordinates
    stands at its country's centroid; a code without one (`EU`, `AP`, `ZZ`) is no place.
    """
    if not isinstance(record, dict):
        return None
    country = _country(record)
    nested = record.get("location")
    place = nested if isinstance(nested, dict) else record
    latitude = _degrees(place.get("latitude"), 90.0)
    longitude = _degrees(place.get("longitude"), 180.0)
    # 0°N 0°E is open sea, and what several databases write for "unknown".
    if latitude is None or longitude is None or (latitude == 0.0 and longitude == 0.0):
        return None if country is None else centroids.get(country)
    radius_kilometres = place.get("accuracy_radius")
    coarse = isinstance(radius_kilometres, int) and radius_kilometres >= COUNTRY_SIZED_RADIUS_KILOMETRES
    return Location(
        latitude=latitude,
        longitude=longitude,
        country=country,
        precision="country" if coarse else "city",
    )


def _country(record: Mapping[object, object]) -> str | None:
    code = record.get("country_code")
    if code is None:
        for key in ("country", "registered_country"):
            country = record.get(key)
            if isinstance(country, dict) and (code := country.get("iso_code")):
                break
    if not isinstance(code, str) or len(code) != 2 or not (code.isascii() and code.isalpha()):  # noqa: PLR2004
        return None
    return code.upper()


def _degrees(value: object, limit: float) -> float | None:
    if isinstance(value, float):
        degrees = value
    elif isinstance(value, int | str) and not isinstance(value, bool):
        # Databases converted from CSV hold numbers as text.
        try:
            degrees = float(value)
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return degrees if -limit <= degrees <= limit else None  # Not a number is in no range.
