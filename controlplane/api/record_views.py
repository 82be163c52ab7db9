"""From stored records to what the API shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from controlplane.postgres_store.records import AllocationRecord, CredentialRecord, UsageRecord
from controlplane.postgres_store.subjects import Kind, LinkTemplates, SubjectRecord
from controlplane.wire.records_api import (
    AllocationView,
    Bucket,
    Companion,
    CredentialView,
    Dimension,
    SubjectView,
    UsageRow,
)

_SECONDS_PER_MINUTE = 60
_COMPANIONS_SHOWN = 50


def to_credential(record: CredentialRecord) -> CredentialView:
    return CredentialView(
        id=record.id,
        issued_at=record.issued_at,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        token_id=record.token_id,
        room=record.room,
        initiator_client=record.initiator_client,
        receiver_client=record.receiver_client,
        client_address=record.client_address,
        region=record.region,
        node_ids=record.node_ids,
        selection=record.selection,
        node_selection=record.node_selection,
        degraded=record.degraded,
        fixed_region=record.fixed_region,
        preferred_region=record.preferred_region,
    )


def to_allocation(record: AllocationRecord) -> AllocationView:
    return AllocationView(
        id=record.id,
        state="live" if record.ended_at is None else "ended",
        started_at=record.started_at,
        ended_at=record.ended_at,
        end_reason=record.end_reason,
        credential_id=record.credential_id,
        room=record.room,
        initiator_client=record.initiator_client,
        receiver_client=record.receiver_client,
        client_address=record.client_address,
        transport=record.transport,
        region=record.region,
        node_id=record.node_id,
        bytes_from_client=record.bytes_from_client,
        bytes_to_client=record.bytes_to_client,
        packets_from_client=record.packets_from_client,
        packets_to_client=record.packets_to_client,
        bits_per_second=record.bits_per_second,
        reported_at=record.reported_at,
    )


def to_subject(record: SubjectRecord, *, url: str | None, live_allocations: int) -> SubjectView:
    return SubjectView(
        key=record.key,
        url=url,
        first_seen_at=record.first_seen_at,
        last_seen_at=record.last_seen_at,
        credentials=record.credentials,
        allocations=record.allocations,
        live_allocations=live_allocations,
        bytes_from_client=record.bytes_from_client,
        bytes_to_client=record.bytes_to_client,
        bytes_total=record.bytes_from_client + record.bytes_to_client,
        minutes=to_minutes(record.seconds),
    )


def clients_of_room(records: Sequence[CredentialRecord], templates: LinkTemplates) -> list[Companion]:
    """Those named in a room's credentials, of which the newest are first."""
    named = [
        (client, record.issued_at) for record in records for client in (record.initiator_client, record.receiver_client) if client
    ]
    return _companions(named, "client", templates)


def rooms_of_client(records: Sequence[CredentialRecord], templates: LinkTemplates) -> list[Companion]:
    """Those named in a client's credentials, of which the newest are first."""
    return _companions([(record.room, record.issued_at) for record in records if record.room], "room", templates)


def _companions(named: Sequence[tuple[str, datetime]], kind: Kind, templates: LinkTemplates) -> list[Companion]:
    latest: dict[str, datetime] = {}
    for key, at in named:
        latest.setdefault(key, at)
    return [
        Companion(key=key, url=link_back(templates, kind, key), last_seen_at=at)
        for key, at in list(latest.items())[:_COMPANIONS_SHOWN]
    ]


def to_usage(record: UsageRecord, *, bucket: Bucket, group_by: Dimension, project_slug: str) -> UsageRow:
    return UsageRow(
        at=record.at,
        bucket=bucket,
        group_by=group_by,
        key=project_slug if group_by == "project" else record.key,
        credentials=record.credentials,
        allocations=record.allocations,
        bytes_from_client=record.bytes_from_client,
        bytes_to_client=record.bytes_to_client,
        bytes_total=record.bytes_from_client + record.bytes_to_client,
        minutes=to_minutes(record.seconds),
    )


def link_back(templates: LinkTemplates, kind: Kind, key: str) -> str | None:
    """The project's page about a room or client: its template with {room} or {client} filled in, percent-encoded."""
    template = templates.room if kind == "room" else templates.client
    return None if template is None else template.replace(f"{{{kind}}}", quote(key, safe=""))


def to_minutes(seconds: float) -> float:
    return round(seconds / _SECONDS_PER_MINUTE, 3)
