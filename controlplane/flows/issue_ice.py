"""A request for ICE credentials: choose a node, sign, record, answer. Asks no store: works with Redis and PostgreSQL gone."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from uuid_utils import uuid7

from controlplane.fleet.address_privacy import kept_address
from controlplane.fleet.credentials import Credential, sign
from controlplane.fleet.issue import Issue
from controlplane.fleet.selection import NodeReason, RankedRegion, Reason, Refusal, Selection, Trace, select
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.geoip import Locator
from controlplane.journal.record import encode_issue
from controlplane.journal.writer import JournalWriter
from controlplane.postgres_store.tenants import Project

MAX_SERVERS = 2


class IceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request. `ttl_seconds` is within the project's bounds already."""

    ttl_seconds: int
    client_address: str | None
    initiator_client: str | None = None
    receiver_client: str | None = None
    room: str | None = None
    fixed_region: str | None = None
    preferred_region: str | None = None
    servers: int = 1
    explain: bool = False


class IssuedServer(msgspec.Struct, frozen=True, kw_only=True):
    node_id: str
    stun_urls: list[str]
    turn_urls: list[str]
    credential: Credential


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    credential_id: str
    expires_at: datetime
    region: str
    reason: Reason
    node_reason: NodeReason
    degraded: bool
    servers: list[IssuedServer]
    trace: Trace | None


class IceIssuer:
    """Everything that issuing needs, gathered once."""

    def __init__(self, keeper: FleetKeeper, secrets: NodeSecrets, journal: JournalWriter, locator: Locator) -> None:
        self._keeper = keeper
        self._secrets = secrets
        self._journal = journal
        self._locator = locator
        self._draw = random.random  # spreads load; nothing secret is drawn from it

    async def issue(self, project: Project, token_id: str, query: IceQuery) -> Issued | Refusal:
        """Credentials whose record is on the disk. Raises JournalUnavailableError, then nothing was handed out."""
        view = self._keeper.view
        table, policy = view.table, view.policy
        trace = Trace(regions=[], nodes=[]) if query.explain else None
        selection = select(
            table,
            ranked=self._ranked(query),
            fixed=query.fixed_region,
            preferred=query.preferred_region,
            servers=query.servers,
            weight=view.conversion.weight(str(project.project_id)),
            draw=self._draw,
            policy=policy,
            trace=trace,
        )
        if isinstance(selection, Refusal):
            return selection
        issued_at = datetime.now(UTC)
        expires_at = issued_at + timedelta(seconds=query.ttl_seconds)
        minted = uuid7()  # of a faster kind than Python's own
        identity = str(minted)
        issued = Issued(
            credential_id=identity,
            expires_at=expires_at,
            region=selection.region.region.slug,
            reason=selection.reason,
            node_reason=selection.node_reason,
            degraded=table.held,
            servers=self._servers(selection, identity, int(expires_at.timestamp())),
            trace=trace,
        )
        await self._journal.append(
            encode_issue(
                Issue(
                    issued_at=issued_at,
                    credential_id=UUID(int=minted.int),
                    project_id=project.project_id,
                    token_id=token_id,
                    expires_at=expires_at,
                    region=issued.region,
                    node_ids=tuple(contender.node_id for contender in selection.contenders),
                    secret_versions=tuple(contender.secret_version for contender in selection.contenders),
                    selection=selection.reason.value,
                    node_selection=selection.node_reason.value,
                    degraded=table.held,
                    initiator_client=query.initiator_client,
                    receiver_client=query.receiver_client,
                    room=query.room,
                    client_address=kept_address(query.client_address, project.client_address_policy),
                    fixed_region=query.fixed_region,
                    preferred_region=query.preferred_region,
                )
            )
        )
        for contender in selection.contenders:
            view.place(contender.node_id, selection.share)
        return issued

    def _ranked(self, query: IceQuery) -> list[RankedRegion] | None:
        """Regions by distance from the preferred region, else from the caller; None when neither place is known."""
        view = self._keeper.view
        if query.preferred_region is not None:
            preferred = view.regions.get(query.preferred_region)
            if preferred is not None:
                return view.rank(preferred.latitude, preferred.longitude)
        location = self._locator.locate(query.client_address) if query.client_address is not None else None
        return None if location is None else view.rank(location.latitude, location.longitude)

    def _servers(self, selection: Selection, credential_id: str, expires_at_unix: int) -> list[IssuedServer]:
        return [
            IssuedServer(
                node_id=contender.node_id,
                stun_urls=contender.stun_urls,
                turn_urls=contender.turn_urls,
                credential=sign(
                    self._secrets.signing_key(contender.node_id, contender.secret_version, contender.secret_key),
                    credential_id=credential_id,
                    expires_at_unix=expires_at_unix,
                ),
            )
            for contender in selection.contenders
        ]
