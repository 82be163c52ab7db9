"""The page of the agent's metrics, and a server that nobody can hold up."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents import metrics_server
from agents.metrics import METRICS, render
from agents.metrics_heartbeats import Heartbeats
from agents.metrics_server import MOST_CONNECTIONS, MetricsServer
from tests.agents.places import LOOPBACK, eventually, free_port


class TestPage:
    def test_prometheus_reads_what_is_rendered(self) -> None:
        name = 'a"b\\c\nd'
        page = render(
            {
                "turnfleet_agent_node_info": [(("id", name, "eu"), 1)],
                "turnfleet_agent_probe_success": [(("udp",), True), (("tls",), False)],
                "turnfleet_agent_receive_bytes_total": [((), 2**53)],
                "turnfleet_agent_clock_offset_seconds": [((), float("-inf"))],
            }
        )
        found = {sample.name: sample for family in text_string_to_metric_families(page) for sample in family.samples}
        assert found["turnfleet_agent_node_info"].labels == {"node_id": "id", "name": name, "region": "eu"}
        assert found["turnfleet_agent_receive_bytes_total"].value == 2**53
        assert found["turnfleet_agent_clock_offset_seconds"].value == float("-inf")
        assert [family.type for family in text_string_to_metric_families(page)] == ["gauge", "counter", "gauge", "gauge"]

    def test_only_what_is_in_the_list_is_rendered(self) -> None:
        with pytest.raises(KeyError):
            render({"turnfleet_agent_anything": []})
        with pytest.raises(ValueError, match="zip"):
            render({"turnfleet_agent_probe_success": [((), 1)]})

    def test_names_are_conventional(self) -> None:
        assert len({one.name for one in METRICS}) == len(METRICS)
        for one in METRICS:
            assert one.name.startswith("turnfleet_agent_")
            assert one.name.endswith("_total") is (one.kind == "counter"), one.name
            assert one.meaning.endswith("."), one.name


class TestHeartbeats:
    def test_the_offset_is_of_the_middle_of_the_way(self) -> None:
        heartbeats = Heartbeats()
        assert heartbeats.clock_offset_seconds is None
        heartbeats.answered(sent_at=103.0, server_at=100.5, now=104.0)
        assert heartbeats.clock_offset_seconds == 3.0

    def test_an_age_begins_with_the_agent_and_anew_with_each_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 50.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        heartbeats = Heartbeats()
        now = 57.0
        heartbeats.count("unreachable")
        assert heartbeats.age_seconds == 7.0
        heartbeats.answered(sent_at=1.0, server_at=1.0, now=1.0)
        assert heartbeats.age_seconds == 0.0
        assert heartbeats.by_outcome == {"answered": 0, "refused": 0, "unreachable": 1}


@asynccontextmanager
async def served(page: Callable[[], str] = lambda: "page\n") -> AsyncIterator[int]:
    port = free_port()
    task = asyncio.create_task(MetricsServer(host=LOOPBACK, port=port, page=page).run())
    try:
        await answered(lambda: asked(port, b"GET /metrics HTTP/1.1\r\n\r\n"))
        yield port
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def answered(ask: Callable[[], Awaitable[bytes]]) -> bytes:
    """The first answer, which comes soon."""
    async with asyncio.timeout(10):
        while True:
            with suppress(OSError):
                if answer := await ask():
                    return answer
            await asyncio.sleep(0.01)


async def asked(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    with closing(writer):
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()


class TestServer:
    async def test_a_scrape(self) -> None:
        async with served() as port:
            for path in (b"/metrics", b"/metrics?name=x"):
                answer = await asked(port, b"GET " + path + b" HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n")
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4")
                assert b"content-length: 5\r\nconnection: close" in head
                assert body == b"page\n"
            assert (await asked(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")).endswith(
                b"content-length: 5\r\nconnection: close\r\n\r\n"
            )

    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (b"GET / HTTP/1.1\r\n\r\n", b"404"),
            (b"GET /metrics/x HTTP/1.1\r\n\r\n", b"404"),
            (b"POST /metrics HTTP/1.1\r\ncontent-length: 3\r\n\r\n", b"405"),
            (b"\xff\x00\r\n\r\n", b"404"),
            (b"\r\n\r\n", b"404"),
            (b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 9000, b"431"),
        ],
    )
    async def test_anything_else_is_answered_shortly(self, request_: bytes, status: bytes) -> None:
        async with served() as port:
            assert (await asked(port, request_)).startswith(b"HTTP/1.1 " + status)

    async def test_those_that_say_nothing_are_few_and_not_for_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics_server, "CONNECTION_SECONDS", 2.0)
        async with served() as port:
            began = time.monotonic()
            silent = [await asyncio.open_connection(LOOPBACK, port) for _ in range(MOST_CONNECTIONS)]
            silent[0][1].write(b"GET /met")
            with suppress(ConnectionResetError):
                assert await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
            assert time.monotonic() - began < 2.0
            for reader, writer in silent:
                async with asyncio.timeout(7):
                    with suppress(ConnectionResetError):
                        assert await reader.read() == b""
                writer.close()
            assert 1.9 < time.monotonic() - began < 7.0
            assert b"200 OK" in await answered(lambda: asked(port, b"GET /metrics HTTP/1.1\r\n\r\n"))

    async def test_one_that_never_reads_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics_server, "CONNECTION_SECONDS", 0.5)
        async with served(lambda: "x" * 50_000_000) as port:
            with closing(socket.create_connection((LOOPBACK, port))) as greedy:
                greedy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                # Only this connection's task is left, and it ends although nobody reads.
                await eventually(lambda: not scrapes(), what="no connection")

    async def test_a_flood_costs_one_page_a_second(self) -> None:
        made = 0

        def page() -> str:
            nonlocal made
            made += 1
            return "page\n"

        async with served(page) as port:
            began = time.monotonic()
            for _ in range(50):
                await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n")
            assert made <= 2 + time.monotonic() - began

    async def test_a_page_that_fails_is_told_and_the_agent_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics_server, "PAGE_SECONDS", 0.0)
        pages = iter(["page\n"])
        async with served(lambda: next(pages)) as port:
            assert (await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 500")
            assert (await asked(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")

    async def test_a_port_that_is_taken_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics_server, "AGAIN_SECONDS", 0.05)
        port = free_port()
        taken = socket.create_server((LOOPBACK, port))
        server = MetricsServer(host=LOOPBACK, port=port, page=lambda: "page\n")
        task = asyncio.create_task(server.run())
        try:
            await asyncio.wait({task}, timeout=0.3)
            assert not task.done()
            taken.close()
            assert b"200 OK" in await answered(lambda: asked(port, b"GET /metrics HTTP/1.1\r\n\r\n"))
        finally:
            taken.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def scrapes() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "metrics-scrape"]
