"""What `turnfleet doctor` makes of what it read: findings, each a sentence and what to do. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from controlplane.cli.doctor_look import Way
from controlplane.cli.netcheck import RegionCheck, sentences
from controlplane.cli.words import say, say_instant
from controlplane.wire.findings import Finding, ok, warning, wrong
from controlplane.wire.fleet_api import FleetRegionView, NodeView, OpenProblem, Readiness
from controlplane.wire.rotation_api import MasterKeyView
from controlplane.wire.tenants_api import TokenView

NEEDED_SCOPES = ("fleet:read", "fleet:operate")
LOCAL = ("127.0.0.1", "localhost", "::1")
_GOOD = 200
_WRONG_OFFSET_SECONDS = 5.0
"""As the agent's doctor has it: from here on relays refuse what is signed, or keep it for too long."""
_WARN_OFFSET_SECONDS = 2.0
_TOKEN_ENDS = timedelta(days=14)
_CERTIFICATE_ENDS = timedelta(days=21)
"""ACME clients renew a certificate of 90 days at 30: less than 21 left means that they do not."""
_NAMED = 5


def way(url: str, seen: Way) -> list[Finding]:
    if seen.failure:
        remedy = (
            "Check the URL of the profile, that the control plane runs, and that firewalls and proxies let this machine reach it."
        )
        return [wrong("api", f"{url} cannot be reached: {seen.failure}.", remedy)]
    if seen.status != _GOOD:
        return [
            wrong("api", f"{url}/healthz was answered with status {seen.status}.", "Check the URL, and the proxy before the API.")
        ]
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        return [warning("api", f"{url} answered, in clear text: who listens in between gets the token.", "Use https.")]
    return [ok("api", f"{url} answered within {seen.seconds * 1000:.0f} ms.")]


def clock(offset: float | None) -> list[Finding]:
    if offset is None:
        return []
    if abs(offset) < _WARN_OFFSET_SECONDS:
        return [ok("clock", "This machine's clock and the API's agree.")]
    made = wrong if abs(offset) >= _WRONG_OFFSET_SECONDS else warning
    detail = f"This machine's clock is {offset:+.0f} s off the API's."
    return [made("clock", detail, "Have both set by NTP (timedatectl set-ntp true, or chrony).")]


def version(here: str, there: str | None) -> list[Finding]:
    if there is None:
        return [
            warning("version", "The API does not say its version.", "Check the proxy before it: /openapi.json must be passed on.")
        ]
    if there == here:
        return [ok("version", f"The API and this program are both {here}.")]
    return [
        warning(
            "version", f"The API is {there}, this program is {here}.", f"Install the same: pip install 'turnfleet[cli]=={there}'"
        )
    ]


def certificate(ends: datetime | str | None, *, now: datetime) -> list[Finding]:
    if ends is None:
        return []
    if isinstance(ends, str):
        return [
            warning("certificate", f"The API's certificate could not be read: {ends}.", "Look at what ends TLS before the API.")
        ]
    detail = f"The API's certificate ends at {say_instant(ends)}."
    return (
        [ok("certificate", detail)] if ends - now > _CERTIFICATE_ENDS else [warning("certificate", detail, "Have it renewed now.")]
    )


def token(kind: str | None, seen: TokenView | None, *, now: datetime) -> list[Finding]:
    """`seen` is None where the token may not look at itself."""
    if seen is None:
        detail = f"The {kind or 'unknown'} token is valid; it may not look at itself, so its scopes and its end are not known."
        return [warning("token", detail, "Give it the scope tokens:manage, or ask who made it.")]
    missing = [scope for scope in NEEDED_SCOPES if scope not in seen.scopes]
    if missing:
        remedy = "Log in with an operator token that has them: turnfleet token create NAME --kind operator --scope fleet:read …"
        return [warning("token", f"The token {seen.name!r} lacks {' and '.join(missing)}.", remedy)]
    if seen.expires_at is not None and seen.expires_at - now < _TOKEN_ENDS:
        return [
            warning(
                "token", f"The token {seen.name!r} ends at {say_instant(seen.expires_at)}.", f"turnfleet token rotate {seen.id}"
            )
        ]
    ends = "never ends" if seen.expires_at is None else f"ends at {say_instant(seen.expires_at)}"
    return [ok("token", f"The {seen.kind} token {seen.name!r} {ends}.")]


def readiness(seen: Readiness | None) -> list[Finding]:
    if seen is None:
        return [warning("ready", "/readyz did not say whether the replica is ready.", "Check the proxy before the API.")]
    found = [wrong("ready", reason, "See docs/runbooks.md: a replica is not ready.") for reason in seen.reasons]
    found += [
        warning("ready", reason, "Credentials are issued still; mend it before something else breaks.") for reason in seen.degraded
    ]
    return found or [ok("ready", "The replica that answered is ready.")]


def regions(seen: Sequence[FleetRegionView]) -> list[Finding]:
    if not seen:
        return [wrong("regions", "There are no regions.", "Make one: turnfleet region put --help")]
    found = []
    for each in seen:
        if not each.nodes:
            remedy = f"turnfleet node join-token --region {each.slug}"
            found.append(warning("regions", f"{each.slug} has no node.", remedy))
        elif not each.is_operational:
            remedy = f"turnfleet region show {each.slug}"
            found.append(wrong("regions", f"None of the {each.nodes} nodes of {each.slug} takes new clients.", remedy))
        elif not each.eligible_nodes:
            detail = f"{each.slug} takes new clients only because the last nodes of a region are not spared: none is eligible."
            found.append(warning("regions", detail, f"turnfleet region show {each.slug}"))
    return found or [ok("regions", f"All {len(seen)} regions take new clients.")]


def problems(seen: Sequence[OpenProblem]) -> list[Finding]:
    """Without regions that take no clients, which have findings of their own."""
    found = []
    for each in seen:
        of_region = each.region is not None and each.node_id is None
        if of_region and each.severity == "critical":
            continue
        made = wrong if each.severity == "critical" else warning
        if each.node_id:
            remedy = f"turnfleet node show {each.node_id}"
        else:
            remedy = f"turnfleet region rolls --region {each.region}" if of_region else "See docs/runbooks.md."
        found.append(made("problems", each.what, remedy))
    return found or [ok("problems", "The overview has no open problems of nodes or stores.")]


def agents(nodes: Sequence[NodeView], there: str | None) -> list[Finding]:
    """Agents and API one version apart understand each other; a fleet of many versions is one that nobody upgraded."""
    others: dict[str, list[str]] = defaultdict(list)
    for each in nodes:
        if each.agent_version is not None and there is not None and each.agent_version != there:
            others[each.agent_version or "an unnamed version"].append(each.name)
    return [
        warning("agents", f"The agents of {_named(names)} are {agent}, the API is {there}.", "Upgrade turnfleet on those hosts.")
        for agent, names in sorted(others.items())
    ] or [ok("agents", "No agent has another version than the API.")]


def coturns(nodes: Sequence[NodeView]) -> list[Finding]:
    exposed: dict[str, list[NodeView]] = defaultdict(list)
    for each in nodes:
        if each.coturn_advisories:
            exposed[each.coturn_version or ""].append(each)
    found = []
    for coturn, those in sorted(exposed.items()):
        faults = "; ".join(f"{each.id}: {each.effect} (mended in {each.mended_in})" for each in those[0].coturn_advisories)
        detail = f"coturn {coturn} on {_named(each.name for each in those)} has known faults. {faults}."
        remedy = "Install a newer coturn there; a distribution may have mended them under the same number."
        found.append(warning("coturn", detail, remedy))
    return found or [ok("coturn", "No node runs a coturn with a fault that is known here.")]


def master_key(seen: MasterKeyView) -> list[Finding]:
    found = []
    if seen.processes_with_another:
        detail = f"{seen.processes_with_another} processes have another TURNFLEET_MASTER_KEY than the fleet uses."
        found.append(
            warning("master_key", detail, "Give all of them the same, with the one before as TURNFLEET_MASTER_KEY_PREVIOUS.")
        )
    if seen.nodes or seen.webhooks:
        detail = f"{seen.nodes} nodes and {seen.webhooks} webhooks need another master key than the one in use."
        found.append(warning("master_key", detail, "Keep TURNFLEET_MASTER_KEY_PREVIOUS until turnfleet secret master-key says 0."))
    return found or [ok("master_key", f"Everything comes from the master key {seen.key_id}.")]


def relays(checks: Sequence[RegionCheck]) -> list[Finding]:
    """From this machine, as its clients would."""
    found = []
    for each in checks:
        failed = [f"{url.transport}: {url.words}" for url in each.urls if not url.ok]
        if each.why is not None:
            found.append(warning("relays", f"{each.region} was not tried: {each.why}", f"turnfleet region show {each.region}"))
        elif not each.relayed:
            found.append(wrong("relays", f"{each.region} does not relay from here ({'; '.join(failed)}).", "turnfleet netcheck"))
        elif failed:
            found.append(
                warning("relays", f"{each.region} relays from here, but not over all ({'; '.join(failed)}).", "turnfleet netcheck")
            )
        else:
            trip = say("milliseconds", each.round_trip_milliseconds)
            found.append(ok("relays", f"{each.region} relays from here over all its listeners; the round trip is {trip}."))
    return found + [warning("relays", sentence, "Try from another network, too.") for sentence in sentences(checks) if checks]


def _named(names: Iterable[str]) -> str:
    every = sorted(names)
    return ", ".join(every[:_NAMED]) + (f" and {len(every) - _NAMED} more" if len(every) > _NAMED else "")
