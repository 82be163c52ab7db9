"""The page about webhooks: every event is on it, and its programs verify what we send and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import uuid4

import pytest

from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.postgres_store.webhooks import Webhook
from controlplane.wire.redacted import Redacted
from controlplane.wire.webhooks_api import EventType
from tests.docs.pages import fenced, page, rows

_PAGE = "docs/webhooks.md"
BODY = '{"type":"test","timestamp":"2026-11-22T05:49:09Z","data":{"room":"Zürich"}}'

_CALL = {
    "python": "\nimport sys\nsecret, headers, body = json.load(sys.stdin)"
    "\nprint(json.dumps(verify(secret, headers, body.encode())))",
    "js": "\nconst [secret, headers, body] = JSON.parse(require('node:fs').readFileSync(0));"
    "\nconsole.log(JSON.stringify(verify(secret, headers, Buffer.from(body))));",
}
_PROGRAM = {"python": [sys.executable, "-c"], "js": ["node", "-e"]}


def _run(language: str, secret: str, headers: dict[str, str], body: str) -> subprocess.CompletedProcess[str]:
    (source,) = fenced(page(_PAGE), language)
    return subprocess.run(
        [*_PROGRAM[language], source + _CALL[language]],
        input=json.dumps([secret, headers, body]),
        capture_output=True,
        text=True,
        check=False,
    )


def _signed(sent_at: datetime) -> tuple[list[str], dict[str, str]]:
    """(the new and the old secret, the headers) of a delivery during a rotation."""
    secrets = WebhookSecrets(MasterKeys(Redacted("A" * 43 + "=")))
    webhook_id = uuid4()
    (old, sealed_old), (new, sealed) = secrets.make(webhook_id), secrets.make(webhook_id)
    webhook = Webhook(
        webhook_id=webhook_id,
        project_id=uuid4(),
        url="",
        name="",
        events=(),
        inactive_because=None,
        sealed_secret=sealed,
        sealed_old_secret=sealed_old,
        old_secret_until=sent_at + timedelta(hours=1),
        failures=0,
        failing_since=None,
        created_at=sent_at,
    )
    return [new.reveal(), old.reveal()], secrets.sign(webhook, event_id=uuid4(), sent_at=sent_at, body=BODY)


def test_every_event_is_on_the_page() -> None:
    assert {row.first_words[0] for row in rows(page(_PAGE), under="What is sent") if row.first_words} == set(get_args(EventType))


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_programs_take_what_we_send_signed_with_either_secret(language: str) -> None:
    secrets, headers = _signed(datetime.now(UTC))
    for secret in secrets:
        ended = _run(language, secret, headers, BODY)
        assert json.loads(ended.stdout) == json.loads(BODY), ended.stderr


@pytest.mark.parametrize("language", ["python", "js"])
@pytest.mark.parametrize("wrong", ["body", "secret", "id", "old", "signature"])
def test_the_programs_refuse_everything_else(language: str, wrong: str) -> None:
    (secret, _), headers = _signed(datetime.now(UTC) - timedelta(seconds=600 if wrong == "old" else 0))
    body = BODY + " " if wrong == "body" else BODY
    if wrong == "secret":
        secret = "whsec_" + "A" * 43 + "="
    if wrong in {"id", "signature"}:
        headers[f"webhook-{wrong}"] = "v1,AAAA"
    ended = _run(language, secret, headers, body)
    assert ended.returncode != 0
    assert "not good" in ended.stderr or "too old" in ended.stderr
