"""Whether the control plane can be reached, why not, and whether its clock and this host's agree."""

from __future__ import annotations

import ssl
from http.client import HTTPException
from ipaddress import ip_address
from urllib.parse import urlsplit

from agents.doctor.look.origin import PATH, OriginFacts
from agents.errors import SettingsError
from agents.settings import PREFIX
from controlplane.wire.findings import Finding, ok, warning, wrong

WRONG_OFFSET_SECONDS = 5.0
"""From here on the control plane takes the node out: coturn judges by its own clock when a credential ends."""
WARN_OFFSET_SECONDS = 2.0
_OK, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = 200, 300, 400, 500
_NTP = "Have the clock set by NTP (timedatectl set-ntp true, or chrony)."


def reached(facts: OriginFacts) -> list[Finding]:
    """One finding about the way, and one about the clocks when there was an answer."""
    return [_way(facts), *_clock(facts)]


def _way(facts: OriginFacts) -> Finding:
    name, origin = "control_plane", facts.origin
    if facts.step != "done":
        return wrong(name, f"{origin}: {_failure(facts)}.", _REMEDIES[facts.step])
    took = f"within {facts.seconds * 1000:.0f} ms"
    if facts.status >= _SERVER_ERROR:
        remedy = "Look at the control plane and the proxy before it."
        return wrong(name, f"{origin}: {PATH} was answered with status {facts.status} {took}.", remedy)
    if _REDIRECT <= facts.status < _CLIENT_ERROR:
        detail = (
            f"{origin}: {PATH} was answered with a redirection to {facts.location or 'nowhere'}, which the agent does not follow."
        )
        return wrong(name, detail, f"Set {PREFIX}URL to where it leads.")
    if not facts.is_turnfleet:
        detail = f"{origin}: {PATH} was answered with status {facts.status} {took}, and not as a turnfleet control plane does."
        return wrong(name, detail, f"Check {PREFIX}URL, and that the proxy passes {PATH} on.")
    if origin.startswith("http://") and not _is_loopback(origin):
        return warning(
            name, f"{origin} answered {took}, in clear text: who listens in between gets the node's token.", "Use https."
        )
    return ok(name, f"{origin} answered {took}.")


_REMEDIES = {
    "name": f"Check {PREFIX}URL, and the name servers in /etc/resolv.conf.",
    "connection": f"Check {PREFIX}URL, that the control plane runs, and that firewalls let this host reach it.",
    "tls": f"Check the control plane's certificate and this host's clock; name private authorities in {PREFIX}CA_FILE.",
    "answer": f"Check that {PREFIX}URL has the right scheme and port, and look at the proxy in between.",
}


def _failure(facts: OriginFacts) -> str:
    error = facts.error
    parts = urlsplit(facts.origin)
    where = f"port {parts.port or (443 if parts.scheme == 'https' else 80)} of {', '.join(facts.addresses)}"
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    match facts.step, error:
        case "name", _:
            return f"the name {parts.hostname} cannot be resolved ({why})"
        case "connection", ConnectionRefusedError():
            return f"nothing listens at {where} (connection refused)"
        case "connection", TimeoutError():
            return f"{where} does not answer: the packets are lost on the way"
        case "connection", _:
            return f"{where} cannot be reached ({why})"
        case "tls", ssl.SSLCertVerificationError():
            return f"its certificate cannot be verified ({error.verify_message.rstrip('.')})"
        case "tls", SettingsError():
            return str(error).rstrip(".")
        case "tls", ssl.SSLError():
            return f"the TLS handshake failed ({error.reason or why}), as where a port does not speak TLS"
        case "tls", _:
            return f"the TLS handshake failed ({why})"
        case _, TimeoutError():
            return "the connection was taken, and no answer came"
        case _, HTTPException() if not isinstance(error, ConnectionError):
            return f"the answer is not HTTP ({type(error).__name__})"
        case _:
            return f"the connection was closed before an answer came ({why})"


def _clock(facts: OriginFacts) -> list[Finding]:
    name, offset = "clock", facts.clock_offset_seconds
    if facts.step != "done":
        return []
    if offset is None:
        return [warning(name, f"{facts.origin} does not tell its clock, so this host's was not compared.", _NTP)]
    least = max(0.0, abs(offset) - facts.clock_error_seconds)
    way = "ahead of" if offset > 0 else "behind"
    about = f"give or take {facts.clock_error_seconds:.1f} s"
    if least <= WARN_OFFSET_SECONDS:
        return [ok(name, f"This host's clock is that of {facts.origin}: {offset:+.1f} s, {about}.")]
    detail = f"This host's clock is {abs(offset):.1f} s {way} that of {facts.origin}, {about}"
    if least <= WRONG_OFFSET_SECONDS:
        return [warning(name, f"{detail}; from {WRONG_OFFSET_SECONDS:g} s on the node gets no clients.", _NTP)]
    return [wrong(name, f"{detail}: coturn refuses credentials too early or too late, and the node gets no clients.", _NTP)]


def _is_loopback(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
