"""A heartbeat: who sent it, is it new, what does it change, and what should the node do next."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog

from controlplane.fleet.heartbeat import accept, bad_news, is_stale, say_goodbye
from controlplane.fleet.model import Node, Report
from controlplane.flows.authenticate import AuthenticationError
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.wire.token_format import parse_token

log = structlog.get_logger()


async def authenticate_node(directory: Directory, bearer: str | None) -> tuple[Node, bytes]:
    """The node that a node token belongs to, and the token's hash: its identity is in the token, never in a body or path.

    Raises AuthenticationError, or DatabaseUnavailableError when the node is not known here and PostgreSQL is away.
    """
    parsed = parse_token(bearer or "")
    if parsed is None or parsed.kind != "node":
        raise AuthenticationError("Send the node token as: Authorization: Bearer tfn_….")
    node = await directory.node_by_token(parsed.sha256)
    if node is None:
        raise AuthenticationError("The node token is unknown: the node was forgotten, or joined anew elsewhere.")
    return node, parsed.sha256


def accept_heartbeat(keeper: FleetKeeper, node: Node, report: Report) -> bool:
    """Take a report in. False when it is a duplicate or was overtaken: it renews nothing."""
    view = keeper.view
    previous, heard_at = view.record(node.node_id), view.received_at(node.node_id)
    if is_stale(previous, report):
        return False
    now = time.monotonic()
    # While the silence is ours it breaks no streak either: the node may have reported to another replica all the time.
    silence = 0.0 if heard_at is None or view.silence_held(now) else now - heard_at
    record = accept(
        previous,
        report,
        received_at=datetime.now(UTC),
        silence_seconds=silence,
        interval_seconds=view.interval_seconds,
        policy=view.policy,
    )
    bad = bad_news(report, policy=view.policy)
    was_bad = None if previous is None else bad_news(previous.report, policy=view.policy)
    returned = record.proved_at is not None and (previous is None or previous.proved_at is None)
    if bad is not was_bad and previous is not None:
        log.info("node_news", node=node.name, region=node.region, bad_news=bad, before=was_bad)
    keeper.heard(node.node_id, record, news=bad is not was_bad or returned or previous is None)
    return True


def accept_goodbye(keeper: FleetKeeper, node: Node, *, boot_id: str, sequence: int, reason: str) -> None:
    """The agent leaves on purpose: the node takes no new clients from now on."""
    previous = keeper.view.record(node.node_id)
    if previous is None or previous.report.boot_id != boot_id:
        return
    record = say_goodbye(previous, sequence=max(sequence, previous.report.sequence + 1), received_at=datetime.now(UTC))
    log.info("node_said_goodbye", node=node.name, region=node.region, reason=reason)
    keeper.heard(node.node_id, record, news=True)
