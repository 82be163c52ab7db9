"""The overview of a fleet of 500 nodes is small, however much is down; and what is compressed, and what never."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from litestar import Litestar, Request, Response, route

from controlplane.api.access import answer_encoded
from controlplane.api.compressed import accepts_gzip
from tests.api.callers import operator_of
from tests.bench._served_fleet import serving
from tests.bench.overview import GOAL_BYTES, look
from tests.running_api import RunningApi, running_api, until

_GZIP = {"accept-encoding": "gzip"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(module_database_url: str, redis: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningApi]:
    async with (
        running_api(module_database_url, redis.url, Path(tmp_path_factory.mktemp("overview"))) as api,
        serving(api, regions=50, per_region=10, down=5),
    ):
        yield api


async def raw(api: RunningApi, method: str, path: str, **request: Any) -> tuple[Any, bytes]:
    """(the answer, its body as it was sent)."""
    answer = await api.client.send(api.client.build_request(method, path, **request), stream=True)
    body = b"".join([chunk async for chunk in answer.aiter_raw()])
    return answer, body


async def test_it_is_small(api: RunningApi) -> None:
    _, body = await look(api)
    overview = json.loads(gzip.decompress(body))
    assert (overview["totals"]["nodes"], overview["totals"]["eligible_nodes"], len(overview["regions"])) == (500, 250, 50)
    assert (len(overview["problems"]), overview["problems_left_out"]) == (100, 151)
    assert len(body) <= GOAL_BYTES


async def test_what_an_operator_has_changed_is_in_it_at_once(api: RunningApi) -> None:
    operator = operator_of(api)
    for change, eligible in (("cordon", 249), ("uncordon", 250)):
        await operator.expect(200, "GET", "/fleet/overview")
        await operator.expect(202, "POST", f"/fleet/nodes/region-007-relay-009/{change}")
        overview = await operator.expect(200, "GET", "/fleet/overview")
        assert overview["totals"]["eligible_nodes"] == eligible


async def test_many_dashboards_get_one_that_is_made_anew_every_half_second(api: RunningApi) -> None:
    operator = operator_of(api)

    async def made_at() -> str:
        return str((await operator.expect(200, "GET", "/fleet/overview"))["at"])

    first = await asyncio.gather(*(made_at() for _ in range(20)))
    assert len(set(first)) <= 2

    async def is_another() -> bool:
        return await made_at() not in first

    await until(is_another, within_seconds=2)


async def test_a_long_answer_is_compressed_for_who_takes_it_and_is_the_same(api: RunningApi) -> None:
    path = "/api/v1/fleet/nodes?limit=500&region=region-001"
    plain, whole = await raw(api, "GET", path, headers={**api.bearer("operator"), "accept-encoding": "identity"})
    packed, short = await raw(api, "GET", path, headers={**api.bearer("operator"), **_GZIP})
    assert (packed.headers["content-encoding"], packed.headers["content-length"]) == ("gzip", str(len(short)))
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"
    names = [[each["name"] for each in json.loads(body)["items"]] for body in (whole, gzip.decompress(short))]
    assert names[0] == names[1]
    assert len(names[0]) == 10


async def test_what_is_short_or_issued_or_a_stream_is_not_compressed(api: RunningApi) -> None:
    bearer = {**api.bearer("operator"), **_GZIP}
    issued, _ = await raw(api, "POST", "/api/v1/credentials/ice", headers={**api.bearer("project"), **_GZIP})
    short, _ = await raw(api, "GET", "/api/v1/fleet/nodes?limit=1", headers=bearer)
    async with api.client.stream("GET", "/api/v1/fleet/events/stream", headers=bearer) as stream:
        answers = [issued, short, stream]
        assert [each.status_code for each in answers] == [200, 200, 200]
        assert not [each for each in answers if "content-encoding" in each.headers]


async def test_only_what_is_got_is_compressed_however_long() -> None:
    @route("/", http_method=["GET", "POST"])
    async def long(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer_encoded(b"[" + b" " * 10_000 + b"]")

    app = Litestar([long], openapi_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://here", headers=_GZIP) as client:
        assert "content-encoding" not in (await client.post("/")).headers
        got = await client.get("/")
        assert (got.headers["content-encoding"], got.json()) == ("gzip", [])


@pytest.mark.parametrize(
    ("field", "accepted"),
    [
        *[(None, False), ("", False), ("identity", False), ("br, deflate", False), ("xgzip", False), (",;q=,", False)],
        *[("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("deflate, gzip;q=1.0, *;q=0.5", True)],
        *[("gzip;q=0", False), ("gzip; q=0.000", False), ("*;q=0", False), ("gzip;q=0, *", False), ("gzip;q=0.001", True)],
    ],
)
def test_what_accept_encoding_says(field: str | None, accepted: bool) -> None:
    assert accepts_gzip(field) is accepted
