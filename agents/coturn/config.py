"""coturn's configuration as text. Pure: what is wanted in, turnserver.conf out; the same in, the same bytes out.

One file serves 4.6.1 and newer: an option that a version does not know is a warning there. Nothing here changes while coturn
runs; secrets go through the database instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from agents.coturn import peers
from agents.usage.lines import timestamp_format
from controlplane.wire.redacted import Redacted

STALE_NONCE_SECONDS = 600
MAX_ALLOCATE_LIFETIME_SECONDS = 3600
CLI_ADDRESS = "127.0.0.1"
CLI_MAX_OUTPUT_SESSIONS = 100_000
"""coturn cuts its session list at 256 unless told otherwise; 0 would show none."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only; TLS 1.3 suites are not governed by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Everything the file depends on."""

    realm: str
    listen_address: str
    relay_address: str
    external_address: str | None
    port: int
    tls_port: int
    tls_cert: Path | None
    tls_key: Path | None
    relay_ports: tuple[int, int]
    relay_threads: int | None
    cli_port: int
    cli_password: Redacted
    allow_loopback_peers: bool
    denied_peers: tuple[str, ...]
    """Addresses and first-last ranges beside those that are never allowed."""
    own_addresses: tuple[str, ...]
    """Of this host: no client has business with any but the relay address."""
    user_quota: int
    """Allocations of one credential; 0 for as many as it likes."""
    total_quota: int
    max_bytes_per_second_per_session: int | None
    database: Path
    pid_file: Path
    log_file: Path
    log_tag: str
    """What every line that coturn itself writes into its log carries, see `agents.usage.lines`."""
    user: str | None
    """Whom coturn becomes after its start; None when it starts as that user already."""
    group: str | None


def render(wanted: Wanted) -> str:
    """The whole file. Raises ValueError rather than write something that coturn would read otherwise than it is meant."""
    lines = [
        "# Written by turnfleet-agent, which replaces it: changes made here are lost.",
        f"listening-ip={wanted.listen_address}",
        f"listening-port={wanted.port}",
        *_tls(wanted),
        "no-dtls",
        f"relay-ip={wanted.relay_address}",
        *([f"external-ip={wanted.external_address}/{wanted.relay_address}"] if wanted.external_address else []),
        # Without it a client that names no family gets none from a relay that has no IPv4.
        *(["allocation-default-address-family=keep"] if ":" in wanted.relay_address else []),
        f"min-port={wanted.relay_ports[0]}",
        f"max-port={wanted.relay_ports[1]}",
        *([f"relay-threads={wanted.relay_threads}"] if wanted.relay_threads else []),
        f"realm={wanted.realm}",
        "use-auth-secret",
        f"userdb={wanted.database}",
        "fingerprint",
        f"stale-nonce={STALE_NONCE_SECONDS}",
        f"max-allocate-lifetime={MAX_ALLOCATE_LIFETIME_SECONDS}",
        # coturn counts by the part of a user name that is not the expiry, which is the credential's id.
        *([f"user-quota={wanted.user_quota}"] if wanted.user_quota else []),
        f"total-quota={wanted.total_quota}",
        # Named like bits, but they are bytes.
        *([f"max-bps={wanted.max_bytes_per_second_per_session}"] if wanted.max_bytes_per_second_per_session else []),
        "no-multicast-peers",
        "no-tcp-relay",
        "no-software-attribute",
        "no-rfc5780",
        "no-stun-backward-compatibility",
        "response-origin-only-with-rfc5780",
        "cli",
        f"cli-ip={CLI_ADDRESS}",
        f"cli-port={wanted.cli_port}",
        f"cli-password={wanted.cli_password.reveal()}",
        f"cli-max-output-sessions={CLI_MAX_OUTPUT_SESSIONS}",
        *_peers(wanted),
        f"pidfile={wanted.pid_file}",
        f"log-file={wanted.log_file}",
        "simple-log",
        "no-stdout-log",
        # Who relays how much is only told in the log.
        "verbose",
        "new-log-timestamp",
        f"new-log-timestamp-format={timestamp_format(wanted.log_tag)}",
        *([f"proc-user={wanted.user}"] if wanted.user else []),
        *([f"proc-group={wanted.group}"] if wanted.group else []),
    ]
    for line in lines[1:]:
        _lint(line)
    return "\n".join(lines) + "\n"


def digest(text: str) -> str:
    """Tells one configuration from another without showing the password in it."""
    return hashlib.sha256(text.encode()).hexdigest()


def _tls(wanted: Wanted) -> list[str]:
    if wanted.tls_cert is None or wanted.tls_key is None:
        return ["no-tls"]
    return [
        f"tls-listening-port={wanted.tls_port}",
        f"cert={wanted.tls_cert}",
        f"pkey={wanted.tls_key}",
        f"cipher-list={CIPHERS}",
        "no-tlsv1",
        "no-tlsv1_1",
    ]


def _peers(wanted: Wanted) -> list[str]:
    """Two clients of this node reach each other over its relay address, and the agent's probe its echo; nothing else here."""
    others = {one for one in (wanted.listen_address,) if one != wanted.relay_address}
    own = sorted(set(wanted.own_addresses) - {wanted.relay_address, wanted.external_address} - others)
    also = (*others, *peers.needed(own), *wanted.denied_peers)
    return [
        *(["allow-loopback-peers"] if wanted.allow_loopback_peers else []),
        f"allowed-peer-ip={wanted.relay_address}",
        *(f"denied-peer-ip={one}" for one in peers.denied(allow_loopback=wanted.allow_loopback_peers, also=also)),
    ]


def _lint(line: str) -> None:
    name, _, value = line.partition("=")
    if name in {"denied-peer-ip", "allowed-peer-ip"}:
        peers.lint(value)
    if not line.isprintable() or " " in line or "#" in line:
        # coturn has no quoting: a space or # would end the value early, and a line break would begin another option.
        raise ValueError(f"The value of {name} cannot be written into coturn's configuration.")
