"""No token, TURN password, node secret or key in any log, at the most talkative level, whatever was done with them."""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path

import httpx
import pytest

from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.wire.redacted import Redacted
from deploy.local.stack import Stack
from tests.e2e.application import Application, server_of


async def _clumsy_caller(application: Application, secrets: set[str]) -> None:
    """Puts what is secret wherever it does not belong."""
    operator = application.stack.ready["operator_token"]
    made = await application.client.post(
        "/api/v1/tokens",
        headers={"authorization": f"Bearer {operator}", "x-project": "demo/demo"},
        json={"kind": "project", "organization": "demo", "project": "demo", "name": "planted", "scopes": ["credentials:issue"]},
    )
    assert made.status_code == 201, made.text
    planted = made.json()["token"]
    secrets.add(planted)
    bearer = {"authorization": f"Bearer {planted}"}
    answer = await application.client.post("/api/v1/credentials/ice", headers=bearer, json={"ttl": 60})
    assert answer.status_code == 200, answer.text
    password = server_of(answer, "udp").credential
    secrets.add(password)
    for request in (
        httpx.Request("GET", f"/api/v1/regions?token={planted}&password={password}", headers=bearer),
        httpx.Request("GET", f"/api/v1/{planted}"),
        httpx.Request("POST", "/api/v1/credentials/ice", headers=bearer, json={"room": planted}),
        httpx.Request("POST", "/api/v1/credentials/ice", headers=bearer, content=planted.encode()),
        httpx.Request("POST", "/api/v1/credentials/ice", headers={"authorization": f"Bearer {planted}x"}),
        httpx.Request("POST", "/api/v1/credentials/ice", headers={"authorization": planted}),
        httpx.Request("POST", "/api/v1/credentials/ice", headers={**bearer, "x-project": planted, "x-request-id": planted}),
        httpx.Request("POST", "/api/v1/agents/heartbeat", headers=bearer, json={"boot_id": password}),
        httpx.Request("POST", "/api/v1/agents/join", json={"join_token": planted, "join_nonce": "nonce-nonce", "name": "x"}),
    ):
        await application.client.request(
            request.method, application.client.base_url.join(str(request.url)), headers=request.headers, content=request.content
        )


def _of_the_node(folder: Path) -> set[str]:
    """The node's tokens, coturn's secrets and the password of its command line."""
    kept = [json.loads(path.read_text()) for path in folder.rglob("node.json")]
    assert kept
    found = {str(text) for each in kept for name, text in each.items() if name.endswith("node_token")}
    for path in folder.rglob("turndb"):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        found |= {row[0] for row in connection.execute("SELECT value FROM turn_secret")}
        connection.close()
    for path in folder.rglob("turnserver.conf"):
        found |= {line.partition("=")[2] for line in path.read_text().splitlines() if line.startswith("cli-password=")}
    return found


async def _used(application: Application) -> set[str]:
    """What is secret of an application that issues, relays, and errs."""
    secrets = {str(application.stack.ready[f"{kind}_token"]) for kind in ("project", "organization", "operator")}
    await _clumsy_caller(application, secrets)
    server = await application.turn_server("udp", ttl=60)
    secrets.add(server.credential)
    await application.relay(server)
    return secrets


@pytest.mark.timeout(120)
async def test_the_logs_hold_no_secret(stack: Stack) -> None:
    application = Application(stack)
    try:
        secrets = await _used(application)
    finally:
        await application.client.aclose()
    master_key = stack.options.master_key_file.read_text().strip()
    secrets |= {master_key, base64.b64decode(master_key).hex()}
    derived = NodeSecrets(MasterKeys(Redacted(master_key)))
    secrets |= {derived.signing_key(node["node_id"], 1, None).decode() for node in stack.ready["nodes"]}
    secrets |= _of_the_node(stack.options.state)
    assert len(secrets) >= 10
    # The journal is data: a room that somebody named after a token is kept as that room.
    logs = [
        path for path in stack.options.state.rglob("*") if path.is_file() and ".log" in path.name and "journal" not in path.parts
    ]
    assert len(logs) >= 5
    for path in logs:
        text = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in text, f"{path.name} holds a secret"
