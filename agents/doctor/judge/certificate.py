"""The certificate of the TLS listener, as clients will see it."""

from __future__ import annotations

from datetime import datetime

from agents.coturn import faults
from agents.coturn.certificate import WARN_BEFORE
from agents.coturn.faults import Kind
from agents.coturn.pair import Pair
from agents.settings import PREFIX, AgentSettings
from controlplane.wire.findings import Finding, ok, warning, wrong

NAME = "certificate"
_REMEDIES: dict[Kind, str] = {
    "files": f"Set {PREFIX}TLS_CERT to the chain and {PREFIX}TLS_KEY to its key, both of the same renewal.",
    "dates": "Renew it, and see why that did not happen by itself. Until then clients are not told of the TLS listener.",
    "name": f"Get one for the name that clients are told, or correct {PREFIX}PUBLIC_HOST.",
    "chain": f"Put the authority's intermediate certificates behind the node's own one in {PREFIX}TLS_CERT (often fullchain.pem); "
    f"name a private authority in {PREFIX}CA_FILE; public ones have to be on this host (package ca-certificates).",
}


def none(settings: AgentSettings) -> list[Finding]:
    detail = "No TLS listener is set up: clients in networks that let only TLS through cannot use this relay"
    return [ok(NAME, f"{detail} ({PREFIX}TLS_CERT and {PREFIX}TLS_KEY are not set for {settings.public_host}).")]


def judged(settings: AgentSettings, pair: Pair, *, unreadable: str | None, now: datetime) -> list[Finding]:
    """`unreadable`: why coturn's own user cannot read the files, as a sentence."""
    found = [wrong(NAME, one.words, _REMEDIES[one.kind]) for one in faults.of(pair, name=settings.public_host, now=now)]
    if unreadable is not None:
        found.append(warning(NAME, unreadable, "Let the group of coturn's user read it: chgrp turnserver, chmod 640."))
    if pair.unusable is not None:
        return found
    misplaced = faults.misplaced(pair)
    if misplaced is not None:
        detail = f"Certificate {misplaced} in {settings.tls_cert} did not issue the one before it: some clients refuse that order."
        found.append(warning(NAME, detail, "Put the node's own certificate first, and behind each one its issuer's."))
    ends_at = faults.ends_at(pair)
    days = (ends_at - now).days if ends_at is not None else 0
    if ends_at is not None and now < ends_at < now + WARN_BEFORE:
        left = f"{days} days" if days else "less than a day"
        detail = f"The certificate for {faults.names(pair)} ends in {left}, on {ends_at:%Y-%m-%d %H:%M} UTC."
        found.append(warning(NAME, detail, "See why it has not been renewed yet; a renewed one is loaded without a restart."))
    return found or [ok(NAME, f"It is for {faults.names(pair)}, clients can verify it, and it ends in {days} days.")]
