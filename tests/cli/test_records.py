"""Issuing, looking up and revoking, as a person and as a script do it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.cli.running_cli import Cli, Ended, cli_for
from tests.client.used_api import BYTES_FROM_CLIENT, BYTES_TO_CLIENT, ROOM, Used
from tests.running_api import until

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture
def cli(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder)


@pytest.fixture
def operator(used: Used, folder: Path) -> Cli:
    made = cli_for(used.api, folder, "operator")
    made.environment["TURNFLEET_CLIENT_PROJECT"] = "demo/demo"
    return made


async def told(used: Used, path: str, token: str = "project") -> Any:
    answer = await used.api.client.get(f"/api/v1{path}", headers=used.api.bearer(token))
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_fits(ended: Ended, width: int) -> None:
    assert [line for line in ended.lines if cell_len(line.rstrip()) > width] == []


async def test_issued_credentials_are_shown_whole(cli: Cli) -> None:
    ended = await cli("cred", "issue", "--room", "r-1", "--initiator", "alice", "--ttl", "60", COLUMNS="80")
    assert ended.status == 0
    assert_fits(ended, 80)
    shown = dict(line.split(maxsplit=1) for line in ended.lines if line[:1].isalpha())
    assert set(shown) == {"credential", "region", "node", "selection", "expires", "urls", "username", "password"}
    assert _UUID.fullmatch(shown["credential"].strip())
    assert len(shown["password"].strip()) == 28


async def test_issued_json_is_what_rtcpeerconnection_takes(cli: Cli) -> None:
    ended = await cli("cred", "issue", "--json", "--region", "eu-central")
    assert set(ended.json()) == {"iceServers", "expiresAt"}
    assert ended.err == ""


async def test_an_operator_is_told_why(operator: Cli) -> None:
    ended = await operator("cred", "issue", "--explain", COLUMNS="80")
    assert ended.status == 0, ended.err
    assert "OUTCOME" in ended.out
    assert "accepted" in ended.out
    assert_fits(ended, 80)
    assert "selection" in (await operator("cred", "issue", "--explain", "--json")).json()


async def test_a_list_fits_the_terminal_and_cuts_no_id(cli: Cli, used: Used) -> None:
    for width in (60, 80, 120, 200):
        ended = await cli("cred", "list", "--room", ROOM, COLUMNS=str(width))
        assert_fits(ended, width)
        assert used.credential_id in ended.out
    assert "BOB" not in (await cli("cred", "list", COLUMNS="80")).out.upper()
    assert "bob" in ended.out


async def test_lines_of_json_are_the_api_s_items(cli: Cli, used: Used) -> None:
    items = (await told(used, f"/credentials?room={ROOM}"))["items"]
    ended = await cli("cred", "list", "--room", ROOM, "--json")
    assert ended.lines == [json.dumps(item, separators=(",", ":")) for item in items]
    assert (await cli("cred", "show", used.credential_id, "--json")).json() == await told(
        used, f"/credentials/{used.credential_id}"
    )


async def test_a_limit_is_kept_and_told(cli: Cli, used: Used) -> None:
    for _ in range(3):
        assert (await used.api.issue(json={"room": "limits"})).status_code == 200
    await until(lambda: _listed(used, 3), what="the three are listed")
    ended = await cli("cred", "list", "--room", "limits", "--limit", "2", "--json")
    assert len(ended.lines) == 2
    assert "There is more than these 2" in ended.err
    everything = await cli("cred", "list", "--room", "limits", "--limit", "0", "--json")
    assert (len(everything.lines), everything.err) == (3, "")
    assert (await cli("cred", "list", "--room", "limits", "--limit", "3")).err == ""


async def _listed(used: Used, number: int) -> bool:
    return len((await told(used, "/credentials?room=limits"))["items"]) == number


async def test_times_filter_and_are_shown_in_the_local_zone(cli: Cli, used: Used) -> None:
    ended = await cli("cred", "list", "--room", ROOM, TZ="Asia/Tokyo", COLUMNS="80")
    assert "ISSUED (JST)" in ended.lines[0]
    issued_at = (await told(used, f"/credentials/{used.credential_id}"))["issued_at"]
    hour = (int(issued_at[11:13]) + 9) % 24
    assert f" {hour:02}:{issued_at[14:19]} " in ended.lines[1]
    assert len((await cli("cred", "list", "--room", ROOM, "--since", "1h", "--json")).lines) == 1
    later = await cli("cred", "list", "--room", ROOM, "--until", "2020-01-01")
    assert (later.status, later.out, later.err) == (0, "", "Nothing found.\n")
    wrong = await cli("cred", "list", "--since", "yesterday")
    assert wrong.status == 2
    assert "yesterday" in wrong.err


async def test_bytes_are_read_in_tables_and_exact_in_json(cli: Cli) -> None:
    shown = await cli("allocation", "list", "--room", ROOM)
    assert "1.2 MB" in shown.out
    assert "7.7 MB" in shown.out
    (item,) = (await cli("allocation", "list", "--state", "ended", "--json")).json_lines()
    assert (item["bytes_from_client"], item["bytes_to_client"]) == (BYTES_FROM_CLIENT, BYTES_TO_CLIENT)


@pytest.mark.parametrize("kind", ["room", "client"])
async def test_rooms_and_clients(cli: Cli, used: Used, kind: str) -> None:
    key = ROOM if kind == "room" else "alice"
    assert key in (await cli(kind, "list", COLUMNS="80")).out
    shown = await cli(kind, "show", key, COLUMNS="80")
    assert_fits(shown, 80)
    assert "latest credentials" in shown.out
    assert used.credential_id in shown.out
    assert "8.9 MB" in shown.out
    assert (await cli(kind, "show", key, "--json")).json() == await told(used, f"/{kind}s/{key}")


async def test_usage_as_a_table_as_json_and_as_csv(cli: Cli) -> None:
    shown = await cli("usage", "--group-by", "room", "--bucket", "hour", COLUMNS="80")
    assert_fits(shown, 80)
    assert "8.9 MB" in shown.out
    rows = (await cli("usage", "--group-by", "room", "--json")).json_lines()
    days = await cli("usage", "--group-by", "room", TZ="America/New_York")
    assert days.lines[0].startswith("DAY (UTC)")
    assert rows[0]["at"].startswith(days.lines[1].split()[0] + "T00:00:00")
    assert BYTES_FROM_CLIENT + BYTES_TO_CLIENT in [row["bytes_total"] for row in rows]
    csv = await cli("usage", "--group-by", "room", "--csv")
    assert csv.lines[0].startswith("at,bucket,group_by,key")
    assert str(BYTES_FROM_CLIENT) in csv.out


async def test_revoking_one_a_room_and_a_client(cli: Cli, used: Used) -> None:
    credential_id = (await used.api.issue(json={"room": "to-end", "initiator_client": "carol"})).headers["x-credential-id"]
    ended = await cli("cred", "revoke", credential_id)
    assert (ended.status, ended.out, ended.err) == (0, "", f"{credential_id} is revoked.\n")
    assert (await told(used, f"/credentials/{credential_id}"))["revoked_at"] is not None
    asked = await cli("cred", "revoke", "--room", "to-end")
    assert asked.status == 2
    assert "--yes" in asked.err
    assert (await cli("cred", "revoke", "--room", "to-end", "--yes")).status == 0
    assert (await cli("cred", "revoke", "--client", "carol", "-y")).status == 0
    for wrong in ([], ["--room", "a", "--client", "b"], [credential_id, "--room", "a"]):
        assert (await cli("cred", "revoke", *wrong)).status == 2


async def test_the_fleet_is_shown_to_operators(operator: Cli, cli: Cli, used: Used) -> None:
    assert "eu-central" in (await cli("region", "list", COLUMNS="80")).out
    assert (await cli("region", "list", "--json")).json_lines()[0]["slug"] == "eu-central"
    assert "eu-1" in (await operator("node", "list", COLUMNS="80")).out
    shown = await operator("node", "show", "eu-1", COLUMNS="80")
    assert_fits(shown, 80)
    assert used.node_id in shown.out
    assert (await cli("node", "list")).status == 3
