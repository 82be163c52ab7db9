"""The doctor as a whole: settings with mistakes, checks that fail themselves, what is shown, and the program on a real host."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from agents import parse
from agents.doctor import at_start, show
from agents.doctor.environment import settings_of
from agents.doctor.examine import Check, examine
from agents.settings import AgentSettings, from_environment
from controlplane.wire.findings import Finding, exit_status, ok, warning, wrong
from tests.agents.certificates import DAY, MIDDLE, NOW, issue, make_files
from tests.agents.control_plane import control_plane
from tests.agents.places import eventually, free_port, make_settings
from tests.agents.relay import relay
from tests.agents.test_whole_agent import running


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


# settings


def read(environment: Mapping[str, str]) -> AgentSettings:
    return from_environment(
        environment, default_address=lambda: "127.0.0.1", default_interface=lambda _: "lo", interfaces=lambda: ["lo"]
    )


LEAST = {"TURNFLEET_AGENT_URL": "https://a.test", "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true"}


def test_settings_without_mistakes_are_one_good_finding() -> None:
    settings, found = settings_of(LEAST, read)
    assert settings == read(LEAST)
    assert only(found).state == "ok"


def test_every_mistake_is_a_finding_and_the_rest_is_as_if_it_were_not_set() -> None:
    bad = {
        "TURNFLEET_AGENT_PORT": "99999",
        "TURNFLEET_AGENT_PROT": "1",
        "TURNFLEET_AGENT_TLS_CERT": "/does/not/exist",
        "TURNFLEET_AGENT_TLS_KEY": __file__,
        "TURNFLEET_AGENT_INTERFACE": "eth7",
        "TURNFLEET_AGENT_RELAY_PORTS": "9-8",
    }
    settings, found = settings_of(LEAST | bad, read)
    assert settings == read(LEAST)
    assert [one.state for one in found] == ["wrong"] * 5
    for variable in ("PORT", "PROT", "TLS_CERT", "INTERFACE", "RELAY_PORTS"):
        assert sum(f"TURNFLEET_AGENT_{variable} " in f"{one.detail.replace(':', ' ')}" for one in found) >= 1, variable


def test_without_a_url_the_rest_is_examined() -> None:
    settings, found = settings_of({"TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "1"}, read)
    assert settings is not None
    assert settings.urls == ()
    assert "TURNFLEET_AGENT_URL must be set" in only(found).detail


def test_a_host_without_an_address_is_a_finding_too() -> None:
    def nowhere(environment: Mapping[str, str]) -> AgentSettings:
        return from_environment(
            environment, default_address=lambda: None, default_interface=lambda _: None, interfaces=lambda: None
        )

    settings, found = settings_of(LEAST, nowhere)
    assert settings is None
    assert "LISTEN_ADDRESS must be set" in only(found).detail


def test_a_secret_in_a_bad_setting_is_not_shown() -> None:
    _, found = settings_of(LEAST | {"TURNFLEET_AGENT_JOIN_TOKEN": "tfj_x", "TURNFLEET_AGENT_JOIN_TOKEN_FILE": "/x"}, read)
    assert only(found).state == "wrong"
    assert "tfj_x" not in found[0].detail + found[0].remedy


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("stun.test", ("stun.test", 3478)),
        ("stun.test:19302", ("stun.test", 19302)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("[2001:db8::1]:99", ("2001:db8::1", 99)),
        ("[2001:db8::1]", ("2001:db8::1", 3478)),
    ],
)
def test_a_stun_server_is_a_host_with_or_without_a_port(text: str, meant: tuple[str, int]) -> None:
    assert parse.server(text) == meant


@pytest.mark.parametrize(
    "text", ["a:0", "a:99999", "a:x", "a/b", "a b", "u@a", "[", "[::1", "2001:db8::1", ":3478", "stun:a", "a\0", "é"]
)
def test_what_is_no_stun_server_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a host, or a host and a port"):
        parse.server(text)


# examine


def test_a_check_that_raises_and_one_that_hangs_are_findings_among_the_others() -> None:
    release = threading.Event()

    def raising() -> list[Finding]:
        raise RuntimeError("no such luck")

    def hanging() -> list[Finding]:
        release.wait(10)
        return []

    began = time.monotonic()
    checks = [
        Check(name="hanging", work=hanging),
        Check(name="raising", work=raising),
        Check(name="good", work=lambda: [ok("good", "Fine."), ok("good", "Fine as well.")]),
    ]
    found = examine(checks, deadline_seconds=0.3)
    release.set()
    assert time.monotonic() - began < 2
    assert [(one.name, one.state) for one in found] == [
        ("hanging", "wrong"),
        ("raising", "warning"),
        ("good", "ok"),
        ("good", "ok"),
    ]
    assert "RuntimeError: no such luck" in found[1].detail


@pytest.mark.parametrize(
    ("found", "status"),
    [([], 0), ([ok("a", "")], 0), ([warning("a", "", "")], 0), ([wrong("a", "", "")], 1), ([wrong("a", "", ""), ok("b", "")], 1)],
)
def test_warnings_do_not_fail(found: list[Finding], status: int) -> None:
    assert exit_status(found) == status


def test_the_table_is_ascii_and_cannot_drive_a_terminal() -> None:
    told = show.as_table([wrong("certificate", "for \x1b[31mé\r\n", "Look."), ok("x", "Fine.")])
    assert told.splitlines() == [
        "wrong    certificate  for ?[31m\\xe9??",
        "                      Look.",
        "ok       x            Fine.",
        "",
        "1 ok, 0 warning, 1 wrong.",
    ]


def test_json_is_a_list_of_findings() -> None:
    assert json.loads(show.as_json([warning("a", "é.", "Do.")])) == [
        {"name": "a", "state": "warning", "detail": "é.", "remedy": "Do."}
    ]


# the program


def environment_of(settings: AgentSettings, **more: str) -> dict[str, str]:
    prefixed = {f"TURNFLEET_AGENT_{name}": value for name, value in more.items()}
    return {
        "PATH": os.environ["PATH"],
        "TURNFLEET_AGENT_URL": ",".join(settings.urls),
        "TURNFLEET_AGENT_NAME": "relay-1",
        "TURNFLEET_AGENT_JOIN_TOKEN": "tfj_very_secret",
        "TURNFLEET_AGENT_STATE_DIR": str(settings.state_dir),
        "TURNFLEET_AGENT_LISTEN_ADDRESS": "127.0.0.1",
        "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true",
        "TURNFLEET_AGENT_CAPACITY_BITS_PER_SECOND": "1e8",
        "TURNFLEET_AGENT_PORT": str(settings.port),
        "TURNFLEET_AGENT_CLI_PORT": str(settings.cli_port),
        "TURNFLEET_AGENT_RELAY_PORTS": "{}-{}".format(*settings.relay_ports),
    } | prefixed


async def doctor(environment: Mapping[str, str], *options: str) -> tuple[int | None, str, str]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agents", "doctor", *options),
        env=dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, told = await child.communicate()
    return child.returncode, out.decode(), told.decode()


async def examined(environment: Mapping[str, str]) -> tuple[int | None, dict[str, list[Finding]]]:
    status, out, told = await doctor(environment, "--json")
    assert told == ""
    found: dict[str, list[Finding]] = {}
    for one in msgspec.json.decode(out, type=list[Finding]):
        found.setdefault(one.name, []).append(one)
    return status, found


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


ALL = {
    *("settings", "identity", "addresses", "external_address", "public_host", "ports", "relay_ports", "coturn", "capacity"),
    *("open_files", "state_folder", "disk", "certificate", "control_plane", "clock"),
}


async def test_a_host_that_is_all_right_ends_with_zero_and_nothing_is_changed(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        status, found = await examined(environment_of(settings))
    assert status == 0
    assert set(found) == ALL
    assert [one for each in found.values() for one in each if one.state != "ok"] == []
    assert entries(folder) == []
    assert plane.joins == []


async def test_beside_a_running_agent_its_coturn_is_known(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            before = plane.last
            status, found = await examined(environment_of(settings))
            assert plane.usable()
            assert before is not None
            assert plane.last is not None
            assert plane.last.coturn.boot_id == before.coturn.boot_id
    assert status == 0
    assert only(found["identity"]).detail == "This host has joined as node node-1 in region eu."
    assert ["our own coturn" in one.detail for one in found["ports"]] == [True, True, True]
    assert "it runs as process" in only(found["coturn"]).detail


async def test_everything_wrong_at_once_is_told_in_sentences(folder: Path) -> None:
    files = make_files(folder, issue("other.test", issuer=MIDDLE, ends_at=NOW - DAY / 2))
    foreign = make_settings(folder)
    state_dir = folder / "file" / "state"
    state_dir.parent.write_text("in the way")
    settings = replace(make_settings(folder, url=f"http://127.0.0.1:{free_port()}"), port=foreign.port, state_dir=state_dir)
    environment = environment_of(
        settings,
        TLS_CERT=str(files.certificate),
        TLS_KEY=str(files.key),
        LISTEN_ADDRESS="127.0.0.1",
        PUBLIC_HOST="nosuch.invalid",
        COTURN_BINARY="no-such-turnserver",
        USER_QUOTA="many",
    )
    async with relay(foreign):
        status, found = await examined(environment)
        plain_status, table, told = await doctor(environment)
    assert status == plain_status == 1
    assert told == ""
    wrongs = {name for name, each in found.items() if any(one.state == "wrong" for one in each)}
    # A folder that is a file has no identity either.
    assert wrongs >= {"settings", "public_host", "ports", "coturn", "state_folder", "certificate", "control_plane"}
    assert any("turnserver (process" in one.detail for one in found["ports"])
    assert all(one.detail.endswith(".") for each in found.values() for one in each)
    assert table.count("wrong  ") == sum(one.state == "wrong" for each in found.values() for one in each)
    assert "Traceback" not in table
    assert "tfj_very_secret" not in table


async def test_without_any_settings_there_is_a_report_all_the_same() -> None:
    status, out, told = await doctor({"PATH": os.environ["PATH"]}, "--json")
    assert status == 1
    assert told == ""
    assert "TURNFLEET_AGENT_URL must be set" in out
    assert {one["name"] for one in json.loads(out)} >= {"settings", "coturn"}


async def test_wrong_arguments_end_with_two() -> None:
    status, _, told = await doctor({"PATH": os.environ["PATH"]}, "--jsn")
    assert status == 2
    assert "--jsn" in told


# the start of the agent


async def test_an_agent_tells_at_its_start_what_is_wrong_and_what_is_well(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url, public_host="nosuch.invalid")
        with capture_logs() as told:
            async with running(settings):
                await eventually(lambda: any(one["event"] == "host_examined" for one in told), what="an examination")
    events = [one["event"] for one in told]
    # coturn comes first.
    assert events.index("coturn_greeted") < events.index("host_fault_found")
    faults = {one["check"]: one for one in told if one["event"] == "host_fault_found"}
    assert faults["public_host"]["log_level"] == "error"
    assert "nosuch.invalid" in faults["public_host"]["detail"]
    assert faults["capacity"]["log_level"] == "warning"
    last = told[events.index("host_examined")]
    assert last["wrong"] == 1
    assert "coturn 4." in last["found"]["coturn"]


async def test_an_agent_that_cannot_join_tells_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_start, "WAIT_SECONDS", 0.2)
    settings = make_settings(folder, url=f"http://127.0.0.1:{free_port()}")
    with capture_logs() as told:
        async with running(settings):
            await eventually(lambda: any(one["event"] == "host_examined" for one in told), what="an examination")
    faults = {one["check"]: one for one in told if one["event"] == "host_fault_found"}
    assert "connection refused" in faults["control_plane"]["detail"]


async def test_an_examination_that_hangs_does_not_hold_up_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Event(), threading.Event()

    def hanging() -> list[Finding]:
        begun.set()
        release.wait(20)
        return []

    monkeypatch.setattr(at_start, "checks", lambda _, seen: [Check(name="hanging", work=hanging)])
    async with control_plane() as plane:
        async with running(make_settings(folder, url=plane.url)):
            await eventually(begun.is_set, what="an examination")
            await eventually(plane.usable, what="a usable node")
            ending = time.monotonic()
        assert time.monotonic() - ending < 5
    release.set()
