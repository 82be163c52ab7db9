"""Exit statuses and words when something goes wrong, and what the command line needs to start."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.cli import exit_codes
from controlplane.cli.tables import columns, fit
from controlplane.cli.words import clean, say, say_seconds, scaled
from controlplane.client.errors import ApiError
from tests.cli.running_cli import Cli, cli_for
from tests.client.scripted_server import answer, scripted
from tests.client.used_api import Used
from tests.docs.pages import page, rows
from tests.running_api import until

_REGION = '{"slug":"a","nat2":"DE","city":"c","name":"n","lat":0,"lon":0,"is_online":true,"is_operational":true}'
AWAY = Cli(
    environment={"TURNFLEET_CLIENT_URL": "http://127.0.0.1:1", "TURNFLEET_CLIENT_TOKEN": "tfp_a", "NO_PROXY": "127.0.0.1"},
    own_process=True,
)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["room", "show", "nobody"], exit_codes.NOT_FOUND, "not_found, request "),
        (["node", "list"], exit_codes.NOT_ALLOWED, "scope_missing, request "),
        (["cred", "issue", "--region", "nowhere"], exit_codes.FAILED, "region_unknown, request "),
        (["cred", "issue", "--ttl", "0"], exit_codes.USAGE, "--ttl"),
        (["cred", "issue", "--room", "with space"], exit_codes.FAILED, "room"),
        (["cred", "isue"], exit_codes.USAGE, "issue"),
        (["room", "show", ".."], exit_codes.USAGE, "names nothing"),
        (["cred", "list", "--project", "a b"], exit_codes.USAGE, "project holds characters"),
    ],
)
async def test_a_failure_is_a_sentence_and_a_status(
    used: Used, folder: Path, arguments: list[str], status: int, words: str
) -> None:
    ended = await cli_for(used.api, folder)(*arguments)
    assert (ended.status, ended.out) == (status, "")
    assert words in ended.err


async def test_without_a_login_it_says_how_to_log_in(folder: Path) -> None:
    ended = await Cli(environment={"HOME": str(folder)})("cred", "list")
    assert (ended.status, ended.err) == (3, "turnfleet: You are not logged in. Log in with: turnfleet login --url https://…\n")


async def test_a_control_plane_that_is_away_is_temporary() -> None:
    ended = await AWAY("region", "list")
    assert ended.status == exit_codes.UNAVAILABLE
    assert ended.err.startswith("turnfleet: http://127.0.0.1:1 cannot be reached")


async def test_too_many_requests_are_temporary_and_waited_out_first() -> None:
    body = '{"type":"t","title":"A","status":429,"detail":"Too many.","code":"rate_limited","request_id":"r-1"}'
    refused = answer(body, status=429, retry_after="0")
    async with scripted(*[refused] * 4) as server:
        ended = await AWAY("region", "list", TURNFLEET_CLIENT_URL=server.url)
    assert (ended.status, ended.err) == (5, "turnfleet: Too many.\n  (rate_limited, request r-1)\n")
    assert len(server.requests) == 4


async def test_what_would_steer_the_terminal_is_not_passed_on() -> None:
    region = _REGION.replace('"a"', '"a\\u001b[31m"').replace('"c"', '"\\u202ec"').replace('"n"', '"[red]n"')
    async with scripted(answer(f"[{region}]")) as server:
        ended = await AWAY("region", "list", TURNFLEET_CLIENT_URL=server.url, FORCE_COLOR="1", NO_COLOR="")
    assert "\x1b[31m" not in ended.out
    assert "\u202e" not in ended.out
    assert "[red]n" in ended.out


async def test_a_problem_does_not_steer_the_terminal_either() -> None:
    body = '{"type":"t","title":"A","status":403,"detail":"\\u001b[2JNo.","code":"x","request_id":"r"}'
    async with scripted(answer(body, status=403)) as server:
        ended = await AWAY("region", "list", TURNFLEET_CLIENT_URL=server.url)
    assert ended.status == exit_codes.NOT_ALLOWED
    assert ended.err.startswith("turnfleet: \ufffd[2JNo.")


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    async with scripted() as elsewhere, scripted(answer(status=307, location=f"{elsewhere.url}/api/v1/regions")) as server:
        ended = await AWAY("region", "list", TURNFLEET_CLIENT_URL=server.url)
    assert ended.status == exit_codes.FAILED
    assert elsewhere.requests == []
    assert "tfp_a" not in ended.out + ended.err


async def test_colours_are_for_terminals_and_not_with_no_color() -> None:
    async with scripted(*[answer(f"[{_REGION}]")] * 2) as server:
        plain = await AWAY("region", "list", TURNFLEET_CLIENT_URL=server.url)
        forced = await AWAY("region", "list", TURNFLEET_CLIENT_URL=server.url, FORCE_COLOR="1", TERM="xterm")
    assert "\x1b[" not in plain.out
    assert "\x1b[1m" in forced.out


async def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    async with scripted(answer(f"[{','.join([_REGION] * 2000)}]")) as server:
        process = await asyncio.create_subprocess_shell(
            f"{sys.executable} -m controlplane region list --json | head -n 1",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **AWAY.environment, "TURNFLEET_CLIENT_URL": server.url},
        )
        out, err = await process.communicate()
    assert (out.decode(), err.decode()) == (_REGION + "\n", "")


async def test_an_interrupt_ends_it_without_a_traceback() -> None:
    async with scripted(None) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "controlplane",
            "region",
            "list",
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **AWAY.environment, "TURNFLEET_CLIENT_URL": server.url},
        )

        async def asked() -> bool:
            return bool(server.requests)

        await until(asked, within_seconds=30, what="the command sent its request")
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == exit_codes.INTERRUPTED
    assert b"Traceback" not in err


def test_statuses_are_on_the_page() -> None:
    documented = {int(row.cells[0]) for row in rows(page("docs/reference/cli.md"), under="Exit status")}
    assert documented == {0} | {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}


def test_help_loads_neither_a_server_nor_a_socket_library() -> None:
    program = (
        "import sys, json\nsys.argv = ['turnfleet', '--help']\n"
        "from controlplane.__main__ import run\n"
        "try:\n    run()\nexcept SystemExit:\n"
        "    print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(ended.stderr))
    assert (
        loaded & {"httpx", "litestar", "uvicorn", "asyncpg", "redis", "alembic", "apscheduler", "cryptography", "structlog"}
        == set()
    )
    assert "cred" in ended.stdout


_SERVER = ("litestar", "uvicorn", "uvloop", "asyncpg", "aiosql", "alembic", "redis", "apscheduler", "maxminddb", "cryptography")


async def test_with_the_cli_extra_alone_everything_but_servers_runs() -> None:
    blocked = "; ".join(
        f"sys.modules[{name!r}] = None" for name in (*_SERVER, "prometheus_client", "standardwebhooks", "uuid_utils")
    )

    def run(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
        program = f"import sys; {blocked}; sys.argv = {['turnfleet', *arguments]!r}; from controlplane.__main__ import run; run()"
        environment = {"PATH": os.environ["PATH"], **AWAY.environment, "TURNFLEET_CLIENT_URL": url}
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)

    async with scripted(answer("[]")) as server:
        listed = await asyncio.to_thread(run, "region", "list", url=server.url)
    assert (listed.returncode, listed.stderr) == (0, "Nothing found.\n")
    served = await asyncio.to_thread(run, "serve", url=server.url)
    assert served.returncode == 1
    assert "pip install 'turnfleet[server]'" in served.stderr
    assert "Traceback" not in served.stderr


async def test_the_shell_completes_commands_options_and_words() -> None:
    async def completed(line: str) -> str:
        environment = {"_TURNFLEET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return (await AWAY(**environment)).out

    assert "revoke" in await completed("turnfleet cred ")
    assert "--explain" in await completed("turnfleet cred issue --ex")


def test_columns_are_left_out_by_rank_and_identifiers_never() -> None:
    shown = columns("at!1 id!0 name:2 city:3")
    assert fit(shown, [19, 36, 10, 10], None) == [(0, 19), (1, 36), (2, 10), (3, 10)]
    assert [index for index, _ in fit(shown, [19, 36, 10, 10], 81)] == [0, 1, 2, 3]
    assert [index for index, _ in fit(shown, [19, 36, 10, 10], 80)] == [0, 1, 2]
    assert fit(shown, [19, 36, 10, 40], 90) == [(0, 19), (1, 36), (2, 10), (3, 19)], "long text is folded, short words are not"
    assert [index for index, _ in fit(shown, [19, 36, 10, 10], 75)] == [0, 1, 2]
    assert fit(shown, [19, 36, 10, 10], 30) == [(1, 36)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_950, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (10**18, "1.0 EB"),
        (10**22, "10000.0 EB"),
    ],
)
def test_bytes_are_scaled(value: int, text: str) -> None:
    assert scaled(value, "B") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0005, "0 ms"), (30, "30 s"), (1.5, "1.5 s"), (600, "10 min"), (3700, "1 h 1 min 40 s"), (86_400, "1 d")]
)
def test_durations_are_said(value: float, text: str) -> None:
    assert say_seconds(value) == text


def test_values_are_said_by_their_names() -> None:
    assert say("bits_per_second", 1_500_000) == "1.5 Mbit/s"
    assert say("utilisation", 0.123) == "12.3 %"
    assert say("port", 3478) == "3478"
    assert say("milliseconds", 15.04) == "15.0 ms"
    assert say("last_report_age_seconds", 15) == "15 s"
    assert say("is_active", False) == "no"
    assert say("a", None) == say("a", []) == "-"
    assert clean("a\x1b]0;b\x07\nc") == "a\ufffd]0;b\ufffd\ufffdc"
    assert re.fullmatch(r"-?inf", say("x", float("-inf")))


def test_a_project_that_is_missing_is_asked_for_in_the_words_of_the_command_line() -> None:
    refused = ApiError(
        status=422, code="project_required", title="Name the project", detail="Name it as X-Project.", request_id="01a2"
    )
    assert "--project" in exit_codes.words_of(refused)[-1]
