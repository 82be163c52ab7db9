"""The host's own addresses, the one that clients see, and the name that they are told."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from agents.doctor.look.stun import Mapped
from agents.settings import PREFIX, AgentSettings
from controlplane.wire.findings import Finding, ok, warning, wrong

_STUN = f"Set {PREFIX}STUN_SERVER to a STUN server outside, such as another relay, to have it verified."


def own(settings: AgentSettings, addresses: Mapping[str, str]) -> list[Finding]:
    """`addresses` of this host with their interfaces; empty where they cannot be known."""
    name = "addresses"
    listed = ", ".join(f"{one} ({interface})" for one, interface in sorted(addresses.items(), key=lambda one: one[1]))
    if not addresses:
        return [warning(name, "This system does not say which addresses it has.", "Compare the settings with them by hand.")]
    found = [
        wrong(
            name,
            f"This host does not have {address}, so coturn cannot use it: it has {listed}.",
            f"Set {PREFIX}{variable} to one of them; a public address in front of this host belongs into {PREFIX}EXTERNAL_ADDRESS.",
        )
        for variable, address in (("LISTEN_ADDRESS", settings.listen_address), ("RELAY_ADDRESS", settings.relay_address))
        if address not in addresses and not (variable == "RELAY_ADDRESS" and address == settings.listen_address)
    ]
    if found:
        return found
    detail = f"coturn listens on {settings.listen_address} and relays from {settings.relay_address}; load is that of interface"
    return [ok(name, f"{detail} {settings.interface}.")]


def external(settings: AgentSettings, seen: Mapped | Exception | None) -> list[Finding]:
    """`seen` is what the STUN server said, why it did not, or None when there is none to ask."""
    name, relay, stated = "external_address", settings.relay_address, settings.external_address
    if ipaddress.ip_address(relay).is_loopback:
        return [ok(name, f"{relay} is a loopback address: this relay is for programs on this host alone.")]
    if isinstance(seen, Mapped):
        return [_seen(name, relay, stated, seen)]
    why = "no STUN server is set"
    remedy = _STUN
    if seen is not None and settings.stun_server is not None:
        host, port = settings.stun_server
        why = f"the STUN server {host} port {port} could not be asked: {_words(seen)}"
        remedy = f"Check {PREFIX}STUN_SERVER, and that this host may send UDP to it and get answers."
    if stated is not None:
        return [warning(name, f"{stated} is stated, and was not verified ({why}).", remedy)]
    if not ipaddress.ip_address(relay).is_global:
        detail = f"{relay} is not a public address, and none is stated: clients on the internet cannot reach this relay ({why})."
        return [
            warning(name, detail, f"Set {PREFIX}EXTERNAL_ADDRESS to the public address, unless all clients are in this network.")
        ]
    if seen is not None:
        return [warning(name, f"{relay} is a public address of this host itself, and was not verified ({why}).", remedy)]
    return [ok(name, f"{relay} is a public address of this host itself; it was not verified from outside ({why}).")]


def _seen(name: str, relay: str, stated: str | None, seen: Mapped) -> Finding:
    if seen.address != (stated or relay):
        told = f"{stated} is stated" if stated else f"clients are told {relay}"
        detail = (
            f"This host comes from {seen.address}, as the STUN server sees it, and {told}: clients cannot reach what it relays."
        )
        if seen.address == relay:
            return wrong(name, detail, f"Remove {PREFIX}EXTERNAL_ADDRESS: there is no NAT in front of {relay}.")
        return wrong(name, detail, f"Set {PREFIX}EXTERNAL_ADDRESS={seen.address}.")
    if stated and seen.port != seen.local_port:
        detail = (
            f"{stated} is right, but the NAT changes ports ({seen.local_port} became {seen.port}), and relay ports "
            "have to be the same outside."
        )
        return warning(name, detail, "Use a one-to-one NAT, or forward the ports of this relay unchanged.")
    return ok(name, f"A STUN server outside sees this host as {seen.address}, which is what clients are told.")


def public_host(settings: AgentSettings, resolved: Sequence[str] | Exception) -> list[Finding]:
    """`resolved`: the addresses of the name, as this host resolves it."""
    name, told = "public_host", settings.public_host
    reached = settings.external_address or settings.listen_address
    remedy = f"Correct the name's records, or {PREFIX}PUBLIC_HOST."
    if isinstance(resolved, Exception):
        return [wrong(name, f"Clients are told {told}, which has no address here: {_words(resolved)}.", remedy)]
    if not {reached, settings.listen_address}.intersection(resolved):
        detail = f"Clients are told {told}, which leads to {', '.join(resolved)}, and not to {reached}."
        return [warning(name, detail, f"{remedy} Leave it when something in between forwards to this host.")]
    return [ok(name, f"Clients are told {told}" + ("." if told in resolved else f", which leads to {', '.join(resolved)}."))]


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
