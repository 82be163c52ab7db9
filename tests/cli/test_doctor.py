"""What the doctor makes of what it sees, and the whole of it against a running API."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane import __version__
from controlplane.cli import doctor_judge as judge
from controlplane.cli.doctor_look import Looker, Way
from controlplane.cli.netcheck import RegionCheck
from controlplane.client.configuration import Configuration
from controlplane.wire.findings import Finding
from controlplane.wire.fleet_api import FleetRegionView, OpenProblem, Readiness
from controlplane.wire.redacted import Redacted
from controlplane.wire.rotation_api import MasterKeyView
from controlplane.wire.tenants_api import TokenView
from tests.agents.certificates import issue
from tests.cli.running_cli import Cli, cli_for
from tests.client.used_api import Used

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def region(**changes: Any) -> FleetRegionView:
    fields: dict[str, Any] = {"slug": "eu", "name": "EU", "city": "City", "country": "DE", "latitude": 1.0, "longitude": 1.0}
    fields |= {"is_online": True, "is_operational": True, "nodes": 2, "nodes_by_health": {}, "eligible_nodes": 2}
    fields |= {"utilisation": 0.1, "allocations": 0, "bits_per_second": 0, "safe_bits_per_second": 1}
    return FleetRegionView(**(fields | changes))


def token(**changes: Any) -> TokenView:
    fields: dict[str, Any] = {"id": "A" * 12, "prefix": "tfx_", "kind": "operator", "name": "ops", "organization": None}
    fields |= {"project": None, "scopes": ["fleet:read", "fleet:operate"], "created_at": NOW, "created_by": "bootstrap"}
    fields |= {"expires_at": None, "last_used_at": None, "successor": None}
    return TokenView(**(fields | changes))


def key(**changes: int) -> MasterKeyView:
    fields = {"nodes": 0, "webhooks": 0, "processes": 2, "processes_with_another": 0}
    return MasterKeyView(key_id="ab", adopted_at=NOW, **(fields | changes))


def untried(why: str) -> RegionCheck:
    return RegionCheck(region="eu", is_operational=False, relayed=False, round_trip_milliseconds=None, urls=[], why=why)


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (judge.way("https://t.example", Way(failure="no route")), "wrong", "no route"),
        (judge.way("https://t.example", Way(status=502)), "wrong", "502"),
        (judge.way("http://t.example", Way(status=200)), "warning", "clear text"),
        (judge.way("http://127.0.0.1:8080", Way(status=200, seconds=0.004)), "ok", "4 ms"),
        (judge.clock(0.0), "ok", "agree"),
        (judge.clock(-3.0), "warning", "-3 s"),
        (judge.clock(7.0), "wrong", "+7 s"),
        (judge.version("1.0", "1.0"), "ok", "1.0"),
        (judge.version("1.0", "1.1"), "warning", "turnfleet[cli]==1.1"),
        (judge.version("1.0", None), "warning", "does not say"),
        (judge.certificate(NOW + timedelta(days=60), now=NOW), "ok", "2027"),
        (judge.certificate(NOW + timedelta(days=5), now=NOW), "warning", "renewed"),
        (judge.certificate("refused", now=NOW), "warning", "refused"),
        (judge.token("operator", token(), now=NOW), "ok", "never ends"),
        (judge.token("operator", token(expires_at=NOW + timedelta(days=3)), now=NOW), "warning", "token rotate AAAAAAAAAAAA"),
        (judge.token("operator", token(scopes=["fleet:read"]), now=NOW), "warning", "lacks fleet:operate"),
        (judge.token("project", None, now=NOW), "warning", "may not look at itself"),
        (judge.readiness(Readiness(ready=False, reasons=["The journal is full."], degraded=[])), "wrong", "journal is full"),
        (judge.readiness(Readiness(ready=True, reasons=[], degraded=["Redis does not answer."])), "warning", "Redis"),
        (judge.readiness(None), "warning", "did not say"),
        (judge.regions([]), "wrong", "no regions"),
        (judge.regions([region()]), "ok", "All 1 regions"),
        (judge.regions([region(nodes=0, is_operational=False)]), "warning", "join-token --region eu"),
        (judge.regions([region(is_operational=False)]), "wrong", "None of the 2 nodes of eu"),
        (judge.regions([region(eligible_nodes=0)]), "warning", "none is eligible"),
        (judge.problems([]), "ok", "no open problems"),
        (judge.problems([OpenProblem(severity="critical", what="The journal.")]), "wrong", "The journal."),
        (judge.problems([OpenProblem(severity="warning", what="eu-1 is down", node_id="n1")]), "warning", "node show n1"),
        (judge.problems([OpenProblem(severity="critical", what="of a region", region="eu")]), "ok", "no open problems"),
        (judge.problems([OpenProblem(severity="warning", what="A roll.", region="eu")]), "warning", "region rolls --region eu"),
        (judge.master_key(key()), "ok", "ab"),
        (judge.master_key(key(nodes=3)), "warning", "3 nodes"),
        (judge.master_key(key(processes_with_another=1)), "warning", "1 processes"),
        (judge.relays([untried("It is full.")])[:1], "warning", "It is full."),
    ],
)
def test_a_finding_says_what_and_what_to_do(found: list[Finding], state: str, words: str) -> None:
    assert [each.state for each in found] == [state]
    assert words in f"{found[0].detail} {found[0].remedy}"
    assert (found[0].remedy != "") is (state != "ok")


def test_without_tls_or_a_time_there_is_nothing_to_say() -> None:
    assert judge.certificate(None, now=NOW) == []
    assert judge.clock(None) == []


@pytest.fixture
def operator(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder, "operator")


async def test_all_is_looked_at(operator: Cli) -> None:
    ended = await operator("doctor", "--no-relays", "--json")
    assert ended.status == 0, ended.out
    states = {each["name"]: each["state"] for each in ended.json_lines()}
    assert states == {
        "api": "ok",
        "clock": "ok",
        "version": "ok",
        "ready": "ok",
        "token": "ok",
        "regions": "ok",
        "problems": "warning",
        "agents": "warning",
        "coturn": "warning",
        "master_key": "ok",
    }
    shown = await operator("doctor", "--no-relays", COLUMNS="80")
    assert __version__ in shown.out
    assert "CVE-2026-27624" in shown.out
    assert "0 wrong." in shown.err
    assert max(len(line.rstrip()) for line in shown.lines) <= 80


async def test_relays_that_are_silent_are_wrong(operator: Cli) -> None:
    ended = await operator("doctor", "--project", "demo/demo", "--json")
    relays = [each for each in ended.json_lines() if each["name"] == "relays"]
    assert relays
    assert relays[0]["state"] == "wrong"
    assert ended.status == 1


async def test_a_token_of_an_application_is_told_what_it_lacks(used: Used, folder: Path) -> None:
    ended = await cli_for(used.api, folder)("doctor", "--no-relays", "--json")
    states = {each["name"]: each["state"] for each in ended.json_lines()}
    assert (ended.status, states["token"], states["fleet"]) == (1, "warning", "wrong")


async def test_the_end_of_the_certificate_is_read_from_the_api(folder: Path) -> None:
    issued = issue("localhost")
    pem = folder / "pair.pem"
    pem.write_text(issued.pem + issued.key_pem())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "localhost", 0, ssl=context) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        assert await asyncio.to_thread(_ends, url, str(pem)) == issued.certificate.not_valid_after_utc
        assert "self" in str(await asyncio.to_thread(_ends, url, None)), "it says that nobody vouches for it"


def _ends(url: str, ca_file: str | None) -> datetime | str | None:
    looker = Looker(Configuration(url=url, token=Redacted("x"), ca_file=ca_file))
    try:
        return looker.certificate_ends_at()
    finally:
        looker.close()


async def test_an_api_that_is_not_there_is_one_finding(folder: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        cli = Cli(environment={"TURNFLEET_CLIENT_URL": url, "TURNFLEET_CLIENT_TOKEN": "x", "HOME": str(folder), "NO_PROXY": "*"})
        ended = await cli("doctor", "--json")
    assert [(each["name"], each["state"]) for each in ended.json_lines()] == [("api", "wrong")]
    assert ended.status == 1
    assert (await Cli(environment={"HOME": str(folder)})("doctor")).status == 3
