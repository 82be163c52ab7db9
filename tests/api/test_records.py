"""Credentials, allocations, rooms and clients as a project sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from uuid_utils.compat import uuid7

from tests.running_api import RunningApi, until

_OTHER = UUID(int=7)
"""A project of somebody else."""


class Written:
    """Records as the writers leave them, put straight into the tables."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], project_id: UUID) -> None:
        self.connection = connection
        self.project_id = project_id

    async def credential(self, **columns: Any) -> UUID:
        now = datetime.now(UTC)
        row = {
            "issued_at": now, "id": uuid7(), "project_id": self.project_id, "token_id": "token-1", "expires_at": now,
            "region": "eu-central", "node_ids": [uuid4()], "secret_versions": [1], "selection": "nearest", "degraded": False,
        } | columns  # fmt: skip
        await self._insert("credentials", row)
        return UUID(str(row["id"]))

    async def allocation(self, **columns: Any) -> UUID:
        row = {
            "started_at": datetime.now(UTC), "id": uuid4(), "project_id": self.project_id, "node_id": uuid4(),
            "region": "eu-central", "coturn_boot_id": "boot-1", "session_id": "1", "revision": 1, "matched": "matched",
            "transport": "udp",
            "bytes_from_client": 1000, "bytes_to_client": 500,
        } | columns  # fmt: skip
        await self._insert("allocations", row)
        return UUID(str(row["id"]))

    async def subject(self, kind: str, key: str, **columns: Any) -> None:
        now = datetime.now(UTC)
        row = {"project_id": self.project_id, "kind": kind, "key": key, "first_seen_at": now, "last_seen_at": now} | columns
        await self._insert("subjects", row)

    async def _insert(self, table: str, row: dict[str, Any]) -> None:
        marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())


@pytest_asyncio.fixture(loop_scope="session")
async def written(api: RunningApi, module_database_url: str) -> AsyncIterator[Written]:
    connection = await asyncpg.connect(module_database_url)
    project_id = await connection.fetchval("SELECT id FROM projects WHERE slug = 'demo'")
    # Records arrive in the order of their issue: after this one none of those from before is still on its way.
    last = (await api.issue(json={"room": "last"})).headers["x-credential-id"]

    async def arrived() -> bool:
        return bool(await connection.fetchval("SELECT true FROM credentials WHERE id = $1", UUID(last)))

    await until(arrived)
    for table in ("credentials", "allocations", "subjects"):
        await connection.execute(f"DELETE FROM {table}")
    yield Written(connection, project_id)
    await connection.close()


async def ask(api: RunningApi, path: str, status: int = 200, **query: Any) -> Any:
    answer = await api.client.get(f"/api/v1{path}", headers=api.bearer("project"), params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


async def ids(api: RunningApi, path: str, **query: Any) -> list[str]:
    return [item["id"] for item in (await ask(api, path, **query))["items"]]


async def everything(api: RunningApi, path: str, key: str, **query: Any) -> list[Any]:
    """Through all pages of two."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = await ask(api, path, limit=2, cursor=cursor, **query)
        assert len(page["items"]) <= 2
        found += [item[key] for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = page["next_cursor"]


async def test_a_credential_is_visible_within_a_second_of_its_issue(api: RunningApi, written: Written) -> None:
    answer = await api.issue(
        json={"room": "standup", "initiator_client": "alice", "receiver_client": "bob", "preferred_region": "us-east", "ttl": 60},
        headers={"x-turn-client-ip": "192.0.2.7"},
    )
    credential_id = answer.headers["x-credential-id"]

    async def listed() -> bool:
        return credential_id in await ids(api, "/credentials", room="standup")

    assert await until(listed, within_seconds=5) < 1
    shown = await ask(api, f"/credentials/{credential_id}")
    expires_at = answer.json()["expiresAt"].rstrip("Z")
    assert shown == {
        "id": credential_id, "issued_at": shown["issued_at"], "expires_at": expires_at + shown["expires_at"][len(expires_at):],
        "revoked_at": None, "token_id": shown["token_id"], "room": "standup", "initiator_client": "alice", "receiver_client": "bob",
        "client_address": "192.0.2.7", "region": "us-east", "node_ids": [answer.headers["x-turn-node"]], "selection": "preferred",
        "node_selection": "least-loaded", "degraded": False, "fixed_region": None, "preferred_region": "us-east",
    }  # fmt: skip
    assert api.tokens["project_token"].split("_")[1].startswith(shown["token_id"])
    password = answer.json()["iceServers"][1]["credential"]
    assert password not in str(shown)


async def test_credentials_are_found_by_what_they_are(api: RunningApi, written: Written) -> None:
    node, second = uuid4(), uuid4()
    mine = str(
        await written.credential(room="r1", initiator_client="a", receiver_client="b", node_ids=[node, second], region="us-east")
    )
    both = str(await written.credential(room="r2", initiator_client="a", receiver_client="a"))
    bare = str(await written.credential())
    await written.credential(project_id=_OTHER, room="r1", initiator_client="a", receiver_client="b", node_ids=[node])
    assert await ids(api, "/credentials") == [bare, both, mine]
    assert await ids(api, "/credentials", room="r1") == [mine]
    assert await ids(api, "/credentials", client="a") == [both, mine]
    assert await ids(api, "/credentials", client="b") == [mine]
    assert await ids(api, "/credentials", region="us-east") == [mine]
    assert await ids(api, "/credentials", node=node) == await ids(api, "/credentials", node=second) == [mine]
    assert await ids(api, "/credentials", room="r1", client="b", region="us-east", node=second) == [mine]
    for nobody in ({"room": "r3"}, {"client": "c"}, {"region": "nowhere"}, {"node": uuid4()}, {"room": "r1", "client": "c"}):
        assert await ids(api, "/credentials", **nobody) == []
    known = str((await api.node("eu-1"))["node_id"])
    elsewhere = str(await written.credential(node_ids=[UUID(known)], region="eu-central"))
    assert await ids(api, "/credentials", node=known, region="eu-central") == [elsewhere]
    assert await ids(api, "/credentials", node=known, region="us-east") == []


async def test_times_bound_a_list_from_the_first_instant_to_before_the_last(api: RunningApi, written: Written) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=5)
    found = [str(await written.credential(issued_at=at + timedelta(hours=hours))) for hours in range(3)]
    begun = [str(await written.allocation(started_at=at + timedelta(hours=hours))) for hours in range(3)]
    span = {"from": at.isoformat(), "to": (at + timedelta(hours=2)).isoformat()}
    assert await ids(api, "/credentials", **span) == found[1::-1]
    assert await ids(api, "/allocations", **span) == begun[1::-1]
    assert await ids(api, "/credentials", **{"from": (at + timedelta(hours=1)).isoformat()}) == found[:0:-1]
    assert await ids(api, "/credentials", to=at.isoformat()) == []
    assert await ids(api, "/credentials", to="2001-01-01T00:00:00Z") == []


async def test_pages_follow_one_another_whatever_is_added_meanwhile(api: RunningApi, written: Written) -> None:
    at = datetime.now(UTC) - timedelta(days=4)
    same = [UUID(int=number) for number in range(1, 6)]  # at one instant the id decides
    for identity in same:
        await written.credential(id=identity, issued_at=at, room="long", initiator_client="a", receiver_client="b")
    newer = [await written.credential(room="long", initiator_client="b", receiver_client="a") for _ in range(3)]
    order = [str(each) for each in [*reversed(newer), *reversed(same)]]
    assert await everything(api, "/credentials", "id", room="long") == order
    assert await everything(api, "/credentials", "id", client="a") == order
    assert await everything(api, "/credentials", "id") == order
    first = await ask(api, "/credentials", limit=3)
    await written.credential(room="long")
    rest = await ask(api, "/credentials", cursor=first["next_cursor"])
    assert [item["id"] for item in rest["items"]] == order[3:]
    started = [str(await written.allocation(id=identity, started_at=at)) for identity in same]
    assert await everything(api, "/allocations", "id") == started[::-1]


async def test_allocations_are_found_by_what_they_are(api: RunningApi, written: Written) -> None:
    node, credential = uuid4(), uuid7()
    now = datetime.now(UTC)
    ended = str(
        await written.allocation(
            room="r1", initiator_client="a", receiver_client="b", node_id=node, credential_id=credential, region="us-east",
            started_at=now - timedelta(minutes=9), ended_at=now, end_reason="closed", client_address="2001:db8::7",
        )
    )  # fmt: skip
    live = str(await written.allocation(room="r1", initiator_client="b"))
    await written.allocation(project_id=_OTHER, room="r1", node_id=node, credential_id=credential)
    await written.allocation(project_id=None, node_id=node, credential_id=credential, matched="foreign")
    assert await ids(api, "/allocations") == await ids(api, "/allocations", room="r1") == [live, ended]
    assert await ids(api, "/allocations", client="b") == [live, ended]
    assert await ids(api, "/allocations", client="a") == [ended]
    assert await ids(api, "/allocations", region="us-east") == [ended]
    assert await ids(api, "/allocations", node=node) == await ids(api, "/allocations", credential=credential) == [ended]
    assert await ids(api, "/allocations", state="live") == [live]
    assert await ids(api, "/allocations", state="ended", room="r1") == [ended]
    assert await ids(api, "/allocations", state="live", client="a") == []
    shown = (await ask(api, "/allocations", state="ended"))["items"][0]
    assert (shown["state"], shown["end_reason"], shown["client_address"], shown["transport"]) == (
        "ended",
        "closed",
        "2001:db8::7",
        "udp",
    )
    assert (shown["bytes_from_client"], shown["bytes_to_client"], shown["credential_id"]) == (1000, 500, str(credential))


async def test_rooms_and_clients_have_totals_and_a_way_back(api: RunningApi, written: Written) -> None:
    await written.connection.execute(
        "UPDATE projects SET room_url_template = 'https://app.example/r?name={room}' WHERE slug = 'demo'"
    )
    seen_at = datetime.now(UTC) - timedelta(hours=2)
    totals = {"credentials": 4, "allocations": 3, "bytes_from_client": 10, "bytes_to_client": 5, "seconds": 90.0}
    await written.subject("room", "r1", first_seen_at=seen_at, **totals)
    await written.subject("room", "r2", first_seen_at=seen_at)
    await written.subject("client", "r1")
    await written.connection.execute("INSERT INTO subjects VALUES ($1, 'room', 'r3', now(), now())", _OTHER)
    for client in ("a", "b"):
        await written.allocation(room="r1", initiator_client=client, receiver_client=client)
    await written.allocation(room="r1", initiator_client="a", ended_at=datetime.now(UTC))
    assert await everything(api, "/rooms", "key") == ["r2", "r1"]
    items = (await ask(api, "/rooms"))["items"]
    assert items[1] == {
        "key": "r1", "url": "https://app.example/r?name=r1", "first_seen_at": items[1]["first_seen_at"],
        "last_seen_at": items[1]["last_seen_at"], "credentials": 4, "allocations": 3, "live_allocations": 2,
        "bytes_from_client": 10, "bytes_to_client": 5, "bytes_total": 15, "minutes": 1.5,
    }  # fmt: skip
    assert items[0]["live_allocations"] == 0
    clients = (await ask(api, "/clients"))["items"]
    assert [(item["key"], item["url"]) for item in clients] == [("r1", None)]


async def test_a_room_shows_who_was_in_it_and_a_client_where_it_was(api: RunningApi, written: Written) -> None:
    await written.subject("room", "r1", first_seen_at=datetime.now(UTC) - timedelta(days=3))
    await written.subject("client", "a", first_seen_at=datetime.now(UTC) - timedelta(days=3))
    for number in range(7):
        issued_at = datetime.now(UTC) - timedelta(days=2, minutes=number)
        await written.credential(room=f"r{number % 2}", initiator_client="a", receiver_client=f"b{number}", issued_at=issued_at)
        await written.allocation(room=f"r{number % 2}", initiator_client="a", started_at=issued_at)
    room = await ask(api, "/rooms/r1")
    assert [client["key"] for client in room["clients"]] == ["a", "b1", "b3", "b5"]
    assert (len(room["latest_credentials"]), len(room["latest_allocations"]), room["live_allocations"]) == (3, 3, 3)
    client = await ask(api, "/clients/a")
    assert [room["key"] for room in client["rooms"]] == ["r0", "r1"]
    assert (len(client["latest_credentials"]), len(client["latest_allocations"]), client["live_allocations"]) == (5, 5, 7)
    assert client["latest_credentials"][0]["receiver_client"] == "b0"


async def test_what_is_somebody_elses_does_not_exist(api: RunningApi, written: Written) -> None:
    theirs = await written.credential(project_id=_OTHER)
    await written.connection.execute("INSERT INTO subjects VALUES ($1, 'room', 'theirs', now(), now())", _OTHER)
    for path in (f"/credentials/{theirs}", "/rooms/theirs", "/clients/theirs"):
        assert (await ask(api, path, status=404))["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        "/credentials/nonsense", "/credentials/181d8e1f-a2a6-4705-aa3f-8661284ff6ee",
        "/credentials/ffffffff-ffff-7fff-bfff-ffffffffffff",
        "/credentials/00000000-0000-7000-8000-000000000000", "/credentials/e677d21f-dbff-7000-8000-000000000001",
        "/credentials/%00", "/rooms/a%20b", "/rooms/%00", "/rooms/%C3%A9", f"/clients/{'x' * 101}", "/clients/%F0%9F%8E%89",
    ],
)  # fmt: skip
async def test_what_can_be_no_name_of_anything_is_not_found(api: RunningApi, path: str) -> None:
    assert (await ask(api, path, status=404))["code"] == "not_found"


@pytest.mark.parametrize("milliseconds", [0, 253_402_300_799_999, 253_402_300_000_000 - 3_600_000, 2**48 - 1])
async def test_no_allocation_has_a_credential_of_an_impossible_time(api: RunningApi, milliseconds: int) -> None:
    """The last instants of the year 9999 among them, to which nothing can be added."""
    impossible = UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62)
    assert await ids(api, "/allocations", credential=str(impossible)) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("room=a%20b", "room"), ("room=", "room"), ("client=%F0%9F%8E%89", "client"), ("region=EU", "region"), ("node=7", "node"),
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=9e99", "limit"), ("from=yesterday", "from"), ("to=2026-11-22", "to"),
        ("from=2026-11-22T10:00:00", "from"), ("from=1969-12-31T23:00:00Z", "from"), ("to=9999-12-31T23:59:59Z", "to"),
        ("from=0001-01-01T00:00:00%2B14:00", "from"), ("from=2026-11-22T10:00:00Z&to=2026-11-21T10:00:00Z", "from"),
        ("cursor=nonsense", "cursor"), ("cursor=WyIyMDI2Il0", "cursor"), ("cursor=%C3%A9", "cursor"),
        # [year 1, id], [no offset, id], a key where an id belongs
        ("cursor=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwiMDAwMDAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0", "cursor"),
        ("cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwiMDAwMDAwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0", "cursor"),
        ("cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsInIiXQ", "cursor"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/credentials", "/allocations"])
async def test_a_wrong_parameter_is_named(api: RunningApi, path: str, query: str, field: str) -> None:
    answer = await api.client.get(f"/api/v1{path}?{query}", headers=api.bearer("project"))
    assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["field"]) == (422, "fields_invalid", field)


async def test_a_cursor_with_a_nul_is_refused(api: RunningApi) -> None:
    cursor = "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIlx1MDAwMCJd"  # ["2026-01-01T00:00:00Z","\u0000"]
    for path in ("/rooms", "/clients"):
        assert (await ask(api, path, status=422, cursor=cursor))["errors"][0]["field"] == "cursor"
    answer = await api.client.get("/api/v1/credentials?room=%00", headers=api.bearer("project"))
    assert answer.status_code == 400


async def test_records_need_their_scope_and_a_project(api: RunningApi) -> None:
    for path in (
        "/credentials",
        f"/credentials/{uuid7()}",
        "/allocations",
        "/rooms",
        "/rooms/r",
        "/clients",
        "/clients/c",
        "/usage",
    ):
        assert (await api.client.get(f"/api/v1{path}")).status_code == 401
        answer = await api.client.get(f"/api/v1{path}", headers=api.bearer("operator"))
        assert (answer.status_code, answer.json()["code"]) == (422, "project_required")
