"""What was used: allocations, rooms, clients, and usage summed up. All of it acts in one project."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from controlplane.client.call import Answer, Call, Pages, Parameter, get, part
from controlplane.client.methods import Driver, Group, call, pages
from controlplane.wire.records_api import (
    AllocationState,
    AllocationView,
    Bucket,
    ClientDetail,
    Dimension,
    RoomDetail,
    SubjectView,
    UsageRow,
)


class Allocations(Group[Driver]):
    @pages
    @staticmethod
    def list(
        *,
        room: str | None = None,
        client: str | None = None,
        region: str | None = None,
        node: str | UUID | None = None,
        credential: str | UUID | None = None,
        state: AllocationState | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Pages[AllocationView]:
        """One item per TURN allocation, the newest first. `client` is initiator or receiver; times are those of the start."""
        return Pages(
            path="/allocations",
            item=AllocationView,
            query={
                "room": room,
                "client": client,
                "region": region,
                "node": node,
                "credential": credential,
                "state": state,
                "from": since,
                "to": until,
            },
        )


class Rooms(Group[Driver]):
    @pages
    @staticmethod
    def list() -> Pages[SubjectView]:
        """Every room that was ever named, with its totals."""
        return Pages(path="/rooms", item=SubjectView)

    @call
    @staticmethod
    def show(room: str) -> Call[RoomDetail]:
        """One room: totals, its clients, its latest credentials and allocations."""
        return get(f"/rooms/{part(room)}", RoomDetail)


class Clients(Group[Driver]):
    @pages
    @staticmethod
    def list() -> Pages[SubjectView]:
        """Every client that was ever named, with its totals."""
        return Pages(path="/clients", item=SubjectView)

    @call
    @staticmethod
    def show(client: str) -> Call[ClientDetail]:
        """One client: totals, its rooms, its latest credentials and allocations."""
        return get(f"/clients/{part(client)}", ClientDetail)


def _text(answer: Answer) -> str:
    return answer.body.decode()


class Usage(Group[Driver]):
    @pages
    @staticmethod
    def list(
        *,
        group_by: Dimension | None = None,
        bucket: Bucket | None = None,
        room: str | None = None,
        client: str | None = None,
        region: str | None = None,
        node: str | UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Pages[UsageRow]:
        """What was used in each hour or day, the oldest first."""
        return Pages(path="/usage", item=UsageRow, query=_usage_query(group_by, bucket, room, client, region, node, since, until))

    @call
    @staticmethod
    def csv(
        *,
        group_by: Dimension | None = None,
        bucket: Bucket | None = None,
        room: str | None = None,
        client: str | None = None,
        region: str | None = None,
        node: str | UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Call[str]:
        """The same as CSV, for a spreadsheet."""
        return Call(
            method="GET",
            path="/usage",
            query=_usage_query(group_by, bucket, room, client, region, node, since, until),
            headers={"accept": "text/csv"},
            read=_text,
            repeat="always",
        )


def _usage_query(
    group_by: Dimension | None,
    bucket: Bucket | None,
    room: str | None,
    client: str | None,
    region: str | None,
    node: str | UUID | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Parameter]:
    return {
        "group_by": group_by,
        "bucket": bucket,
        "room": room,
        "client": client,
        "region": region,
        "node": node,
        "from": since,
        "to": until,
    }
