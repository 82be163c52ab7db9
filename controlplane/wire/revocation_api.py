"""What applications send to end credentials."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

Subject = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+\Z")]


class RevokeBody(Struct, frozen=True, kw_only=True):
    """POST /credentials/revoke. Exactly one of the three."""

    room: Subject | None = None
    """Every credential that was issued for this room until now."""
    client: Subject | None = None
    """Every credential that names this client, as initiator or as receiver."""
    ids: Annotated[list[UUID], Meta(min_length=1, max_length=500)] | None = None
    """These credentials. Ids that are not the project's are passed over."""
