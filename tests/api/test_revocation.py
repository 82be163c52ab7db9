"""Ending credentials over the API: what is covered, what nodes are told, and what is nobody else's business."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from uuid_utils.compat import uuid7

from controlplane.postgres_store.credentials import insert_credentials
from tests.api.callers import new_organization, new_token, operator_of
from tests.builders import make_issue
from tests.databases import PatientDatabase
from tests.running_api import RunningApi, SimulatedNode, until


class Denier(SimulatedNode):
    """Remembers what it has to deny, as an agent does."""

    def __init__(self, api: RunningApi, name: str, region: str) -> None:
        super().__init__(api, name, region)
        self.denied: dict[str, float] = {}
        self.up_to = 0
        self.parts: list[int] = []
        """How many denials each reply brought."""

    async def beat(self) -> dict[str, Any]:
        self.changes["denied_up_to"] = said = self.up_to
        reply = await super().beat()
        delta = reply["denied"]
        if delta is not None and said == self.up_to:
            if delta["up_to"] < said:
                self.denied.clear()
            self.up_to = delta["up_to"]
            self.parts.append(len(delta["denials"]))
            self.denied.update({each["credential_id"]: each["expires_at"] for each in delta["denials"]})
        return reply

    async def has_to_deny(self, *credential_ids: str) -> float:
        async def told() -> bool:
            await self.beat()
            return set(credential_ids) <= set(self.denied)

        return await until(told, within_seconds=5, what=f"{self.name} is told to deny {credential_ids}")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def node(api: RunningApi) -> AsyncIterator[Denier]:
    """The only node of its region, so that every credential for that region is its."""
    await api.put_region("ended", 1.35, 103.82, "SG")
    node = Denier(api, "ended-1", "ended")
    await node.bring_up()
    node.keep_beating()
    yield node
    await node.stop_beating()


@pytest.fixture
def url(api: RunningApi) -> str:
    return api.environment["TURNFLEET_DATABASE_URL"]


async def issued(api: RunningApi, **fields: Any) -> str:
    answer = await api.issue(json={"fixed_region": "ended", "ttl": 600, **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-credential-id"])


async def revoke(api: RunningApi, body: Any) -> int:
    answer = await api.client.post("/api/v1/credentials/revoke", headers=api.bearer("project"), json=body)
    return answer.status_code


async def delete(api: RunningApi, credential_id: object) -> int:
    answer = await api.client.delete(f"/api/v1/credentials/{credential_id}", headers=api.bearer("project"))
    return answer.status_code


async def rows(url: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def project_of(url: str) -> UUID:
    (row,) = await rows(url, "SELECT p.id FROM projects p JOIN organizations o ON o.id = organization_id WHERE o.slug = 'demo'")
    return UUID(str(row["id"]))


async def recorded(url: str, *credential_ids: str) -> None:
    async def are_there() -> bool:
        found = await rows(url, "SELECT FROM credentials WHERE id = ANY($1::uuid[])", list(credential_ids))
        return len(found) == len(credential_ids)

    await until(are_there, within_seconds=5)


async def test_a_deleted_credential_is_denied_at_its_node_at_once(api: RunningApi, node: Denier, url: str) -> None:
    ended, kept = await issued(api, ttl=300), await issued(api)
    assert await delete(api, ended) == 204
    assert await node.has_to_deny(ended) < 1
    assert node.denied[ended] == pytest.approx(time.time() + 300, abs=5)
    assert kept not in node.denied
    (row,) = await rows(url, "SELECT revoked_at FROM credentials WHERE id = $1", UUID(ended))
    assert row["revoked_at"] is not None
    (change,) = await rows(url, "SELECT action, after FROM audit WHERE object = $1", ended)
    assert change["action"] == "credential.revoke"
    before = await rows(url, "SELECT number FROM denials")
    assert await delete(api, ended) == 204
    assert await rows(url, "SELECT number FROM denials") == before


async def test_a_credential_is_denied_even_when_its_record_has_not_arrived(api: RunningApi, node: Denier) -> None:
    """The id is known a moment before the record is shipped."""
    for _ in range(5):
        ended = await issued(api)
        assert await delete(api, ended) == 204
        await node.has_to_deny(ended)


@pytest.mark.parametrize("by", ["room", "client as initiator", "client as receiver", "ids"])
async def test_all_of_a_room_a_client_or_a_list_end_and_nothing_else(api: RunningApi, node: Denier, by: str) -> None:
    name = uuid4().hex
    field = {"room": "room", "client as initiator": "initiator_client", "client as receiver": "receiver_client", "ids": "room"}[by]
    ended = [await issued(api, **{field: name}) for _ in range(3)]
    others = [await issued(api, **{field: f"{name}-2"}), await issued(api), await issued(api, room=name[:-1])]
    body = {"ids": ended} if by == "ids" else {by.partition(" ")[0]: name}
    assert await revoke(api, body) == 204
    later = await issued(api, **{field: name})
    await node.has_to_deny(*ended)
    assert not {*others, later} & set(node.denied)


async def test_nobody_ends_the_credentials_of_another_tenant(api: RunningApi, node: Denier, url: str) -> None:
    operator = operator_of(api)
    slug = await new_organization(operator, "chat")
    stranger, _ = await new_token(operator, "organization", ["credentials:revoke", "credentials:issue"], organization=slug)
    room = uuid4().hex
    kept = await issued(api, room=room, initiator_client=room)
    await recorded(url, kept)
    before = await rows(url, "SELECT id FROM revocations")
    assert await stranger.code("DELETE", f"/credentials/{kept}") == "not_found"
    await stranger.expect(204, "POST", "/credentials/revoke", json={"ids": [kept]})
    assert await rows(url, "SELECT id FROM revocations") == before
    await stranger.expect(204, "POST", "/credentials/revoke", json={"room": room})
    await stranger.expect(204, "POST", "/credentials/revoke", json={"client": room})
    ended = await issued(api)
    assert await delete(api, ended) == 204
    await node.has_to_deny(ended)
    assert kept not in node.denied
    lacking, _ = await new_token(operator, "organization", ["credentials:issue"], organization=slug)
    assert await lacking.code("POST", "/credentials/revoke", json={"room": room}) == "scope_missing"


async def test_ids_that_nobody_issued(api: RunningApi, url: str) -> None:
    before = await rows(url, "SELECT id FROM revocations")
    long_ago = "018f0000-0000-7000-8000-000000000000"
    for never in ("nonsense", "ü" * 50, "%00", uuid4(), UUID(int=0), UUID(int=(1 << 128) - 1), long_ago):
        assert await delete(api, never) == 404, never
    assert await revoke(api, {"ids": [str(uuid4())]}) == 204
    assert await rows(url, "SELECT id FROM revocations") == before
    asked = time.monotonic()
    assert await delete(api, uuid7()) == 404
    assert 0.8 < time.monotonic() - asked < 3


async def arrives(url: str, node: Denier, **fields: Any) -> str:
    """A record that was held up on some replica's disk."""
    database = PatientDatabase(url)
    issue = make_issue(
        **{
            "issued_at": datetime.now(UTC),
            "credential_id": uuid7(),
            "project_id": await project_of(url),
            "node_ids": (node.node_id,),
            "expires_at": datetime.now(UTC) + timedelta(seconds=600),
            **fields,
        }
    )
    assert await insert_credentials(database, [issue]) == []
    await database.close()
    return str(issue.credential_id)


async def test_what_was_issued_before_is_covered_when_its_record_arrives_later(api: RunningApi, node: Denier, url: str) -> None:
    room, credential_id, issued_at = uuid4().hex, uuid7(), datetime.now(UTC)
    assert await revoke(api, {"room": room}) == 204
    assert await delete(api, credential_id) == 404
    ended = await arrives(url, node, room=room, issued_at=issued_at)
    # By a replica whose clock is ahead: it is named all the same.
    named = await arrives(url, node, credential_id=credential_id, issued_at=datetime.now(UTC) + timedelta(seconds=1))
    later = await arrives(url, node, room=room)
    other = await arrives(url, node, room=room + "x", issued_at=issued_at)
    await node.has_to_deny(ended, named)
    assert not {later, other} & set(node.denied)
    for identity in (ended, named):
        (row,) = await rows(url, "SELECT revoked_at FROM credentials WHERE id = $1", UUID(identity))
        assert row["revoked_at"] is not None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"room": None},
        {"room": "a", "client": "b"},
        {"room": "a", "ids": [str(uuid7())]},
        {"room": ""},
        {"client": "a b"},
        {"client": "a\x00"},
        {"room": "a" * 101},
        {"room": 7},
        {"ids": []},
        {"ids": ["nonsense"]},
        {"ids": [str(uuid7())] * 501},
        {"ids": str(uuid7())},
        [],
        "room",
    ],
)
async def test_a_body_that_names_not_exactly_one_thing_is_refused(api: RunningApi, url: str, body: Any) -> None:
    before = await rows(url, "SELECT id FROM revocations")
    assert await revoke(api, body) == 422
    assert await rows(url, "SELECT id FROM revocations") == before


async def test_a_node_is_told_nothing_twice_and_all_of_it_when_it_forgot(api: RunningApi, node: Denier) -> None:
    ended = await issued(api)
    assert await delete(api, ended) == 204
    await node.has_to_deny(ended)
    assert (await node.beat())["denied"] is None
    held, node.up_to, node.denied = set(node.denied), 0, {}
    await node.has_to_deny(*held)


async def test_a_node_with_numbers_of_a_lost_database_begins_anew(api: RunningApi, node: Denier) -> None:
    ended = await issued(api)
    assert await delete(api, ended) == 204
    await node.has_to_deny(ended)
    node.up_to += 1_000_000
    node.denied["of the lost database"] = 0.0
    # A replica that reads later than another must not take a newer number for a lost one: not at once.
    assert (await node.beat())["denied"] is None
    await node.has_to_deny(ended)

    async def began_anew() -> bool:
        await node.beat()
        return "of the lost database" not in node.denied and ended in node.denied

    await until(began_anew, within_seconds=5)


async def test_many_denials_come_in_parts(api: RunningApi, node: Denier, url: str) -> None:
    await rows(
        url,
        "INSERT INTO denials (node_id, credential_id, expires_at)"
        " SELECT $1, gen_random_uuid(), now() + interval '10 minutes' FROM generate_series(1, 4500)",
        UUID(node.node_id),
    )
    node.parts.clear()

    async def all_told() -> bool:
        await node.beat()
        return sum(node.parts) >= 4500

    await until(all_told, within_seconds=5)
    assert max(node.parts) == 2000
    await rows(url, "DELETE FROM denials WHERE credential_id NOT IN (SELECT id FROM credentials)")


async def test_calls_that_come_together_all_count(api: RunningApi, node: Denier) -> None:
    room = uuid4().hex
    ended = [await issued(api, room=room, initiator_client=f"{room}-{number % 4}") for number in range(20)]
    statuses = await asyncio.gather(
        *(delete(api, each) for each in ended),
        *(revoke(api, {"client": f"{room}-{number}"}) for number in range(4)),
        *(revoke(api, {"room": room}) for _ in range(3)),
    )
    assert set(statuses) == {204}
    await node.has_to_deny(*ended)
