"""turnfleet netcheck: from here to every region."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from controlplane.cli.relays import RelayCaFile, authorities, end_with, probe_servers
from controlplane.cli.session import Session, emit, note
from controlplane.cli.tables import columns, print_table
from controlplane.cli.words import NOTHING, clean, say
from controlplane.client.credentials import Credentials, IssuedCredential
from controlplane.client.errors import RateLimitedError, UnavailableError
from controlplane.wire.agent_api import Transport
from controlplane.wire.ice_api import IceServer, RegionView
from controlplane.wire.probe_api import RelayFailure, UrlProbe

if TYPE_CHECKING:
    import ssl

AT_ONCE = 4
"""Regions. More would measure this machine's own queue."""
_TABLE = "region!0 round_trip>0 udp>0 tcp>0 tls>0 relayed:1 why:2"
_TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls")
_ON_THE_WAY = {RelayFailure.NO_ANSWER, RelayFailure.UNREACHABLE, RelayFailure.REFUSED, RelayFailure.CLOSED}
"""Failures of a network between here and the relay, rather than of the relay."""
_BLOCKED: dict[Transport, str] = {
    "udp": "UDP seems to be blocked from here: calls go over TCP or TLS, with more delay.",
    "tcp": "TCP to the relays' ports seems to be blocked from here: where UDP is blocked, too, only TLS is left.",
    "tls": "TLS to the relays' ports seems to be blocked from here: networks that let nothing else out will have no calls.",
}


class RegionCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One line of --json."""

    region: str
    is_operational: bool
    relayed: bool
    """Over one transport at least."""
    round_trip_milliseconds: float | None
    """The median of some STUN requests over UDP."""
    urls: list[UrlProbe]
    why: str | None
    """Why it could not be tried; None: it was."""


def netcheck(run: Session, *, relay_ca_file: RelayCaFile = None) -> None:
    """From here to every region: how far it is, and what gets through.

    Ends with 0 when everything relayed, 6 when something failed, 7 when nothing relayed.
    """
    context = authorities(run, relay_ca_file)
    regions = run.client.regions.list()
    checks = check_regions(run, regions, context)
    if run.as_json:
        for each in checks:
            emit(msgspec.json.encode(each))
    elif checks:
        print_table(columns(_TABLE), [_row(each) for each in checks])
    for sentence in sentences(checks):
        note(sentence)
    end_with([url for each in checks for url in each.urls])


def check_regions(run: Session, regions: Sequence[RegionView], context: ssl.SSLContext) -> list[RegionCheck]:
    """Takes seconds where something is silent. Raises TurnfleetError when no credential can be had at all."""
    return asyncio.run(_check_all(run, regions, context))


async def _check_all(run: Session, regions: Sequence[RegionView], context: ssl.SSLContext) -> list[RegionCheck]:
    few = asyncio.Semaphore(AT_ONCE)

    async def check(region: RegionView) -> RegionCheck:
        if not region.is_operational:
            return _untried(region, "It takes no new credentials now.")
        async with few:
            # Issued only now: a credential is good for half a minute.
            try:
                issued = await asyncio.to_thread(_issue, run, region.slug)
            except (UnavailableError, RateLimitedError) as error:
                return _untried(region, str(error))
            return await _check(region, issued.reply.ice_servers, context)

    return await asyncio.gather(*(check(region) for region in regions))


def _issue(run: Session, region: str) -> IssuedCredential:
    # A region that is full now is one to be shown, not to be waited for.
    return run.client.driver.run(replace(Credentials.issue(fixed_region=region), repeat="limited"))


async def _check(region: RegionView, servers: Sequence[IceServer], context: ssl.SSLContext) -> RegionCheck:
    round_trip = await _round_trip(servers)
    probes = await probe_servers(servers, context)
    return RegionCheck(
        region=region.slug,
        is_operational=True,
        relayed=any(each.ok for each in probes),
        round_trip_milliseconds=round_trip,
        urls=probes,
        why=None,
    )


async def _round_trip(servers: Sequence[IceServer]) -> float | None:
    from controlplane.turn.round_trips import median_round_trip
    from controlplane.turn.target import parse_url

    url = next((url for server in servers for url in server.urls if url.startswith("stun:")), None)
    if url is None:
        return None
    try:
        measured = await median_round_trip(parse_url(url))
    except ValueError:
        return None
    return measured if isinstance(measured, float) else None


def _untried(region: RegionView, why: str) -> RegionCheck:
    return RegionCheck(
        region=region.slug, is_operational=region.is_operational, relayed=False, round_trip_milliseconds=None, urls=[], why=why
    )


def sentences(checks: Sequence[RegionCheck]) -> list[str]:
    """What the whole table means for whoever sits here."""
    tried = [each for each in checks if each.urls]
    if not tried:
        return ["No region takes new credentials now: there was nothing to try."]
    if not any(each.relayed for each in tried):
        return ["Nothing relays from here: either this network lets nothing through, or no relay works. Try from elsewhere."]
    said = [_BLOCKED[transport] for transport in _TRANSPORTS if _is_blocked(transport, tried)]
    if any(url.failure is RelayFailure.TLS_UNTRUSTED for each in tried for url in each.urls):
        said.append("Certificates of relays are not trusted here. If an authority of your own signed them: --relay-ca-file.")
    return said


def _is_blocked(transport: Transport, tried: Sequence[RegionCheck]) -> bool:
    """Nowhere it got through, though each of these relays works over something else."""
    failures = [url.failure for each in tried if each.relayed for url in each.urls if url.transport == transport]
    return bool(failures) and all(failure in _ON_THE_WAY for failure in failures)


def _row(check: RegionCheck) -> list[str]:
    why = [check.why] if check.why else [f"{each.transport}: {each.words}" for each in check.urls if not each.ok]
    return [
        clean(check.region),
        say("milliseconds", check.round_trip_milliseconds),
        *(_cell([each for each in check.urls if each.transport == transport]) for transport in _TRANSPORTS),
        say("relayed", check.relayed) if check.urls else NOTHING,
        clean("; ".join(why)),
    ]


def _cell(probes: Sequence[UrlProbe]) -> str:
    """The quickest of the transport's URLs; the failure's word when none relayed."""
    took = [each.milliseconds for each in probes if each.milliseconds is not None]
    if took:
        return say("milliseconds", min(took))
    return next((each.failure.replace("_", " ") for each in probes if each.failure is not None), NOTHING)
