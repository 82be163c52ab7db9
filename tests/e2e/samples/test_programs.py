"""The published samples, run as the programs they are, by the real runtimes."""

from __future__ import annotations

import json

import pytest

from tests.e2e.samples.conftest import SampleApi
from tests.e2e.samples.expected import check_answer
from tests.e2e.samples.programs import PROGRAMS, Program, run_program
from tests.e2e.samples.published import SAMPLES, stored_request
from tests.e2e.samples.wire import Conversation, Request, tapped

pytestmark = pytest.mark.asyncio(loop_scope="session")

TELLING = ("authorization", "content-length", "content-type", "http2-settings", "upgrade", "x-turn-client-ip")
"""The headers that can change what the API makes of a request. The others tell versions, or what the client can read."""


def gist(request: Request, *, token: str) -> tuple[str, dict[str, str], object]:
    headers = {name: request.headers[name].replace(token, "{{token}}") for name in TELLING if name in request.headers}
    # The order of a JSON object's members is the library's, and may change with it.
    body = json.loads(request.body) if request.body.startswith(b"{") else request.body
    return request.line, headers, body


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.sample)
async def test_a_published_sample_works_as_printed(program: Program, sample_api: SampleApi) -> None:
    async with tapped(sample_api.port) as tap:
        printed = await run_program(program, api_url=tap.url, token=sample_api.token)
    assert len(tap.conversations) == 1
    conversation = tap.conversations[0]
    await check_answer(conversation.answer, SAMPLES[program.sample], sample_api.database)

    turn = conversation.answer.json()["iceServers"][1]
    if program.runtime.startswith("node"):
        # console.log stops at the second level, where the servers are.
        assert printed.startswith("Response: {")
        assert conversation.answer.json()["expiresAt"] in printed
    else:
        assert turn["credential"] in printed
    if printed[:1].isdigit():
        assert printed.splitlines()[0] == "200"

    stored = Conversation(sent=bytearray(stored_request(program.sample)))
    assert gist(conversation.request, token=sample_api.token) == gist(stored.request, token="{{token}}")
