"""Every key in Redis, with its type, its meaning and its expiry."""

from __future__ import annotations

from typing import Final

NODES: Final = "turnfleet:fleet:nodes"
"""Hash: node id → records.StoredRecord as MessagePack, the newest report of the node. No expiry: one small entry per node
ever seen, removed with the node. Age is judged by SEEN, never by presence."""

SEEN: Final = "turnfleet:fleet:seen"
"""Sorted set: node id → when its newest report was received, in milliseconds of Redis' own clock, so that the clocks of
the replicas do not matter. No expiry."""

OUTSIDE: Final = "turnfleet:fleet:outside"
"""Hash: node id → what was seen of the node from outside, and the empty field → how the place fares that nodes are tried from; see
outside.py. Written by the leader. Expires outside.EXPIRE_SECONDS after the last write; age is judged by OUTSIDE_AT."""

OUTSIDE_AT: Final = "turnfleet:fleet:outside:at"
"""Sorted set: field of OUTSIDE → when it was written, in milliseconds of Redis' own clock. Expires with it."""

OUTSIDE_TERM: Final = "turnfleet:fleet:outside:term"
"""String: the epoch of the leader that wrote OUTSIDE last; an earlier one writes no more. Expires after outside.TERM_SECONDS."""

REPLICAS: Final = "turnfleet:api:replicas"
"""Sorted set: id of an API process → when it last exchanged rate limits, in milliseconds of Redis' own clock. Members
that were silent for rate_limits.REPLICA_SECONDS are removed by the others."""

PLACEMENTS: Final = "turnfleet:fleet:placements"
"""Stream: what replicas placed, each entry (`replica`, the `number` of its batch, `placed`: a list of (node id, report, bits
per second, allocations, uses) as MessagePack). Entries older than placements.KEPT_SECONDS are trimmed, and the key expires when
nothing is placed."""

CONVERSION: Final = "turnfleet:fleet:conversion"
"""String: conversion.Conversion as MessagePack, what credentials were found to bring. Written by the leader; no expiry."""

QUOTAS_REACHED: Final = "turnfleet:quotas:reached"
"""String: the ids of the projects that are at a quota, a list of UUIDs as MessagePack. Written anew by the leader each second;
expires after quotas.EXPIRE_SECONDS."""


def rate_bucket(kind: str, identity: str) -> str:
    """Hash of one rate limit's shared bucket: `level` in tokens (a decimal number; below zero: owed), `at` in milliseconds
    of Redis' own clock. `kind` is what is limited: project or token. Expires when the bucket would be full."""
    return f"turnfleet:rate:{kind}:{identity}"
