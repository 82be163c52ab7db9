"""An operator has a node probed: a real coturn behind a real API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from controlplane.fleet.model import Listener, Transport
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.probe_node import MOST_AT_ONCE, NodeProber
from controlplane.turn.forbidden import judged
from controlplane.wire.probe_api import RelayFailure
from controlplane.wire.redacted import Redacted
from deploy.local.redis_server import RedisServer
from tests.agents.places import LOOPBACK, REALM, free_port
from tests.builders import make_node, make_record, make_report
from tests.relaying_fleet import RelayingFleet, relaying_fleet
from tests.running_api import MASTER_KEY, SimulatedNode, until
from tests.turn.servers import silent, stream_server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one(module_database_url: str, module_redis: RedisServer) -> AsyncIterator[RelayingFleet]:
    # The narrowest quota there is: a probe must not be what fills it.
    async with relaying_fleet(module_database_url, module_redis.url, user_quota=1) as fleet:
        yield fleet


@pytest_asyncio.fixture(autouse=True)
async def as_it_was(one: RelayingFleet) -> AsyncIterator[None]:
    yield
    await one.undrain()
    await one.report()


async def probe(fleet: RelayingFleet, body: Any = None, *, name: str = "eu-1", status: int = 200) -> dict[str, Any]:
    answer = await fleet.api.client.post(
        f"/api/v1/fleet/nodes/{name}/probe", headers=fleet.api.bearer("operator"), **({} if body is None else {"json": body})
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def failures(told: dict[str, Any]) -> dict[str, str | None]:
    return {each["transport"]: each["failure"] for each in told["listeners"]}


async def test_every_listener_is_tried_for_real(one: RelayingFleet) -> None:
    told = await probe(one)
    assert failures(told) == {"udp": None, "tcp": None, "tls": None}
    assert (told["name"], told["ok"], told["as_expected"], told["note"]) == ("eu-1", True, True, None)
    assert (told["permitted_peers"], told["refused_peers"]) == (None, None)
    for each in told["listeners"]:
        assert 0 < each["round_trip_milliseconds"] <= each["milliseconds"]
    assert (await probe(one, name=one.node.node_id))["name"] == "eu-1"


async def test_forbidden_peers_are_asked_for_when_wanted(one: RelayingFleet) -> None:
    told = await probe(one, {"peers": True})
    assert told["permitted_peers"] == []
    assert told["refused_peers"] == list(judged(LOOPBACK))
    assert told["ok"]


async def test_a_probe_is_no_credential_and_no_use_of_anybody(one: RelayingFleet) -> None:
    began = datetime.now(UTC)
    await probe(one)
    log = one.relay.prepared.folder.log_file.read_text()
    assert ":probe-" in log
    # Whatever is issued is shipped in order: when this record is there, those before it are.
    await one.api.issue(json={})

    async def shipped() -> bool:
        return await one.records(began) > 0

    await until(shipped, what="the record is there")
    assert await one.records(began) == 1


async def test_each_listener_fails_for_itself_and_says_why(one: RelayingFleet) -> None:
    await one.report(listeners=one.broken("tcp", "tls"))
    told = await probe(one, {"peers": True})
    assert failures(told) == {"udp": None, "tcp": "refused", "tls": "refused"}
    assert (told["ok"], told["as_expected"]) == (False, False)
    assert told["permitted_peers"] == []  # asked for through the one that works


async def test_a_silent_listener_takes_no_longer_than_its_deadline(one: RelayingFleet) -> None:
    async with stream_server(silent) as port:
        await one.report(listeners=[{"transport": "tcp", "host": LOOPBACK, "port": port}])
        async with asyncio.timeout(8):
            told = await probe(one, {"peers": True})
    assert failures(told) == {"tcp": "no_answer"}
    assert told["listeners"][0]["words"] == "no answer within 5 s"
    assert told["permitted_peers"] is None
    assert told["note"] == "Forbidden peers could not be tried: no listener relays."


async def test_a_401_of_a_draining_node_without_secrets_is_expected_and_said_so(one: RelayingFleet) -> None:
    secrets = one.secrets
    await one.relay.prepared.database.replace(REALM, {})
    try:
        await one.report(secrets=[])
        active = await probe(one)
        await one.drain(withdrawn=True)
        draining = await probe(one)
    finally:
        await one.relay.prepared.database.replace(REALM, secrets)
    assert set(failures(active).values()) == set(failures(draining).values()) == {"unauthorized"}
    assert (active["ok"], active["as_expected"]) == (False, False)
    assert "secret_missing" in active["note"]
    assert (draining["ok"], draining["as_expected"]) == (False, True)
    assert "401 is what it should answer" in draining["note"]


async def test_a_draining_node_that_still_has_its_secrets_relays(one: RelayingFleet) -> None:
    await one.drain(withdrawn=False)
    assert (await probe(one))["ok"]


async def test_a_node_that_never_reported_has_nothing_to_try(one: RelayingFleet) -> None:
    quiet = SimulatedNode(one.api, f"quiet-{free_port()}", "eu-central")
    await quiet.join()
    told = await probe(one, {"peers": True}, name=quiet.name)
    assert (told["ok"], told["as_expected"], told["listeners"], told["permitted_peers"]) == (False, False, [], None)
    assert "no listeners" in told["note"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"  ", 200),
        (b"{}", 200),
        (b"{", 400),
        (b"\xff", 400),
        (b"[]", 422),
        (b'{"peers": 1}', 422),
        (b'{"peers": null}', 422),
    ],
)
async def test_the_body_is_optional_and_checked(one: RelayingFleet, body: bytes, status: int) -> None:
    answer = await one.api.client.post("/api/v1/fleet/nodes/eu-1/probe", headers=one.api.bearer("operator"), content=body)
    assert answer.status_code == status, answer.text


async def test_an_unknown_node_and_a_stranger_are_refused(one: RelayingFleet) -> None:
    for name in ("nobody", "%00", "a%2Fb", "x" * 300):
        assert (await probe(one, name=name, status=404))["code"] == "not_found"
    answer = await one.api.client.post("/api/v1/fleet/nodes/eu-1/probe", headers=one.api.bearer("organization"))
    assert answer.json()["code"] == "scope_missing"


async def test_more_probes_than_may_run_at_once_are_refused_and_not_queued(one: RelayingFleet) -> None:
    async with stream_server(silent) as port:
        await one.report(listeners=[{"transport": "tcp", "host": LOOPBACK, "port": port}])
        asked = [
            one.api.client.post("/api/v1/fleet/nodes/eu-1/probe", headers=one.api.bearer("operator"))
            for _ in range(MOST_AT_ONCE + 3)
        ]
        answers = await asyncio.gather(*asked)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * MOST_AT_ONCE + [429] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"]


async def test_authorities_that_cannot_be_read_fail_tls_alone(one: RelayingFleet) -> None:
    settings = one.relay.prepared.settings
    prober = NodeProber(NodeSecrets(MasterKeys(Redacted(MASTER_KEY))), ca_file=settings.state_dir / "nowhere.pem")
    listeners = tuple(
        Listener(transport=Transport(each["transport"]), host=each["host"], port=each["port"]) for each in one.listeners
    )
    record = make_record(report=make_report(listeners=listeners))
    probed = await prober.probe(make_node(one.node.node_id), record)
    assert [each.failure for each in probed.listeners] == [None, None, RelayFailure.TLS_FAILED]


async def test_whoever_asks_for_forbidden_peers_leaves_no_session_behind(one: RelayingFleet) -> None:
    """coturn keeps one that it refused an address family over UDP, and the next client of that port is not let in."""
    settings = one.relay.prepared.settings
    (log,) = settings.state_dir.rglob("turn.log")
    listeners = tuple(
        Listener(transport=Transport(each["transport"]), host=each["host"], port=each["port"]) for each in one.listeners
    )
    prober = NodeProber(NodeSecrets(MasterKeys(Redacted(MASTER_KEY))), ca_file=settings.ca_file)
    before = len(log.read_text())
    probed = await prober.probe(make_node(one.node.node_id), make_record(report=make_report(listeners=listeners)), peers=True)
    assert probed.ok

    async def closed() -> bool:
        text = log.read_text()[before:]
        refused = set(re.findall(r"session ([0-9]+): .*error 440", text))
        return bool(refused) and refused <= set(re.findall(r"session ([0-9]+): closed", text))

    await until(closed, what="the session that was refused an IPv6 address is closed")
