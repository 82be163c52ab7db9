"""Where webhooks may be sent, and that nothing leads anywhere else: real servers on loopback, names resolved as a test says."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from controlplane.flows.webhook_attempt import Attempt, sender_to
from controlplane.flows.webhook_target import TargetRefusedError, Targets, is_public, parse_target
from deploy.local.certificates import Certificates, ensure_certificates
from tests.webhook_receiver import endless_body, never, receiver, slow_header, status

LOOPBACK = [ip_network("127.0.0.1")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For `localhost`."""
    return ensure_certificates(tmp_path_factory.mktemp("tls"))


def server_tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context


def client_tls(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


def names(**known: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A resolver; `_` in a name is a dot."""

    async def resolve(host: str, _port: int) -> Sequence[str]:
        found = known.get(host.replace(".", "_"))
        if found is None:
            raise OSError(f"{host} is not known")
        return found

    return resolve


@asynccontextmanager
async def targets(*args: object, **options: object) -> AsyncIterator[Targets]:
    made = Targets(*args, **options)  # type: ignore[arg-type]  # handed on as they are
    try:
        yield made
    finally:
        made.close()


async def send(made: Targets, url: str) -> Attempt:
    async with sender_to(made) as sender:
        return await sender.send(url, "{}", {})


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1"),
        *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:808:808::", "64:ff9b::a00:1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::808:808", "2001::1", "2001:db8::1", "fec0::1", "fd00:ec2::254"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_taken(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example", "ftp://hooks.example/", "https://", "https:///path", "https://u:p@hooks.example/"),
        *("https://u@hooks.example/", "https://hooks.example:0/", "https://hooks.example:99999/", "https://ho\x00st/"),
        *("https://hooks.example/\ud800", "https://[::1", "file:///etc/passwd", "https://\u202e/"),
    ],
)
def test_what_is_no_url_of_a_target_is_refused(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        parse_target(url)


@pytest.mark.parametrize(
    "url",
    [
        *("https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://[::1]/"),
        *(
            "https://[::ffff:127.0.0.1]/",
            "https://localhost/",
            "https://169.254.169.254/latest/",
            "https://10.0.0.1:8443/",
            "https://a b/",
        ),
    ],
)
async def test_the_systems_own_resolver_leads_to_no_private_address(url: str) -> None:
    async with targets([]) as made:
        with pytest.raises(TargetRefusedError):
            await made.check(url)
        assert (await send(made, url)).status is None


async def test_one_private_answer_among_public_ones_is_enough_to_refuse() -> None:
    async with targets([], resolve=names(mixed_example=["8.8.8.8", "10.0.0.1"])) as made:
        with pytest.raises(TargetRefusedError, match="not public") as refused:
            await made.check("https://mixed.example/")
        assert "10.0.0.1" not in str(refused.value)
        with pytest.raises(TargetRefusedError, match="not found"):
            await made.check("https://unknown.example/")


async def test_plain_http_is_for_networks_that_were_allowed_alone() -> None:
    resolve = names(public_example=["8.8.8.8"], own_example=["127.0.0.1"], other_example=["127.0.0.2"])
    async with targets(LOOPBACK, resolve=resolve) as made:
        await made.check("http://own.example:1/")
        await made.check("https://public.example/")
        for url in ("http://public.example/", "http://other.example/"):
            with pytest.raises(TargetRefusedError):
                await made.check(url)


async def test_the_checked_address_is_connected_to_and_the_name_is_kept_for_tls(certificates: Certificates) -> None:
    """`localhost` is on the certificate; the resolver, and nothing else, says where it is."""
    async with (
        receiver(tls=server_tls(certificates)) as server,
        targets(LOOPBACK, resolve=names(localhost=["127.0.0.1"]), verify=client_tls(certificates.authority)) as made,
    ):
        attempt = await send(made, f"https://localhost:{server.port}/hook")
        assert (attempt.status, attempt.failure) == (204, None)
        assert server.requests[0].headers["host"] == f"localhost:{server.port}"


async def test_a_certificate_for_another_name_or_of_an_unknown_authority_is_refused(certificates: Certificates) -> None:
    resolve = names(localhost=["127.0.0.1"], other_example=["127.0.0.1"])
    async with receiver(tls=server_tls(certificates)) as server:
        async with targets(LOOPBACK, resolve=resolve, verify=client_tls(certificates.authority)) as made:
            other = await send(made, f"https://other.example:{server.port}/")
        async with targets(LOOPBACK, resolve=resolve) as made:
            unknown = await send(made, f"https://localhost:{server.port}/")
        assert server.requests == []
    assert "certificate is not good" in (other.failure or "")
    assert "other.example" in (other.failure or "")
    assert "certificate is not good" in (unknown.failure or "")


async def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """DNS rebinding: a public answer while the webhook is made, this host when it is sent to."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    async with receiver() as server, targets([], resolve=rebinding) as made:
        url = f"https://rebind.example:{server.port}/"
        await made.check(url)
        attempt = await send(made, url)
        assert "not public" in (attempt.failure or "")
        assert server.connections == 0
    assert asked == ["rebind.example"] * 2


async def test_each_attempt_resolves_once_and_connects_to_that_answer() -> None:
    """Had it been resolved a second time, the second answer would have been connected to."""
    async with receiver() as server:
        answers = [["127.0.0.1"], ["127.0.0.9"]]

        async def once(_host: str, _port: int) -> Sequence[str]:
            return answers.pop(0)

        async with targets(LOOPBACK, resolve=once) as made:
            assert (await send(made, f"http://once.example:{server.port}/")).status == 204
        assert len(answers) == 1


async def test_an_address_that_takes_no_connections_is_passed_over() -> None:
    allowed = [ip_network("127.0.0.0/8")]
    async with receiver() as server, targets(allowed, resolve=names(two_example=["127.0.0.9", "127.0.0.1"])) as made:
        assert (await send(made, f"http://two.example:{server.port}/")).status == 204


async def test_a_redirect_is_not_followed() -> None:
    async with receiver() as inside, targets(LOOPBACK) as made:
        async with receiver(status(302, location=inside.url)) as server:
            attempt = await send(made, server.url)
        assert (attempt.status, attempt.failure) == (302, "The target answered 302: redirects are not followed.")
        assert inside.connections == 0


@pytest.mark.parametrize("answer", [never, slow_header])
async def test_a_target_that_does_not_answer_is_given_ten_seconds_in_all(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.flows.webhook_attempt.DEADLINE_SECONDS", 1.0)
    async with receiver(answer) as server, targets(LOOPBACK) as made:  # type: ignore[arg-type]  # one of two answers
        began = time.monotonic()
        attempt = await send(made, server.url)
        assert time.monotonic() - began < 2
    assert attempt.status is None
    assert attempt.failure == "No answer within 1 seconds."


async def test_a_body_without_end_keeps_nobody_waiting() -> None:
    async with receiver(endless_body) as server, targets(LOOPBACK) as made:
        attempt = await send(made, server.url)
    assert (attempt.status, attempt.failure) == (200, None)
    assert attempt.milliseconds < 3000


async def test_a_huge_body_is_not_read_to_its_end() -> None:
    sent = 0

    async def huge(_received: object, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with receiver(huge) as server, targets(LOOPBACK) as made:
        assert (await send(made, server.url)).failure is None
    assert sent < 50_000_000  # what the sockets hold, and nothing near the billion


async def test_no_connection_is_told_in_words() -> None:
    async with receiver() as server:
        url = server.url
    async with targets(LOOPBACK) as made:
        assert (await send(made, url)).failure == "The target does not take connections."


async def test_rubbish_is_no_answer() -> None:
    async def rubbish(_received: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    async with receiver(rubbish) as server, targets(LOOPBACK) as made:
        attempt = await send(made, server.url)
    assert attempt.status is None
    assert attempt.failure == "The target ended the connection without an answer that is HTTP."


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("120", 120), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", None), ("-5", None), ("9" * 400, 999999999), ("", None)],
)
async def test_retry_after_is_read_in_both_forms(given: str, seconds: float | None) -> None:
    async with receiver(status(503, retry_after=given)) as server, targets(LOOPBACK) as made:
        attempt = await send(made, server.url)
    assert (attempt.status, attempt.retry_after_seconds) == (503, seconds)


async def test_connections_are_used_again_by_one_sender() -> None:
    async with receiver() as server, targets(LOOPBACK) as made, sender_to(made) as sender:
        for _ in range(3):
            assert (await sender.send(server.url, "{}", {})).failure is None
        assert (len(server.requests), server.connections) == (3, 1)
