"""Tokens, projects, organizations and webhooks, from making them to deleting them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running_cli import Cli, cli_for
from tests.client.used_api import Used


@pytest.fixture
def owner(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder, "organization")


@pytest.fixture
def operator(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder, "operator")


async def test_a_token_from_its_making_to_its_end(owner: Cli, used: Used, folder: Path) -> None:
    made = await owner(
        "token", "create", "ci", "--scope", "credentials:issue", "--scope", "usage:read", "--project", "demo", "--json"
    )
    assert made.status == 0, made.err
    assert "only now" in made.err
    document = made.json()
    assert (document["scopes"], document["project"]) == (["credentials:issue", "usage:read"], "demo")
    own = cli_for(used.api, folder)
    own.environment["TURNFLEET_CLIENT_TOKEN"] = document["token"]
    assert (await own("cred", "issue")).status == 0
    listed = await owner("token", "list", COLUMNS="80")
    assert document["id"] in listed.out
    assert document["token"] not in listed.out
    patched = await owner("token", "patch", document["id"], "--name", "CI", "--scope", "usage:read", "--expires", "7d", "--json")
    assert (patched.json()["name"], patched.json()["scopes"]) == ("CI", ["usage:read"])
    assert patched.json()["expires_at"] is not None
    assert (await owner("token", "patch", document["id"], "--never-expires", "--json")).json()["expires_at"] is None
    assert (await owner("token", "patch", document["id"], "--never-expires", "--expires", "7d")).status == 2
    rotated = await owner("token", "rotate", document["id"], "--overlap", "60", COLUMNS="80")
    token = next(line.split()[1] for line in rotated.lines if line.startswith("token"))
    assert token.startswith("tfp_")
    assert "successor" in (await owner("token", "show", document["id"])).out
    assert (await owner("token", "delete", document["id"])).status == 2
    assert (await owner("token", "delete", document["id"], "--yes")).status == 0
    assert (await owner("token", "show", document["id"])).status == 4
    own.environment["TURNFLEET_CLIENT_TOKEN"] = token
    assert (await own("usage", "--json")).status == 0


async def test_a_scope_that_does_not_exist_is_refused_before_anything_is_sent(owner: Cli) -> None:
    ended = await owner("token", "create", "ci", "--scope", "everything")
    assert ended.status == 2
    assert "credentials:issue" in ended.err


async def test_an_operator_names_the_project_with_its_organization(operator: Cli) -> None:
    made = await operator("token", "create", "a", "--scope", "usage:read", "--project", "demo/demo", "--json")
    assert (made.json()["organization"], made.json()["project"]) == ("demo", "demo")
    listed = await operator("token", "list", "--project", "demo/demo", "--json")
    assert {each["project"] for each in listed.json_lines()} == {"demo"}


async def test_a_project_from_its_making_to_its_end(owner: Cli) -> None:
    made = await owner(
        "project", "create", "webinars", "--name", "Webinars", "--max-ttl", "3600", "--max-allocations", "5", "--json"
    )
    assert made.status == 0, made.err
    assert (made.json()["max_ttl_seconds"], made.json()["max_allocations"]) == (3600, 5)
    patched = await owner(
        "project", "patch", "webinars", "--end-at-expiry", "--addresses", "truncate", "--off", "max-allocations", "--json"
    )
    assert patched.status == 0, patched.err
    document = patched.json()
    assert (document["end_at_expiry"], document["client_address_policy"], document["max_allocations"]) == (True, "truncate", None)
    assert document["max_ttl_seconds"] == 3600
    assert "webinars" in (await owner("project", "list", COLUMNS="80")).out
    assert "1 h" in (await owner("project", "show", "webinars")).out
    again = await owner("project", "create", "webinars")
    assert again.status == 1
    assert "conflict" in again.err
    wrong = await owner("project", "patch", "webinars", "--max-ttl", "0")
    assert wrong.status == 1
    assert "max_ttl_seconds" in wrong.err
    assert "request " in wrong.err
    for words in (["--off", "name"], ["--off", "max-allocations", "--max-allocations", "3"]):
        assert (await owner("project", "patch", "webinars", *words)).status == 2
    assert (await owner("project", "delete", "webinars", "--yes")).status == 0
    assert (await owner("project", "show", "webinars")).status == 4


async def test_an_organization_from_its_making_to_its_end(operator: Cli, owner: Cli) -> None:
    assert (await operator("organization", "create", "acme", "--json")).json()["name"] == "acme"
    assert (await operator("organization", "patch", "acme", "--name", "Acme", "--json")).json()["name"] == "Acme"
    assert "Acme" in (await operator("organization", "list", COLUMNS="80")).out
    assert (await operator("project", "create", "a", "--organization", "acme", "--json")).json()["organization"] == "acme"
    assert (await operator("organization", "delete", "acme", "--yes")).status == 0
    assert (await operator("organization", "show", "acme")).status == 4
    assert (await owner("organization", "list")).status == 3
    assert "organization.create" in (await operator("audit", "--action", "organization.create", COLUMNS="80")).out


async def test_a_webhook_from_its_making_to_its_end(owner: Cli, used: Used) -> None:
    made = await owner("webhook", "create", f"{used.api.url}/healthz", "--event", "allocation.ended", "--name", "bills", "--json")
    assert made.status == 0, made.err
    webhook_id = made.json()["id"]
    assert made.json()["secret"].startswith("whsec_")
    listed = await owner("webhook", "list", COLUMNS="80")
    assert webhook_id in listed.out
    assert "whsec_" not in listed.out
    tested = await owner("webhook", "test", webhook_id)
    assert tested.status == 1
    assert "405" in tested.out
    patched = await owner("webhook", "patch", webhook_id, "--event", "node.down", "--event", "region.down", "--inactive", "--json")
    assert (patched.json()["is_active"], sorted(patched.json()["events"])) == (False, ["node.down", "region.down"])
    assert (await owner("webhook", "rotate-secret", webhook_id, "--json")).json()["secret"].startswith("whsec_")
    assert (await owner("webhook", "deliveries", webhook_id, "--state", "pending")).status == 0
    assert (await owner("webhook", "show", webhook_id)).status == 0
    assert (await owner("webhook", "delete", webhook_id, "--yes")).status == 0
    assert (await owner("webhook", "show", webhook_id)).status == 4
    assert (await owner("webhook", "create", "https://example.org", "--event", "nothing")).status == 2
