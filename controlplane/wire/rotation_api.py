"""Node secrets as operators see them: versions and what they are for, never what they are. Instants are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from controlplane.wire.agent_api import Count
from controlplane.wire.fleet_api import IntentBody, Slug


class RotateNodeBody(IntentBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /fleet/nodes/{node_id}/secrets/rotate."""

    emergency: bool = False
    """The versions so far are out at once: credentials that were signed with them are refused from then on."""


class RotateFleetBody(RotateNodeBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /fleet/secrets/rotate."""

    region: Slug | None = None
    """Of this region's nodes; None: of all."""


class RotationView(Struct, frozen=True, kw_only=True):
    nodes: Count
    staged: Count
    """A new version is on its way to so many of them."""
    queued: Count
    """Of so many the last rotation has not ended: theirs begins when it has."""
    queued_until: datetime | None
    """When the last credential of those older versions expires; None: nothing is queued, or nothing was signed with them."""


class SecretQuery(Struct, frozen=True, kw_only=True):
    """GET /fleet/secrets."""

    region: str | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: str = ""
    """`next_cursor` of the page before."""


class SecretVersionView(Struct, frozen=True, kw_only=True):
    version: int
    state: str
    """staged, signing or verifying."""
    loaded: bool
    """coturn has it, with the right value."""
    needed_until: datetime | None
    """When the last credential that was signed with it expires, to the next quarter of a minute; None: none that is still valid."""


class SecretView(Struct, frozen=True, kw_only=True):
    """One node's secrets."""

    node_id: str
    name: str
    region: str
    versions: list[SecretVersionView]
    staged_at: datetime | None
    """When its newest version was first wanted; None: when it joined."""
    master_keys: list[str]
    """The ids of the master keys that its versions come from."""
    queued: bool
    """Another rotation begins when this one has ended."""
    drifted: bool
    """coturn holds a wrong value, or a version that it should not, or lacks one: it is told what to hold with each heartbeat."""


class SecretList(Struct, frozen=True, kw_only=True):
    items: list[SecretView]
    next_cursor: str | None


class MasterKeyView(Struct, frozen=True, kw_only=True):
    """GET /fleet/master-key."""

    key_id: str
    """Of the master key that new secrets come from. It tells nothing about the key."""
    adopted_at: datetime
    """Since when."""
    nodes: Count
    """So many hold secrets that come from another key."""
    webhooks: Count
    """The secrets of so many are sealed with another key."""
    processes: Count
    """API and jobs processes that have this key as their current one."""
    processes_with_another: Count
    """While there are both, nothing changes: a new key is used when all have it."""
