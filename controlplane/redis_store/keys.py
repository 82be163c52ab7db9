"""Every key in Redis, with its type, its meaning and its expiry."""

from __future__ import annotations

from typing import Final

NODES: Final = "turnfleet:fleet:nodes"
"""Hash: node id → records.StoredRecord as MessagePack, the newest report of the node. No expiry: one small entry per node
ever seen, removed with the node. Age is judged by SEEN, never by presence."""

SEEN: Final = "turnfleet:fleet:seen"
"""Sorted set: node id → when its newest report was received, in milliseconds of Redis' own clock, so that the clocks of
the replicas do not matter. No expiry."""
