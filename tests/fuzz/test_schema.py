"""Schemathesis over the whole OpenAPI document: no 5xx, and every answer is what the document says."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.running_api import RunningApi

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
)
"""Not negative_data_rejection: unknown fields and parameters are ignored by contract. Not positive_data_acceptance: a schema
cannot know which regions or rooms there are."""


_OWN_BRANCH = (
    *("patch_token", "rotate_token", "delete_token"),
    *("cordon_node", "drain_node", "forget_node", "rotate_node_secret", "rotate_secrets"),
)
"""In a chain of calls these would end the token that the calls are made with, or take the only node out of service (an emergency
does so for a moment) and issuing would answer 503, as it should: they are tried by themselves."""


_ENDLESS = ("--exclude-operation-id", "stream_fleet_events")
"""An answer that goes on for minutes: tests/api/test_event_stream.py is about it."""


async def fuzz(api: RunningApi, folder: Path, *, token: str, examples: int, seed: int) -> int:
    """All operations, those of _OWN_BRANCH without the phase that follows links; the number of cases."""
    apart = [option for each in _OWN_BRANCH for option in ("--exclude-operation-id", each)]
    alone = [option for each in _OWN_BRANCH for option in ("--include-operation-id", each)]
    cases = await _run(api, folder, *apart, *_ENDLESS, token=token, examples=examples, seed=seed)
    return cases + await _run(
        api, folder, *alone, "--phases", "examples,coverage,fuzzing", token=token, examples=examples, seed=seed
    )


async def _run(api: RunningApi, folder: Path, *options: str, token: str, examples: int, seed: int) -> int:
    """Run it; the number of cases. The process' report is the failure."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{api.url}/openapi.json",
        *("--header", f"Authorization: Bearer {api.tokens[f'{token}_token']}"),
        *(("--header", "X-Project: demo/demo") if token == "operator" else ()),
        *("--checks", ",".join(_CHECKS)),
        *("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure", "--suppress-health-check", "all"),
        *("--warnings", "off", "--no-color", *options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode(errors="replace")
    assert process.returncode == 0, text[-8000:]
    found = re.search(r"(\d+) generated", text)
    assert found is not None, text[-2000:]
    return int(found.group(1))


async def _is_well(api: RunningApi) -> None:
    answer = await api.client.get("/api/v1/fleet/nodes", headers=api.bearer("operator"))
    assert answer.status_code == 200, answer.text
    assert "request_failed" not in api.log_file.read_text()


async def test_a_short_run(fuzzed_api: RunningApi, folder: Path) -> None:
    cases = await fuzz(fuzzed_api, folder, token="operator", examples=2, seed=1)
    assert cases >= 1000
    await _is_well(fuzzed_api)


@pytest.mark.full
@pytest.mark.timeout(3600)
async def test_a_long_run(fuzzed_api: RunningApi, folder: Path) -> None:
    """At least 20,000 cases, as an operator and as an organization."""
    cases = 0
    for seed, token in enumerate(("operator", "organization", "project"), start=2):
        await fuzzed_api.bootstrap()  # what was called may have deleted the tenant
        cases += await fuzz(fuzzed_api, folder, token=token, examples=100, seed=seed)
    print(f"{cases} cases")
    assert cases >= 20_000
    await _is_well(fuzzed_api)
