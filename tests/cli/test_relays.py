"""relay-test, netcheck and node probe: real relays, and the statuses that cron tells apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from controlplane.cli.netcheck import RegionCheck, sentences
from controlplane.cli.relay_test import RelayTest
from controlplane.wire.probe_api import NodeProbeView, RelayFailure, UrlProbe
from deploy.local.redis_server import private_redis
from tests.agents.places import OTHER_SECRET, REALM
from tests.cli.running_cli import Cli, cli_for
from tests.relaying_fleet import REGION, RelayingFleet, relaying_fleet

FIRST = ("udp", "tcp", "tls")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(module_database_url: str) -> AsyncIterator[RelayingFleet]:
    async with private_redis() as redis, relaying_fleet(module_database_url, redis.url) as made:
        yield made


@pytest_asyncio.fixture(autouse=True)
async def as_it_was(request: pytest.FixtureRequest, fleet: RelayingFleet) -> AsyncIterator[None]:
    yield
    if fleet.node.changes != {"listeners": fleet.listeners}:
        await fleet.serve(fleet.listeners)


@pytest.fixture
def cli(fleet: RelayingFleet, folder: Path) -> Cli:
    return cli_for(fleet.api, folder)


@pytest.fixture
def operator(fleet: RelayingFleet, folder: Path) -> Cli:
    return cli_for(fleet.api, folder, "operator")


async def test_a_relay_that_works_is_relayed_through_over_every_url(fleet: RelayingFleet, cli: Cli) -> None:
    ended = await cli("relay-test", "--relay-ca-file", fleet.ca_file)
    assert ended.status == 0, ended.err
    assert [line.split()[1] for line in ended.lines[1:]] == ["relayed"] * 3
    assert f"{REGION}: 3 of 3 URLs relayed" in ended.err


async def test_a_script_gets_every_figure(fleet: RelayingFleet, cli: Cli) -> None:
    ended = await cli("relay-test", "--region", REGION, "--relay-ca-file", fleet.ca_file, "--json")
    told = ended.json()
    assert ended.status == 0
    assert set(told) == set(RelayTest.__struct_fields__)
    assert (told["ok"], told["region"], told["node_ids"]) == (True, REGION, [fleet.node.node_id])
    assert [each["transport"] for each in told["urls"]] == [*FIRST]
    assert all(each["milliseconds"] > 0 for each in told["urls"])
    assert "password" not in ended.out


async def test_some_listener_that_fails_ends_with_6(fleet: RelayingFleet, cli: Cli) -> None:
    await fleet.serve(fleet.broken("tcp"))
    ended = await cli("relay-test", "--relay-ca-file", fleet.ca_file)
    assert ended.status == 6
    assert "refused: nothing listens there" in ended.out
    assert "2 of 3 URLs relayed" in ended.err


async def test_an_authority_that_is_not_known_is_a_listener_that_fails(cli: Cli) -> None:
    ended = await cli("relay-test", "--json")
    assert ended.status == 6
    assert [each["failure"] for each in ended.json()["urls"]] == [None, None, "tls_untrusted"]


async def test_nothing_that_relays_ends_with_7(fleet: RelayingFleet, cli: Cli) -> None:
    await fleet.relay.prepared.database.replace(REALM, {1: OTHER_SECRET})
    try:
        ended = await cli("relay-test", "--json", "--relay-ca-file", fleet.ca_file)
    finally:
        await fleet.relay.prepared.database.replace(REALM, fleet.secrets)
    assert ended.status == 7
    assert {each["failure"] for each in ended.json()["urls"]} == {"unauthorized"}


async def test_an_api_that_refuses_ends_as_with_every_command(cli: Cli, operator: Cli) -> None:
    unknown = await cli("relay-test", "--region", "atlantis")
    stranger = await cli("relay-test", TURNFLEET_CLIENT_TOKEN="tfp_000000000000" + "0" * 31)
    nobody = await operator("relay-test")
    away = await cli("relay-test", TURNFLEET_CLIENT_URL="http://127.0.0.1:9")
    assert [each.status for each in (unknown, stranger, nobody, away)] == [1, 3, 1, 5]
    assert "region_unknown" in unknown.err
    assert all(each.out == "" for each in (unknown, stranger, nobody, away))


async def test_a_file_that_holds_no_authorities_is_refused_before_anything_is_issued(
    fleet: RelayingFleet, cli: Cli, folder: Path
) -> None:
    (folder / "empty.pem").write_text("nothing")
    began = datetime.now(UTC)
    for name in ("empty.pem", "nowhere.pem"):
        ended = await cli("relay-test", "--relay-ca-file", str(folder / name))
        assert ended.status == 2
        assert "cannot be read as authorities" in ended.err
    assert await fleet.records(began) == 0


async def test_every_region_is_checked(fleet: RelayingFleet, cli: Cli) -> None:
    await fleet.api.put_region("us-east", 39.04, -77.49, "US")
    ended = await cli("netcheck", "--relay-ca-file", fleet.ca_file, "--json")
    assert ended.status == 0, ended.err
    here, away = ended.json_lines()
    assert set(here) == set(RegionCheck.__struct_fields__)
    assert (here["region"], here["is_operational"], here["relayed"], here["why"]) == (REGION, True, True, None)
    assert 0 < here["round_trip_milliseconds"] < 1000
    assert [each["ok"] for each in here["urls"]] == [True] * 3
    assert (away["region"], away["is_operational"], away["urls"]) == ("us-east", False, [])
    assert away["why"] == "It takes no new credentials now."


async def test_a_person_gets_a_table_and_what_it_means(fleet: RelayingFleet, cli: Cli) -> None:
    await fleet.serve(fleet.broken("udp"))
    ended = await cli("netcheck", "--relay-ca-file", fleet.ca_file)
    assert ended.status == 6
    row = next(line for line in ended.lines if line.startswith(REGION))
    assert "refused" in row
    assert "yes" in row
    assert "UDP seems to be blocked from here" in ended.err


async def test_an_operator_has_a_node_probed(fleet: RelayingFleet, operator: Cli, cli: Cli) -> None:
    shown = await operator("node", "probe", "eu-1", "--peers")
    assert shown.status == 0, shown.err
    assert [line.split()[1] for line in shown.lines[1:]] == ["relayed"] * 3
    assert "forbidden peers are refused" in shown.err
    told = (await operator("node", "probe", fleet.node.node_id, "--json")).json()
    assert set(told) == set(NodeProbeView.__struct_fields__)
    unknown, refused = await operator("node", "probe", "nobody"), await cli("node", "probe", "eu-1")
    assert (unknown.status, refused.status) == (4, 3)


async def test_a_node_that_fails_is_told_apart_by_status(fleet: RelayingFleet, operator: Cli) -> None:
    await fleet.serve(fleet.broken("tcp"))
    some = await operator("node", "probe", "eu-1")
    await fleet.serve(fleet.broken("udp", "tcp", "tls"))
    none = await operator("node", "probe", "eu-1", "--peers")
    assert (some.status, none.status) == (6, 7)
    assert "could not be tried: no listener relays" in none.err


def url(transport: Any, failure: RelayFailure | None = None) -> UrlProbe:
    took = 10.0 if failure is None else None
    return UrlProbe(
        url=f"turn:relay.test?transport={transport}",
        transport=transport,
        ok=failure is None,
        milliseconds=took,
        connect_milliseconds=took,
        allocate_milliseconds=took,
        round_trip_milliseconds=took,
        failure=failure,
        words=failure,
    )


def check(*urls: UrlProbe) -> RegionCheck:
    return RegionCheck(
        region="r",
        is_operational=bool(urls),
        relayed=any(each.ok for each in urls),
        round_trip_milliseconds=None,
        urls=[*urls],
        why=None if urls else "down",
    )


SILENT, UNAUTHORIZED = RelayFailure.NO_ANSWER, RelayFailure.UNAUTHORIZED


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ([check(url("udp"), url("tcp"), url("tls"))], []),
        ([check(url("udp", SILENT), url("tcp")), check(url("udp", SILENT), url("tls"))], ["UDP seems to be blocked"]),
        ([check(url("udp", SILENT), url("tcp")), check(url("udp"), url("tcp"))], []),
        ([check(url("udp", UNAUTHORIZED), url("tcp"))], []),
        ([check(url("udp", SILENT), url("tcp", SILENT), url("tls"))], ["UDP seems", "TCP to the relays"]),
        ([check(url("udp"), url("tcp"), url("tls", SILENT))], ["TLS to the relays"]),
        ([check(url("udp"), url("tls", RelayFailure.TLS_UNTRUSTED))], ["--relay-ca-file"]),
        ([check(url("udp", SILENT), url("tcp", SILENT))], ["Nothing relays from here"]),
        # A relay that is dead altogether says nothing about the network.
        ([check(url("udp", SILENT), url("tcp", SILENT)), check(url("udp"), url("tcp"))], []),
        ([check(url("udp", SILENT), url("tls", SILENT)), check(url("udp"))], []),
        ([check()], ["No region takes new credentials"]),
        ([], ["No region takes new credentials"]),
    ],
)
def test_what_a_table_means_is_said_in_sentences(checks: list[RegionCheck], words: list[str]) -> None:
    said = sentences(checks)
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))
