"""What the published samples and known clients send, replayed to the byte against the real API."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.e2e.samples.conftest import SampleApi
from tests.e2e.samples.expected import Expected, check_answer
from tests.e2e.samples.published import OTHER_CLIENTS, SAMPLES, stored_request
from tests.e2e.samples.wire import send_bytes

pytestmark = pytest.mark.asyncio(loop_scope="session")

REQUESTS = SAMPLES | OTHER_CLIENTS
UPGRADES = [name for name in SAMPLES if name.startswith("java-")]


def bytes_of(name: str, sample_api: SampleApi) -> bytes:
    return stored_request(name, host=f"127.0.0.1:{sample_api.port}", token=sample_api.token)


@pytest.mark.parametrize(("name", "expected"), REQUESTS.items(), ids=REQUESTS)
async def test_a_client_gets_what_it_asked_for(name: str, expected: Expected, sample_api: SampleApi) -> None:
    answer = await send_bytes(sample_api.port, bytes_of(name, sample_api))
    await check_answer(answer, expected, sample_api.database)


@pytest.mark.parametrize("name", [name for name in REQUESTS if stored_request(name).partition(b"\r\n\r\n")[2]])
async def test_a_body_that_comes_after_the_head_is_not_lost(name: str, sample_api: SampleApi) -> None:
    head, blank_line, body = bytes_of(name, sample_api).partition(b"\r\n\r\n")
    answer = await send_bytes(sample_api.port, head + blank_line, body)
    await check_answer(answer, REQUESTS[name], sample_api.database)


@pytest.mark.parametrize("name", UPGRADES)
async def test_an_offered_upgrade_is_ignored_however_the_request_is_cut(name: str, sample_api: SampleApi) -> None:
    whole = bytes_of(name, sample_api)
    in_the_offer = whole.index(b"Upgrade: h2c") + len(b"Upgrade: h2")
    in_the_blank_line = whole.index(b"\r\n\r\n") + 2
    in_the_body = (whole.index(b"\r\n\r\n") + 4 + len(whole)) // 2
    cuts = sorted({0, in_the_offer, in_the_blank_line, in_the_body, len(whole)})
    pieces = [whole[start:end] for start, end in pairwise(cuts)]
    answer = await send_bytes(sample_api.port, *pieces)
    assert "upgrade" not in answer.headers
    await check_answer(answer, REQUESTS[name], sample_api.database)


@pytest.mark.parametrize("path", ["/credentials/ice", "/api/v1/credentials/ice"])
@pytest.mark.parametrize("name", ["curl-region-fixed", "java-region"])
async def test_the_prefix_may_be_left_out(name: str, path: str, sample_api: SampleApi) -> None:
    request = bytes_of(name, sample_api).replace(b"POST /api/v1/credentials/ice ", f"POST {path} ".encode(), 1)
    answer = await send_bytes(sample_api.port, request)
    await check_answer(answer, REQUESTS[name], sample_api.database)


async def test_a_body_wins_over_the_query(sample_api: SampleApi) -> None:
    request = bytes_of("curl-region-fixed", sample_api).replace(b"/ice ", b"/ice?fixed_region=singapore&ttl=60 ", 1)
    answer = await send_bytes(sample_api.port, request)
    expected = Expected(region="eu-central", selection="fixed", fixed_region="eu-central", ttl_seconds=60)
    await check_answer(answer, expected, sample_api.database)


async def test_a_tag_with_a_space_is_refused_by_name(sample_api: SampleApi) -> None:
    request = bytes_of("httparty-percent-20", sample_api).replace(b"note=two%20words", b"room=two%20words", 1)
    answer = await send_bytes(sample_api.port, request)
    assert answer.status == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["room"]
