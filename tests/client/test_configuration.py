"""Where URL and token come from, and what is refused before anything is sent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controlplane.client import ArgumentError, AsyncClient, Client, ConfigurationError, Retries
from controlplane.client.configuration import Configuration, configure
from controlplane.client.credentials import Credentials
from controlplane.client.records import Rooms

SECRET = "tfp_0123456789abcdefghij"


def made(environment: dict[str, str] | None = None, **arguments: str) -> Configuration:
    given = {"url": None, "token": None, "project": None, "ca_file": None, **arguments}
    return configure(**given, timeout_seconds=1, retries=Retries(), user_agent="", environment=environment or {})


def test_arguments_come_before_the_environment() -> None:
    environment = {
        "TURNFLEET_CLIENT_URL": "https://there.example",
        "TURNFLEET_CLIENT_TOKEN": SECRET,
        "TURNFLEET_CLIENT_PROJECT": "calls",
    }
    assert (made(environment).url, made(environment).project) == ("https://there.example", "calls")
    assert made(environment, url="https://here.example").url == "https://here.example"
    assert made(environment, project="other").project == "other"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://turn.example/", "https://turn.example"),
        ("https://turn.example/api/v1", "https://turn.example"),
        ("https://turn.example/api/v1/", "https://turn.example"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://example.org/turn", "https://example.org/turn"),
    ],
)
def test_the_base_of_the_url_is_found(url: str, base: str) -> None:
    assert made(url=url, token=SECRET).url == base


@pytest.mark.parametrize(
    "url", ["turn.example", "ftp://turn.example", "https://", "https://a:b@c", "https://a:port", "https://a?b", "http://["]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no URL of a control plane"):
        made(url=url, token=SECRET)


def test_what_is_missing_is_named_with_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="TURNFLEET_CLIENT_URL"):
        made(token=SECRET)
    with pytest.raises(ConfigurationError, match="TURNFLEET_CLIENT_TOKEN"):
        made(url="https://turn.example")


@pytest.mark.parametrize("token", [f"{SECRET}\r\nx: y", f"{SECRET}é", f"{SECRET} b", f"{SECRET}\x00"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        made(url="https://turn.example", token=token)
    assert SECRET not in str(refused.value)


def test_a_token_s_newline_from_a_file_is_no_part_of_it() -> None:
    assert made(url="https://turn.example", token=SECRET + "\n").token.reveal() == SECRET


def test_the_token_does_not_print() -> None:
    configuration = made(url="https://turn.example", token=SECRET)
    assert SECRET not in repr(configuration)
    with Client("https://turn.example", SECRET) as client:
        assert SECRET not in repr(vars(client))


def test_a_file_of_authorities_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="cannot be used as a file of authorities"):
        Client("https://turn.example", SECRET, ca_file="/nowhere")


async def test_another_project_shares_the_connections() -> None:
    async with AsyncClient("https://turn.example", SECRET, project="a") as client:
        other = client.in_project("b")
        assert (client.configuration.project, other.configuration.project) == ("a", "b")
        assert other.driver.transport is client.driver.transport


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_change_the_address_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="names nothing"):
        Rooms.show(name)


def test_text_that_cannot_be_sent_is_refused_with_a_sentence() -> None:
    with pytest.raises(ArgumentError, match="is no text"):
        Rooms.show("\udcff")
    with Client("http://127.0.0.1:1", "tfp_a") as client:
        with pytest.raises(ArgumentError, match="cannot be sent"):
            client.credentials.issue(room="\udcff")
        with pytest.raises(ArgumentError, match="cannot be sent"):
            client.credentials.issue(client_address="\u00e9")


def test_a_name_is_one_part_of_the_address() -> None:
    assert Rooms.show("a/../b?c#d é").path == "/rooms/a%2F..%2Fb%3Fc%23d%20%C3%A9"


def test_instants_are_sent_in_utc_and_need_a_zone() -> None:
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert Credentials.list(since=at, room="r").at(None).query_text() == {"room": "r", "from": "2026-11-22T12:00:00Z"}
    with pytest.raises(ArgumentError, match="time zone"):
        Credentials.list(since=at.replace(tzinfo=None)).at(None).query_text()


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(ArgumentError, match="is no credential's id"):
        Credentials.revoke_ids(["nonsense"])
