"""Does a listener relay? One real Allocate, and one packet through the relay and back."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.turn.client import CredentialPair, TurnClient, TurnError
from controlplane.turn.connecting import connect, give_back, look_up
from controlplane.turn.failures import Failure, Step, failure_of
from controlplane.turn.target import Target, parse_url
from controlplane.wire.probe_api import RelayFailure, UrlProbe

DEADLINE_SECONDS = 5.0
"""For all of it. Of two packets that are lost one after the other over a slow link, a third one arrives still."""
_PACKET_BYTES = 24
_MISMATCH = 437
"""The port that was drawn here has an allocation still, for a second after its release: draw another (RFC 8656 §7.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoPeer:
    """Somebody the relay can reach, who sends back what begins with the tag."""

    address: tuple[str, int]
    tag: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    failure: Failure | None
    """None: the packet came back."""
    took: Mapping[Step, float] = field(default_factory=dict)
    """Milliseconds of each step that was done."""
    certificate_expires_at: datetime | None = None

    @property
    def milliseconds(self) -> float | None:
        return None if self.failure else round(sum(self.took.values()), 3)


async def relay_packet(
    target: Target,
    *,
    credential: CredentialPair,
    context: ssl.SSLContext | None,
    echo: EchoPeer | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Outcome:
    """Never raises for what a relay can do wrong. `context` is for TLS; without one, a TLS listener cannot be tried.

    Without an echo the allocation is its own peer: the relay sends the packet to the relayed address, which is the same
    allocation's. So nothing else has to be reachable for the relay, and no second allocation counts for a quota.
    """
    client = TurnClient.of(credential)
    took: dict[Step, float] = {}
    clock = _Clock(took)
    failure: Failure | None = None
    step: Step = "look up"
    try:
        try:
            async with asyncio.timeout(deadline_seconds):
                addresses = await look_up(target)
                for is_last in (False, True):
                    step = "connect"
                    await connect(client, target, addresses, context)
                    clock.done(step)
                    step = "allocate"
                    try:
                        relayed = await client.allocate()
                        break
                    except TurnError as error:
                        if is_last or error.code != _MISMATCH:
                            raise
                    client.close()
                    client, clock = TurnClient.of(credential), _Clock(took)
                clock.done(step)
                step = "bind"
                await client.bind(relayed if echo is None else echo.address)
                clock.done(step)
                step = "echo"
                await client.exchange((b"" if echo is None else echo.tag) + secrets.token_bytes(_PACKET_BYTES))
                clock.done(step)
        except (TimeoutError, OSError, TurnError) as error:
            failure = failure_of(error, step=step, deadline_seconds=deadline_seconds)
        if "allocate" in took:
            await give_back(client)
        return Outcome(failure=failure, took=took, certificate_expires_at=client.certificate_expires_at)
    finally:
        client.close()


async def probe_url(
    url: str, *, credential: CredentialPair, context: ssl.SSLContext | None, deadline_seconds: float = DEADLINE_SECONDS
) -> UrlProbe:
    """A TURN URL as an application got it."""
    try:
        target = parse_url(url)
    except ValueError as error:
        return told(url, None, Outcome(failure=Failure(RelayFailure.URL_UNUSABLE, str(error))))
    outcome = await relay_packet(target, credential=credential, context=context, deadline_seconds=deadline_seconds)
    return told(url, target, outcome)


def told(url: str, target: Target | None, outcome: Outcome) -> UrlProbe:
    def took(step: Step) -> float | None:
        return None if step not in outcome.took else round(outcome.took[step], 3)

    return UrlProbe(
        url=url,
        transport=None if target is None else target.transport,
        ok=outcome.failure is None,
        milliseconds=outcome.milliseconds,
        connect_milliseconds=took("connect"),
        allocate_milliseconds=took("allocate"),
        round_trip_milliseconds=took("echo"),
        failure=None if outcome.failure is None else outcome.failure.kind,
        words=None if outcome.failure is None else outcome.failure.words,
        certificate_expires_at=outcome.certificate_expires_at,
    )


class _Clock:
    """Writes down how long each step took."""

    def __init__(self, took: dict[Step, float]) -> None:
        self._took = took
        self._began = time.perf_counter()

    def done(self, step: Step) -> None:
        now = time.perf_counter()
        self._took[step] = (now - self._began) * 1000
        self._began = now
