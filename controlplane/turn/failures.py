"""From an exception to the closed list of failures, and to words for people."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from typing import Literal

from controlplane.turn.client import ConnectionGoneError, NoRelayAddressError, TurnError
from controlplane.turn.names import NO_ANSWER
from controlplane.wire.probe_api import RelayFailure

Step = Literal["look up", "connect", "allocate", "bind", "echo"]
"""How far a probe came: what it was doing when it failed."""

MOST_WORDS = 200
"""Characters. Some of them are the other side's."""

_CODES = {
    400: (RelayFailure.OTHER_CODE, "400: coturn did not understand the request"),
    401: (RelayFailure.UNAUTHORIZED, "401: coturn does not accept the credential"),
    403: (RelayFailure.FORBIDDEN, "403: coturn forbids the echo as a peer"),
    437: (RelayFailure.ALLOCATION_LOST, "437: coturn lost the allocation"),
    486: (RelayFailure.QUOTA_REACHED, "486: an allocation quota is reached"),
    508: (RelayFailure.NO_RELAY_PORT, "508: coturn has no relay port left"),
}
_CODES_OF_ALLOCATE = {
    403: (RelayFailure.FORBIDDEN, "403: coturn takes no new allocations"),  # 4.6.3 and newer, while they drain
    437: (RelayFailure.ALLOCATION_LOST, "437: the port that was drawn here has an allocation still"),
}

# X509_V_ERR_… of OpenSSL's x509_vfy.h; any other is a chain that leads to nobody who is trusted.
_VERIFICATION = {
    9: RelayFailure.TLS_NOT_YET_VALID,
    10: RelayFailure.TLS_EXPIRED,
    62: RelayFailure.TLS_NAME,
    64: RelayFailure.TLS_NAME,
}


_NOT_SENT = {
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
}
"""No route, no permission or no socket on this side."""

OUR_OWN = frozenset({RelayFailure.NOT_SENT, RelayFailure.DNS_NO_ANSWER})
"""They say nothing about the relay."""


@dataclass(frozen=True, slots=True)
class Failure:
    kind: RelayFailure
    words: str


def failure_of(error: Exception, *, step: Step, deadline_seconds: float) -> Failure:
    """What a TimeoutError, an OSError or a TurnError means at that step."""
    kind, words = _kind_and_words(error, step, deadline_seconds)
    return Failure(kind, words[:MOST_WORDS])


def _kind_and_words(error: Exception, step: Step, deadline_seconds: float) -> tuple[RelayFailure, str]:
    match error:
        case TurnError(code=code) if step == "allocate" and code in _CODES_OF_ALLOCATE:
            return _CODES_OF_ALLOCATE[code]
        case TurnError(code=code):
            return _CODES.get(code, (RelayFailure.OTHER_CODE, f"{code}: coturn refused to {step}"))
        case NoRelayAddressError():
            return RelayFailure.NO_RELAY_ADDRESS, "no relay address: the allocation has none"
        case socket.gaierror(errno=number) if number in NO_ANSWER:
            return RelayFailure.DNS_NO_ANSWER, f"DNS: no answer: {error.strerror}"
        case socket.gaierror():
            return RelayFailure.DNS, f"DNS: {error.strerror or 'the name has no address'}"
        case ssl.SSLCertVerificationError():
            kind = _VERIFICATION.get(error.verify_code, RelayFailure.TLS_UNTRUSTED)
            return kind, f"TLS: {error.verify_message or 'the certificate cannot be verified'}"
        case ssl.SSLError():
            return RelayFailure.TLS_FAILED, f"TLS: {getattr(error, 'reason', None) or error.strerror or 'the handshake failed'}"
        case TimeoutError():
            return _time_out(step, deadline_seconds)
        case ConnectionRefusedError():
            return RelayFailure.REFUSED, "refused: nothing listens there"
        case ConnectionGoneError() | ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return RelayFailure.CLOSED, f"{step}: the server closed the connection"
        case OSError(errno=number) if number in _NOT_SENT:
            return RelayFailure.NOT_SENT, f"{step}: this machine cannot send there: {error.strerror}"
        case _:
            strerror = error.strerror if isinstance(error, OSError) else None
            return RelayFailure.UNREACHABLE, f"{step}: {strerror or str(error) or type(error).__name__}"


def _time_out(step: Step, deadline_seconds: float) -> tuple[RelayFailure, str]:
    within = f"within {deadline_seconds:g} s"
    if step == "look up":
        return RelayFailure.DNS_NO_ANSWER, f"DNS: no answer {within}"
    return (RelayFailure.NO_ECHO, f"no echo {within}") if step == "echo" else (RelayFailure.NO_ANSWER, f"no answer {within}")
