"""POST /agents/usage: what a node relayed, allocation by allocation. Answered 200 only when it is stored for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response, post

from controlplane.api.access import answer, read_json, services_of
from controlplane.api.describe import described
from controlplane.api.raw_http import bearer_token
from controlplane.fleet.allocation import Allocation, plausible_end
from controlplane.flows.accept_heartbeat import authenticate_node
from controlplane.flows.record_usage import Recorded, record_usage
from controlplane.postgres_store.usage import CredentialRecord
from controlplane.wire.agent_api import AllocationReport, CredentialRule, UsageReply, UsageReport

_BODY_LIMIT_BYTES = 1024 * 1024
"""500 allocations take half of it when every field is as long as it may be."""
_LARGEST = 2**53

log = structlog.get_logger()


class _Rows(msgspec.Struct):
    """A UsageReport whose rows are looked at one by one: a node must not be stuck for ever with one that is wrong."""

    allocations: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=500)]
    ask: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=500)] = []


@post(
    "/api/v1/agents/usage",
    status_code=200,
    request_max_body_size=_BODY_LIMIT_BYTES,
    opt=described(
        "report_usage",
        tag="agents",
        summary="What a node relayed, allocation by allocation",
        scope=None,
        node_token=True,
        body=UsageReport,
        answer=UsageReply,
        problems=("body_malformed", "body_too_large", "fields_invalid", "store_unavailable"),
    ),
)
async def report_usage(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Totals of allocations, at least once and in any order; in return, what the holders of their credentials may do."""
    services = services_of(request)
    node, _ = await authenticate_node(services.directory, bearer_token(request.scope))
    body = await read_json(request, _Rows)
    now = services.directory.database_now()
    told, nobodys = [], 0
    faults: list[str] = []
    for raw in body.allocations:
        try:
            report = msgspec.json.decode(raw, type=AllocationReport)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            faults.append(str(error))
            continue
        if report.credential_id is None:
            nobodys += 1
        else:
            told.append(_allocation(report, UUID(report.credential_id), now))
    if faults:
        log.warning("usage_malformed", node=node.name, allocations=len(faults), first=faults[0])
    addresses_from = now - timedelta(days=services.settings.client_address_retention_days)
    recorded = await record_usage(services.usage_database, node, told, ask=_asked(body.ask), now=now, addresses_from=addresses_from)
    _count(services.metrics.allocation_reports, recorded, malformed=len(faults), nobodys=nobodys)
    return answer(UsageReply(rules=[_rule(each) for each in recorded.rules]))


def _allocation(report: AllocationReport, credential_id: UUID, now: datetime) -> Allocation:
    # Whole milliseconds: the begin is part of the key, and must be the same in every report.
    started_at = _instant(round(report.started_at, 3))
    return Allocation(
        coturn_boot_id=report.coturn_boot_id,
        session_id=report.session_id,
        started_at=started_at,
        revision=report.revision,
        credential_id=credential_id,
        credential_expires_at=None if report.credential_expires_at is None else _instant(report.credential_expires_at),
        client_address=_address(report.client_address),
        transport=report.transport,
        bytes_from_client=report.bytes_from_client,
        bytes_to_client=report.bytes_to_client,
        packets_from_client=report.packets_from_client,
        packets_to_client=report.packets_to_client,
        bits_per_second=int(min(report.bits_per_second, _LARGEST)),
        ended_at=plausible_end(None if report.ended_at is None else _instant(report.ended_at), started_at=started_at, now=now),
        end_reason=None if report.end_reason is None else report.end_reason.replace("\x00", ""),
    )


def _instant(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)


def _address(text: str | None) -> str | None:
    """None for what is no address: it is not worth losing the row."""
    try:
        return None if text is None else str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _asked(raw: list[msgspec.Raw]) -> set[UUID]:
    asked = set()
    for each in raw:
        try:
            asked.add(msgspec.json.decode(each, type=UUID))
        except msgspec.MsgspecError:
            continue
    return asked


def _count(reports: Any, recorded: Recorded, *, malformed: int, nobodys: int) -> None:
    outcomes = {
        "taken": recorded.taken,
        "stale": recorded.stale,
        "not_ours": recorded.not_ours + nobodys,
        "out_of_time": recorded.out_of_time,
        "malformed": malformed,
    }
    for outcome, count in outcomes.items():
        if count:
            reports.labels(outcome).inc(count)


def _rule(record: CredentialRecord) -> CredentialRule:
    return CredentialRule(
        credential_id=str(record.credential_id),
        end_at_expiry=record.end_at_expiry,
        max_allocations=record.max_allocations,
        max_bits_per_second=record.max_bits_per_second,
    )
