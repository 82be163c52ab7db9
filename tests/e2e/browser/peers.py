"""Two peers in a page of a real browser. What page/peers.js tells, typed where it enters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Page, Route

__all__ = ["Candidate", "Gathering", "Pair", "Peers", "Relayed", "Transfer", "Transport"]

Transport = Literal["udp", "tcp", "tls"]

FOLDER = Path(__file__).parent / "page"
# Hashing in a page needs a secure context, which localhost is. No request for it leaves the browser.
ORIGIN = "http://localhost"
CALL_DEADLINE_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    sent_sha256: str
    received_sha256: str
    byte_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """As `getStats` has it. `url` and `relay_protocol` are known of a peer's own candidate only."""

    type: str
    protocol: str
    relay_protocol: str | None
    url: str | None
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    local: Candidate
    remote: Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """One transfer each way, and the pair that each peer selected."""

    transfers: list[Transfer]
    pairs: list[Pair]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateError:
    code: int
    text: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    candidate_types: list[str]
    errors: list[CandidateError]


class Peers:
    """`ice_servers` is the reply's list as it came; the page takes the URLs of one transport from it."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def open(self) -> None:
        await self._page.route(f"{ORIGIN}/**", _serve)
        await self._page.goto(f"{ORIGIN}/index.html")

    async def relay(self, ice_servers: list[dict[str, Any]], transport: Transport, *, byte_count: int) -> Relayed:
        """Leaves the peers connected until `release`."""
        told = await self._call("relay", {"iceServers": ice_servers, "transport": transport, "byteCount": byte_count})
        return Relayed(
            transfers=[Transfer(**each) for each in told["transfers"]],
            pairs=[Pair(local=Candidate(**each["local"]), remote=Candidate(**each["remote"])) for each in told["pairs"]],
        )

    async def gather(self, ice_servers: list[dict[str, Any]], transport: Transport) -> Gathering:
        told = await self._call("gather", {"iceServers": ice_servers, "transport": transport})
        return Gathering(
            candidate_types=told["candidate_types"],
            errors=[CandidateError(**each) for each in told["errors"]],
        )

    async def release(self) -> None:
        await self._call("release", {})

    async def _call(self, function: str, argument: dict[str, Any]) -> Any:
        async with asyncio.timeout(CALL_DEADLINE_SECONDS):
            return await self._page.evaluate(f"argument => {function}(argument)", argument)


async def _serve(route: Route) -> None:
    file = FOLDER / Path(route.request.url).name
    if file.is_file():
        await route.fulfill(path=file)
    else:
        await route.fulfill(status=404)
