"""An issue as the journal keeps it: a stored schema of its own, so that a journal left by an older release can be shipped."""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from uuid import UUID

import msgspec

from controlplane.fleet.issue import Issue

RECORD_VERSION = 1


class _StoredIssue(msgspec.Struct, frozen=True, array_like=True):
    """Positional. New fields go to the end, with a default."""

    version: int
    issued_at: datetime
    credential_id: UUID
    project_id: UUID
    token_id: str
    expires_at: datetime
    region: str
    node_ids: tuple[str, ...]
    secret_versions: tuple[int, ...]
    selection: str
    degraded: bool
    initiator_client: str | None = None
    receiver_client: str | None = None
    room: str | None = None
    client_address: str | None = None
    fixed_region: str | None = None
    preferred_region: str | None = None
    node_selection: str = ""


_FIELDS = _StoredIssue.__struct_fields__[1:]
_values = attrgetter(*_FIELDS)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_StoredIssue)


def encode_issue(issue: Issue) -> bytes:
    return _encoder.encode((RECORD_VERSION, *_values(issue)))


def decode_issue(payload: bytes) -> Issue:
    """Raises msgspec.MsgspecError when the payload is no record of a version that this release knows."""
    stored = _decoder.decode(payload)
    if stored.version > RECORD_VERSION:
        raise msgspec.ValidationError(f"A journal record has version {stored.version}; this release reads up to {RECORD_VERSION}.")
    return Issue(**dict(zip(_FIELDS, _values(stored), strict=True)))
