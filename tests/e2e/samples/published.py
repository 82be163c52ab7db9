"""Every published sample, by the name of its stored request, and what it asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.e2e.samples.expected import CLIENT_ADDRESS, Expected

__all__ = ["OTHER_CLIENTS", "SAMPLES", "stored_request", "stored_requests"]

FOLDER = Path(__file__).parent / "requests"

_ANYTHING = Expected()
_PREFERRED, _FIXED = Expected.preferred("eu-central"), Expected.fixed("eu-central")
_NEAR_THE_CLIENT = Expected.near_the_client()

SAMPLES = {
    "curl-simple": _ANYTHING,
    "curl-region-preferred": _PREFERRED,
    "curl-region-fixed": _FIXED,
    "curl-client-ip": _NEAR_THE_CLIENT,
    "curl-clients-and-room": Expected.tagged("OPTIONAL_ROOM_NAME_VALUE"),
    "httparty-simple": _ANYTHING,
    "httparty-region": _PREFERRED,
    "httparty-client-ip": _NEAR_THE_CLIENT,
    "httparty-clients-and-room": Expected.tagged("OPTIONAL_TEAM_NAME_VALUE"),
    "node-simple": _ANYTHING,
    "node-region": _FIXED,
    "node-region-preferred": _PREFERRED,
    "node-client-ip": _NEAR_THE_CLIENT,
    "node-clients-and-room": Expected.tagged("OPTIONAL_TEAM_NAME_VALUE"),
    "node-fetch-simple": _ANYTHING,
    "node-fetch-region": _FIXED,
    "node-fetch-region-preferred": _PREFERRED,
    "node-fetch-client-ip": _NEAR_THE_CLIENT,
    "node-fetch-clients-and-room": Expected.tagged("OPTIONAL_TEAM_NAME_VALUE"),
    "node-fetch2-simple": _ANYTHING,
    "node-fetch2-region": _FIXED,
    "dart-simple": _ANYTHING,
    "dart-region": _PREFERRED,
    "dart-region-fixed": _FIXED,
    "dart-client-ip": _NEAR_THE_CLIENT,
    "dart-clients-and-room": Expected.tagged("OPTIONAL_ROOM_NAME_VALUE"),
    "java-simple": _ANYTHING,
    "java-region": Expected.preferred("singapore"),
    "java-client-ip": _NEAR_THE_CLIENT,
    "java-clients-and-room": Expected.tagged("OPTIONAL_ROOM_VALUE"),
}

_ALICE_AND_BOB = Expected(initiator_client="alice", receiver_client="bob", room="room-1")

OTHER_CLIENTS = {
    "axios-null": _ANYTHING,
    "axios-region": _FIXED,
    "axios-ttl-in-query": replace(_ALICE_AND_BOB, ttl_seconds=600),
    "httparty-percent-20": replace(Expected.fixed("singapore"), ttl_seconds=120),
    "node-fetch2-no-header": Expected.fixed("singapore"),
    "python-requests-form": replace(Expected.fixed("us-east"), ttl_seconds=120),
    "turnix-dart-no-options": _ANYTHING,
    "turnix-dart-options": replace(
        _ALICE_AND_BOB,
        ttl_seconds=60,
        region="singapore",
        selection="fixed",
        fixed_region="singapore",
        client_address=CLIENT_ADDRESS,
    ),
    "turnix-js": replace(_ALICE_AND_BOB, ttl_seconds=60, region="eu-central", selection="preferred", preferred_region="eu-central"),
    "turnix-js-empty": _ANYTHING,
}
"""No samples of the documents, but client libraries and programs that are known to call the published API."""


def stored_requests() -> set[str]:
    return {file.stem for file in FOLDER.glob("*.http")}


def stored_request(name: str, *, host: str = "{{host}}", token: str = "{{token}}") -> bytes:
    stored = (FOLDER / f"{name}.http").read_bytes()
    return stored.replace(b"{{host}}", host.encode()).replace(b"{{token}}", token.encode())
