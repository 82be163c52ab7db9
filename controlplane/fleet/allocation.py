"""A TURN allocation as its node told of it: which one it is, and what of a report can be believed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A node whose clock is off by 5 s takes no new clients; what it told before it was noticed is counted all the same."""
MAX_AGE = timedelta(days=30)
"""An allocation that began before is not stored any more: its day may have been removed already, and it would be counted again."""
ISSUE_WINDOW = timedelta(seconds=5)
"""A credential's id is made just after its `issued_at`; a busy process may stop for a moment between the two."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID_TIME_VERSION = 7
_LAST_ISSUE = datetime(9000, 1, 1, tzinfo=UTC)
"""Far from the end of what Python can count in: a window's callers add days to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What a node told of one allocation. Totals since its begin, headers included, as coturn counts."""

    coturn_boot_id: str
    session_id: str
    """coturn's number of it, which begins anew at each start of coturn."""
    started_at: datetime
    """In whole milliseconds."""
    revision: int
    """Grows with every change of what is told."""
    credential_id: UUID
    credential_expires_at: datetime | None
    client_address: str | None
    transport: str | None
    bytes_from_client: int
    bytes_to_client: int
    packets_from_client: int
    packets_to_client: int
    bits_per_second: int
    ended_at: datetime | None
    end_reason: str | None


def allocation_id(node_id: str, allocation: Allocation) -> UUID:
    """The same for every report of an allocation: UUIDv8 (RFC 9562 §5.8), its first 48 bits the begin in Unix milliseconds."""
    milliseconds = (allocation.started_at - _EPOCH) // timedelta(milliseconds=1)
    name = "\n".join((node_id, allocation.coturn_boot_id, allocation.session_id))
    digest = hashlib.sha256(b"turnfleet/allocation/" + name.encode()).digest()
    octets = bytearray(milliseconds.to_bytes(6, "big") + digest[:10])
    octets[6] = 0x80 | octets[6] & 0x0F  # version 8
    octets[8] = 0x80 | octets[8] & 0x3F  # variant
    return UUID(bytes=bytes(octets))


def is_in_time(started_at: datetime, *, now: datetime) -> bool:
    """False: this begin cannot be, or lies so far back that the record's day may be gone."""
    return now - MAX_AGE <= started_at <= now + CLOCK_TOLERANCE


def plausible_end(ended_at: datetime | None, *, started_at: datetime, now: datetime) -> datetime | None:
    """Not before the begin, and not in the future: a clock that jumps must not make minutes."""
    return None if ended_at is None else max(started_at, min(ended_at, now))


def issue_window(credential_id: UUID) -> tuple[datetime, datetime] | None:
    """When a credential of that id was issued, from and to; None when the id is none of ours (they are UUIDv7)."""
    if credential_id.version != _UUID_TIME_VERSION:
        return None
    since_epoch = timedelta(milliseconds=credential_id.int >> 80)
    if since_epoch > _LAST_ISSUE - _EPOCH:
        return None
    made_at = _EPOCH + since_epoch
    return made_at - ISSUE_WINDOW, made_at + ISSUE_WINDOW
