"""Values as people read them. Machine output never goes through here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

NOTHING = "-"
_STEPS = ("", "k", "M", "G", "T", "P", "E")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def say(field: str, value: Any) -> str:
    """`value` of a field of that name: the name tells the unit."""
    if value is None or value is msgspec.UNSET or value in ("", [], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return say_instant(value)
    if isinstance(value, int | float):
        return _say_number(field, value)
    if isinstance(value, list | tuple):
        return ", ".join(say(field, each) for each in value)
    if isinstance(value, msgspec.Struct):
        return ", ".join(f"{name} {say(name, each)}" for name, each in msgspec.structs.asdict(value).items())
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {say(str(name), each)}" for name, each in value.items())
    return clean(str(value))


def clean(text: str) -> str:
    """Without what would steer a terminal, or turn the direction of a line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _say_number(field: str, value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if field.startswith("bytes") or field.endswith("bytes"):
        return scaled(value, "B")
    if field.endswith("bits_per_second"):
        return scaled(value, "bit/s")
    if field.endswith("milliseconds"):
        return f"{value:,.1f} ms"
    if field.endswith("seconds"):
        return say_seconds(value)
    if field in {"utilisation", "cpu_ratio", "memory_ratio"}:
        return f"{value * 100:.1f} %"
    if field == "port":
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def scaled(value: float, unit: str) -> str:
    """With a decimal prefix, as networks are measured: 1 kB is 1000 B."""
    step = 0
    while abs(value) >= 999.95 and step < len(_STEPS) - 1:  # noqa: PLR2004 - what rounds to 1000
        value, step = value / 1000, step + 1
    number = f"{value:.1f}" if step or not float(value).is_integer() else f"{value:.0f}"
    return f"{number} {_STEPS[step]}{unit}"


def say_seconds(value: float) -> str:
    if value < 2 * _MINUTE:
        return f"{value:.0f} s" if float(value).is_integer() else f"{value * 1000:.0f} ms" if abs(value) < 1 else f"{value:.1f} s"
    whole = round(value)
    parts = ((whole // _DAY, "d"), (whole % _DAY // _HOUR, "h"), (whole % _HOUR // _MINUTE, "min"), (whole % _MINUTE, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def say_instant(value: datetime) -> str:
    """In the zone of this machine, with its name."""
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S} {zone_of(value)}".rstrip()


def zone_of(value: datetime) -> str:
    """The name of this machine's zone at that time, such as CET and CEST."""
    return clean(value.astimezone().tzname() or "")
