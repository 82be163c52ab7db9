"""Joining nodes, and taking them out of service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running_cli import Cli, cli_for
from tests.client.used_api import Used
from tests.running_api import SimulatedNode


@pytest.fixture
def operator(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder, "operator")


async def test_the_line_that_joins_a_node_really_does(operator: Cli, used: Used) -> None:
    made = await operator("node", "join-token", "--region", "eu-central", "--ttl", "10min")
    assert made.status == 0, made.err
    url, token, *command = made.out.split()
    assert command == ["turnfleet-agent", "run"]
    assert url == f"TURNFLEET_AGENT_URL={used.api.url}"
    assert "within 10 minutes" in made.err
    body = {"join_token": token.removeprefix("TURNFLEET_AGENT_JOIN_TOKEN="), "join_nonce": "nonce-nonce", "name": "by-its-line"}
    assert (await used.api.client.post("/api/v1/agents/join", json=body)).status_code == 200
    assert (await operator("node", "join-token", "--region", "atlantis")).status == 1
    assert (await operator("node", "forget", "by-its-line")).status == 2
    assert (await operator("node", "forget", "by-its-line", "--yes")).status == 0
    assert (await operator("node", "show", "by-its-line")).status == 4


async def test_a_region_is_made_and_moved(operator: Cli) -> None:
    place = ("--city", "Mumbai", "--country", "IN", "--latitude", "19.08", "--longitude", "72.88")
    made = await operator("region", "put", "south-asia", "--name", "Asia South", *place)
    assert (made.status, "Mumbai" in made.out) == (0, True), made.err
    assert (await operator("region", "put", "south-asia", "--name", "South of Asia", *place)).status == 0
    shown = (await operator("region", "show", "south-asia", "--json")).json()["region"]
    assert (shown["name"], shown["latitude"], shown["nodes"]) == ("South of Asia", 19.08, 0)
    assert (await operator("region", "put", "south-asia", "--name", "x", *place[:-1], "200")).status == 2
    refused = await operator("region", "put", "AP South", "--name", "x", *place)
    assert (refused.status, "slug" in refused.err) == (1, True)


async def test_a_new_host_takes_the_place_of_a_node(operator: Cli, used: Used) -> None:
    old = SimulatedNode(used.api, "old-host", "eu-central")
    await old.join()
    await old.beat()
    assert (await operator("node", "join-token")).status == 2
    assert (await operator("node", "join-token", "--region", "eu-central", "--replace", "old-host")).status == 2
    refused = await operator("node", "join-token", "--replace", "old-host")
    assert refused.status == 1
    assert "drain it first" in refused.err
    made = await operator("node", "join-token", "--replace", "old-host", "--force")
    assert made.status == 0, made.err
    assert "switch its host off" in made.err
    _, name, token, *_ = made.out.split()
    assert name == "TURNFLEET_AGENT_NAME=old-host"
    body = {"join_token": token.removeprefix("TURNFLEET_AGENT_JOIN_TOKEN="), "join_nonce": "nonce-nonce", "name": "old-host"}
    joined = await used.api.client.post("/api/v1/agents/join", json=body)
    assert joined.json()["node_id"] != old.node_id
    assert joined.json()["node_id"] in (await operator("node", "show", "old-host")).out
    assert (await operator("node", "forget", "old-host", "--yes")).status == 0


async def test_a_node_shows_what_its_agent_found_and_gets_its_next_token(operator: Cli, used: Used) -> None:
    node = SimulatedNode(used.api, "told", "eu-central")
    await node.join()
    findings = [
        {"name": "disk", "state": "wrong", "detail": "0.1 GB are free.", "remedy": "Make room.\x1b[31m"},
        {"name": "capacity", "state": "ok", "detail": "1 Gbit/s, stated."},
    ]
    body = {"examined_at": 1, "listen_address": "10.0.0.5", "relay_address": "10.0.0.5", "findings": findings}
    told = await used.api.client.post("/api/v1/agents/found", headers={"authorization": f"Bearer {node.token}"}, json=body)
    assert told.status_code == 204, told.text
    shown = (await operator("node", "show", "told")).out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[-2:] == ["ok capacity: 1 Gbit/s, stated.", "wrong disk: 0.1 GB are free. Make room.\ufffd[31m"]
    assert "relay address 10.0.0.5" in lines
    rotated = await operator("node", "rotate-token", "told", "--reason", "a lost copy")
    assert (rotated.status, rotated.err) == (0, "told gets its next token with its next heartbeat, number 1.\n")
    assert (await node.beat())["node_token"] is not None
    assert (await operator("node", "forget", "told", "--force", "--yes")).status == 0


async def test_a_node_is_cordoned_drained_and_put_back(operator: Cli, used: Used) -> None:
    node = SimulatedNode(used.api, "eu-2", "eu-central")
    await node.bring_up()
    node.keep_beating()
    cordoned = await operator("node", "cordon", "eu-2", "--reason", "a look")
    assert (cordoned.status, cordoned.err) == (0, "eu-2 is cordoned.\n")
    assert "a look" in (await operator("node", "show", "eu-2")).out
    assert (await operator("node", "undrain", "eu-2")).status == 1
    assert (await operator("node", "uncordon", "eu-2", "--json")).json()["intent"] == "active"
    drained = await operator("node", "drain", "eu-2", "--deadline", "0s", "--wait")
    assert drained.status == 0, drained.err
    assert drained.err.splitlines()[0].startswith("eu-2 gets no new clients")
    assert drained.err.splitlines()[-1] == "eu-2 is drained."
    assert (await operator("node", "drain", "eu-2", "--deadline", "soon")).status == 2
    assert "eu-2 is active." in (await operator("node", "undrain", "eu-2")).err
    await node.stop_beating()
    assert (await operator("node", "forget", "eu-2", "--force", "--yes")).status == 0


async def test_secrets_are_rotated_and_looked_at(operator: Cli, used: Used) -> None:
    assert (await operator("secret", "rotate")).status == 2
    assert (await operator("secret", "rotate", "--node", "eu-1", "--all")).status == 2
    assert (await operator("secret", "rotate", "--node", "eu-1", "--emergency")).status == 2
    assert (await operator("secret", "rotate", "--node", "nobody")).status == 4
    rotated = await operator("secret", "rotate", "--region", "eu-central", "--reason", "a drill")
    assert (rotated.status, rotated.out) == (0, "")
    assert rotated.err.startswith(("1 of 1 nodes get a new secret now", "0 of 1 nodes get a new secret now; 1 when"))
    (told,) = (await operator("secret", "status", "--json")).json_lines()
    assert len(told["versions"]) == 2
    assert "eu-1" in (await operator("secret", "status", COLUMNS="100")).out


async def test_a_node_is_shown_with_what_speaks_for_each_listener(operator: Cli, used: Used) -> None:
    shown = await operator("node", "show", "eu-1", COLUMNS="200")
    assert shown.status == 0, shown.err
    titles, *rows = shown.out.partition("\n\n")[2].splitlines()
    assert titles.split() == ["LISTENER", "HEARTBEAT", "AGENT", "FROM", "OUTSIDE"]
    assert [row.split()[0] for row in rows] == [
        "turn:127.0.0.1:3478?transport=udp",
        "turn:127.0.0.1:3478?transport=tcp",
        "turns:127.0.0.1:5349?transport=tcp",
    ]
    assert all("good, " in row and "It was not tried from outside" in row for row in rows)
    assert (await operator("node", "show", "eu-1", "--json")).json()["outside"] is None
