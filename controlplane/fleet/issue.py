"""One issue of credentials: who got them, when, where and why. Never the password."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A struct, since one is made twice per request: a frozen dataclass of this size takes eight times as long to make."""

    issued_at: datetime
    credential_id: UUID
    """Also the id in the TURN username: it ties an allocation to its credential."""
    project_id: UUID
    token_id: str
    expires_at: datetime
    region: str
    node_ids: tuple[str, ...]
    secret_versions: tuple[int, ...]
    """One per node."""
    selection: str
    """selection.Reason: why that region."""
    degraded: bool
    """Chosen on a held view."""
    initiator_client: str | None = None
    receiver_client: str | None = None
    room: str | None = None
    client_address: str | None = None
    fixed_region: str | None = None
    preferred_region: str | None = None
    node_selection: str = ""
    """selection.NodeReason: how its nodes were chosen."""
