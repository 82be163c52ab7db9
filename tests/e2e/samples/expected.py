"""What a sample asks for, and the proof that it got exactly that: in the reply, and in the record of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from tests.e2e.samples.wire import Answer
from tests.running_api import until

__all__ = ["CLIENT_ADDRESS", "CLIENT_REGION", "Expected", "check_answer", "check_reply", "record_of"]

CLIENT_ADDRESS = "12.34.56.78"
CLIENT_REGION = "us-east"
"""The nearest of the tests' regions to the country that the shipped GeoIP file has for CLIENT_ADDRESS."""
RECORD_DEADLINE_SECONDS = 5.0
EXPIRY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
USERNAME = re.compile(r"(\d{10}):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
TURN_URLS = ("turn:{host}:3478?transport=udp", "turn:{host}:3478?transport=tcp", "turns:{host}:5349?transport=tcp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """None is the absence of the thing, except for `region`: there, any. A default is what a request without a field gets."""

    region: str | None = None
    selection: str = "least-loaded"
    fixed_region: str | None = None
    preferred_region: str | None = None
    initiator_client: str | None = None
    receiver_client: str | None = None
    room: str | None = None
    client_address: str = "127.0.0.1"
    ttl_seconds: int = 30

    @classmethod
    def fixed(cls, region: str) -> Expected:
        return cls(region=region, selection="fixed", fixed_region=region)

    @classmethod
    def preferred(cls, region: str) -> Expected:
        return cls(region=region, selection="preferred", preferred_region=region)

    @classmethod
    def near_the_client(cls) -> Expected:
        return cls(region=CLIENT_REGION, selection="nearest", client_address=CLIENT_ADDRESS)

    @classmethod
    def tagged(cls, room: str) -> Expected:
        """The values of the documents' samples, which differ in the room's alone."""
        return cls(initiator_client="OPTIONAL_INITIATOR_CLIENT_VALUE", receiver_client="OPTIONAL_RECEIVER_CLIENT_VALUE", room=room)


def host_of(region: str) -> str:
    """The name under which the tests' node of that region is given out."""
    return f"{region}.relay.example"


def check_reply(reply: dict[str, Any], region: str) -> None:
    """The published shape, and nothing else: programs hand the whole reply to RTCPeerConnection."""
    assert list(reply) == ["iceServers", "expiresAt"]
    stun, turn = reply["iceServers"]
    assert stun == {"urls": [f"stun:{host_of(region)}:3478"]}
    assert set(turn) == {"username", "credential", "urls"}
    assert USERNAME.fullmatch(turn["username"])
    assert turn["urls"] == [url.format(host=host_of(region)) for url in TURN_URLS]
    assert turn["credential"]
    assert EXPIRY.fullmatch(reply["expiresAt"])


async def check_answer(answer: Answer, expected: Expected, database: asyncpg.Connection[asyncpg.Record]) -> None:
    assert answer.status == 200, f"{answer.status}: {answer.body!r}"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    region = answer.headers["x-turn-region"]
    assert expected.region in {None, region}
    assert answer.headers["x-turn-selection"] == expected.selection
    reply = answer.json()
    check_reply(reply, region)

    expiry, credential_id = reply["iceServers"][1]["username"].split(":")
    assert credential_id == answer.headers["x-credential-id"]
    record = await record_of(credential_id, database)
    assert (
        Expected(
            region=expected.region and record["region"],
            selection=record["selection"],
            fixed_region=record["fixed_region"],
            preferred_region=record["preferred_region"],
            initiator_client=record["initiator_client"],
            receiver_client=record["receiver_client"],
            room=record["room"],
            client_address=str(record["client_address"]),
            ttl_seconds=round((record["expires_at"] - record["issued_at"]).total_seconds()),
        )
        == expected
    )
    assert record["region"] == region
    assert abs(datetime.fromisoformat(reply["expiresAt"]).timestamp() - record["expires_at"].timestamp()) < 0.001
    # The relay counts whole seconds, and the one that is named is the last it accepts.
    assert int(expiry) == int(record["expires_at"].timestamp())


async def record_of(credential_id: str, database: asyncpg.Connection[asyncpg.Record]) -> asyncpg.Record:
    """What PostgreSQL holds of an issue; it arrives there a moment after the reply."""
    found: list[asyncpg.Record] = []

    async def arrived() -> bool:
        found.extend(await database.fetch("SELECT * FROM credentials WHERE id = $1", UUID(credential_id)))
        return bool(found)

    await until(arrived, within_seconds=RECORD_DEADLINE_SECONDS, what=f"the record of {credential_id}")
    assert len(found) == 1
    return found[0]
