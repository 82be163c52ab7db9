"""Writes small MaxMind DB files (format 2.0, 24-bit records), since no kept library for that is among our dependencies."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_network
from pathlib import Path

Value = str | float | int | list["Value"] | Mapping[str, "Value"]

BUILT_AT_EPOCH_SECONDS = 1_780_000_000

_SEPARATOR = bytes(16)
_METADATA_MARKER = b"\xab\xcd\xefMaxMind.com"


class Unsigned(int):
    """An integer of the given width in the file."""

    bits: int

    def __new__(cls, value: int, bits: int) -> Unsigned:
        made = super().__new__(cls, value)
        made.bits = bits
        return made


def write_mmdb(
    path: Path,
    records: Mapping[str, Value],
    *,
    ip_version: int = 6,
    database_type: str = "Test-City",
    built_at_epoch_seconds: int = BUILT_AT_EPOCH_SECONDS,
) -> Path:
    """A file that answers each network of `records` (disjoint CIDR texts) with its value. IPv4 sits under ::/96."""
    nodes: list[list[int | None]] = [[None, None]]
    data = b""
    for text, value in records.items():
        network = ip_network(text)
        bits = format(int(network.network_address), f"0{network.max_prefixlen}b")[: network.prefixlen]
        if ip_version == 6 and isinstance(network, IPv4Network):
            bits = "0" * 96 + bits
        node = 0
        for bit in bits[:-1]:
            child = nodes[node][int(bit)]
            if child is None:
                nodes.append([None, None])
                child = len(nodes) - 1
                nodes[node][int(bit)] = child
            assert child >= 0, "the networks overlap"
            node = child
        # Negative: an offset into the data, resolved once the number of nodes is known.
        nodes[node][int(bits[-1])] = -1 - len(data)
        data += _encoded(value)

    def record(target: int | None) -> bytes:
        if target is None:
            return len(nodes).to_bytes(3)
        return (target if target >= 0 else len(nodes) + len(_SEPARATOR) + (-1 - target)).to_bytes(3)

    metadata: dict[str, Value] = {
        "binary_format_major_version": Unsigned(2, 16),
        "binary_format_minor_version": Unsigned(0, 16),
        "build_epoch": Unsigned(built_at_epoch_seconds, 64),
        "database_type": database_type,
        "description": {"en": "a test"},
        "ip_version": Unsigned(ip_version, 16),
        "languages": ["en"],
        "node_count": Unsigned(len(nodes), 32),
        "record_size": Unsigned(24, 16),
    }
    tree = b"".join(record(left) + record(right) for left, right in nodes)
    # Renamed into place, as an operator must do it: the old file may be mapped.
    whole = path.with_name(path.name + ".new")
    whole.write_bytes(tree + _SEPARATOR + data + _METADATA_MARKER + _encoded(metadata))
    return whole.replace(path)


def _encoded(value: Value) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return _control(2, len(text)) + text
    if isinstance(value, float):
        return _control(3, 8) + struct.pack(">d", value)
    if isinstance(value, Unsigned):
        return _control({16: 5, 32: 6, 64: 9}[value.bits], value.bits // 8) + value.to_bytes(value.bits // 8)
    if isinstance(value, int):
        return _encoded(Unsigned(value, 32))
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(_encoded, value))
    return _control(7, len(value)) + b"".join(_encoded(key) + _encoded(item) for key, item in value.items())


def _control(kind: int, size: int) -> bytes:
    assert size < 29 + 256
    length, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return (bytes([kind << 5 | length]) if kind <= 7 else bytes([length, kind - 7])) + more
