"""Messages between an agent and the control plane: join, heartbeat, usage, leave. JSON over HTTPS, `Authorization: Bearer tfn_…`.

Rates are per second, measured by the agent over its last interval. `None` always means "not known", never zero.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

from controlplane.wire.version import PROTOCOL_VERSION

Transport = Literal["udp", "tcp", "tls"]
CoturnState = Literal["starting", "running", "dead", "stopped"]
CapacitySource = Literal["stated", "link", "assumed"]
Intent = Literal["active", "cordoned", "draining"]

Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+\Z")]
Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:_-]+\Z")]
ShortText = Annotated[str, Meta(max_length=200)]
Opaque = Annotated[str, Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9_-]+\Z")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Rate = Annotated[float, Meta(ge=0, le=1e15)]
Ratio = Annotated[float, Meta(ge=0, le=1e6)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Version = Annotated[int, Meta(ge=1, le=2**31)]
Generation = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Instant = Annotated[float, Meta(ge=0, le=1e11)]
"""Unix seconds."""
CredentialId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]


class Listener(Struct, frozen=True, kw_only=True):
    """A server transport address (RFC 8656 §2) that the node really serves. `host` is what clients are told."""

    transport: Transport
    host: Host
    port: Port


class Load(Struct, frozen=True, kw_only=True):
    """What the node is doing now, from interface counters, coturn's CLI and the host."""

    receive_bits_per_second: Rate
    transmit_bits_per_second: Rate
    receive_packets_per_second: Rate
    transmit_packets_per_second: Rate
    allocations: Count
    """Live allocations by coturn's own count."""
    cpu_ratio: Ratio
    """Busy share of all cores of the host, 0 … 1."""
    memory_ratio: Ratio
    """Share of the host's memory that is in use, 0 … 1."""
    open_files: Count
    """File descriptors that coturn holds."""
    open_files_limit: Count
    """How many it may hold; 0 when not known."""


class Capacity(Struct, frozen=True, kw_only=True):
    """What the node can carry. Each resource is compared with the larger of its two directions."""

    bits_per_second: Annotated[float, Meta(ge=1e3, le=1e15)]
    allocations: Annotated[int, Meta(ge=1, le=2**31)]
    """Relay ports, or coturn's total quota where that is smaller."""
    source: CapacitySource
    """Where bits_per_second comes from: the operator, the interface's link speed, or the default of 1 Gbit/s."""
    packets_per_second: Annotated[float, Meta(ge=1, le=1e12)] | None = None
    """None: not stated, so packets do not limit the node."""


class ListenerProbe(Struct, frozen=True, kw_only=True):
    """One real Allocate and one echoed packet through one listener."""

    transport: Transport
    ok: bool
    milliseconds: Rate | None = None
    """Allocate and echo together; None when it failed."""
    failure: ShortText | None = None
    """In words; None when it went well."""


class Probe(Struct, frozen=True, kw_only=True):
    """The agent's own readiness probe. `ok` is true when every listener's latest probe went well."""

    ok: bool
    age_seconds: Seconds
    listeners: Annotated[list[ListenerProbe], Meta(max_length=8)]


class Coturn(Struct, frozen=True, kw_only=True):
    """The TURN server process. `boot_id` is new at each start of coturn, so that a death nobody saw is still seen."""

    state: CoturnState
    version: ShortText | None = None
    boot_id: Opaque | None = None
    started_age_seconds: Seconds | None = None


class LoadedSecret(Struct, frozen=True, kw_only=True):
    """A secret version that is in coturn's database now. `digest` is secret_digest() of it."""

    version: Version
    digest: Annotated[str, Meta(min_length=16, max_length=16, pattern=r"^[0-9a-f]+\Z")]


class Heartbeat(Struct, frozen=True, kw_only=True):
    """What is. Sent every interval, and at once when something turns bad."""

    boot_id: Opaque
    """Which run of the agent."""
    sequence: Annotated[int, Meta(ge=1, le=2**53)]
    """Which heartbeat of that run: a retry carries a new one."""
    sent_at: Annotated[float, Meta(ge=0, le=1e11)]
    """The node's clock when this was sent, Unix seconds: data about the node, never authority."""
    coturn: Coturn
    load: Load
    capacity: Capacity
    listeners: Annotated[list[Listener], Meta(max_length=8)]
    secrets: Annotated[list[LoadedSecret], Meta(max_length=16)]
    probe: Probe | None = None
    """None: no probe finished yet in this run of the agent."""
    agent_version: ShortText = ""
    protocol_version: int = PROTOCOL_VERSION
    denied_up_to: Count = 0
    """The highest denial number that the node enforces; 0: it holds none, and needs all."""
    allocations_started: Count | None = None
    """By clients, the agent's own probes left out, in this run of the agent. None: it does not count them."""
    certificate_ends_at: Instant | None = None
    """When the certificate that coturn serves, or one of its issuers', comes to its end. None: there is none that can be read."""
    coturn_generation: Generation = 0
    """The newest `coturn_generation` of a reply that coturn was stopped for, to start anew; 0: none yet."""
    coturn_failure: ShortText | None = None
    """What went wrong with that restart, in a sentence; None: nothing."""


class NodeSecret(Struct, frozen=True, kw_only=True):
    """A secret version in the clear: only in a reply to the node it belongs to."""

    version: int
    secret: str

    def __repr__(self) -> str:
        return f"NodeSecret(version={self.version}, secret=[redacted])"


class Denial(Struct, frozen=True, kw_only=True):
    """A credential that may relay nothing more on this node."""

    credential_id: str
    expires_at: float
    """Unix seconds. After it coturn refuses new allocations by itself; live ones are ended all the same."""


class DenialsDelta(Struct, frozen=True, kw_only=True):
    """What was denied since the heartbeat's `denied_up_to`. `up_to` below it: the numbers began anew, forget and ask for all."""

    up_to: int
    denials: list[Denial]


class HeartbeatReply(Struct, frozen=True, kw_only=True):
    """What should be. Applying it twice changes nothing."""

    interval_seconds: float
    """When the next heartbeat is due."""
    intent: Intent
    realm: str
    secret_versions: list[int]
    """The versions that coturn's database shall hold: these and no others."""
    secrets: list[NodeSecret] | None = None
    """Those versions in the clear. None: what the heartbeat reported is already right, keep it."""
    server_at: float
    """The control plane's clock, Unix seconds."""
    denied: DenialsDelta | None = None
    """None: nothing since the heartbeat's `denied_up_to`."""
    wanted_at: Instant = 0
    """When the control plane last knew this to be what it wants. The agent keeps to the newest that it was told: a replica that is
    cut off from PostgreSQL may want what nobody wants any more. 0: always taken."""
    end_allocations: bool = False
    """End every live allocation, and go on doing so: the deadline of a drain has passed."""
    node_token: str | None = None
    """The node's next token: keep it on disk beside the one so far, then show it, which ends the other. None: there is none."""
    coturn_generation: Generation = 0
    """Higher than what the node has: coturn is to be stopped and started anew, with the program and files of that moment.
    0: nothing is asked, as of any node that is not drained."""

    def __repr__(self) -> str:
        return f"HeartbeatReply(intent={self.intent!r}, secret_versions={self.secret_versions!r}, secrets=[redacted])"


class AllocationReport(Struct, frozen=True, kw_only=True):
    """One TURN allocation as coturn told of it. Totals, not differences: a report that comes twice changes nothing."""

    coturn_boot_id: Opaque
    session_id: Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^[0-9]+\Z")]
    """coturn's own number of it: unique only together with the boot, since it begins anew at each start."""
    started_at: Instant
    revision: Annotated[int, Meta(ge=1, le=2**53)]
    """Grows with every change of this allocation's report; a lower one than is stored is stale."""
    credential_id: CredentialId | None = None
    """From the TURN username; None when that is none of ours."""
    credential_expires_at: Instant | None = None
    client_address: Annotated[str, Meta(max_length=45)] | None = None
    transport: Transport | None = None
    bytes_from_client: Count = 0
    """TURN and channel headers included, as coturn counts."""
    bytes_to_client: Count = 0
    packets_from_client: Count = 0
    packets_to_client: Count = 0
    bits_per_second: Rate = 0
    """Both directions, over the agent's last measurement of this allocation."""
    ended_at: Instant | None = None
    """None: it lives."""
    end_reason: ShortText | None = None


class UsageReport(Struct, frozen=True, kw_only=True):
    """POST /agents/usage: at least once, in any order. Answered 200 only when all of it is stored for good."""

    allocations: Annotated[list[AllocationReport], Meta(max_length=500)]
    ask: Annotated[list[CredentialId], Meta(max_length=500)] = []
    """Credentials with live allocations whose rule the node does not know yet."""


class CredentialRule(Struct, frozen=True, kw_only=True):
    """How long and how much the holder of a credential may relay on this node: its project's settings."""

    credential_id: str
    end_at_expiry: bool
    """End its live allocations when the credential expires. coturn never does."""
    max_allocations: int | None
    """At the same time; None: only coturn's own user-quota."""
    max_bits_per_second: int | None
    """All its allocations together, both directions; None: only coturn's own max-bps."""


class UsageReply(Struct, frozen=True, kw_only=True):
    rules: list[CredentialRule]
    """For every credential of the report's allocations and of `ask` whose record is known here; the others: ask again."""


class JoinRequest(Struct, frozen=True, kw_only=True):
    """A one-time join token for a node's identity. Needs no Authorization header."""

    join_token: Annotated[str, Meta(min_length=8, max_length=200)]
    join_nonce: Opaque
    """Made by the agent and kept on its disk: the same token and nonce may ask again when the reply was lost."""
    name: Name
    agent_version: ShortText = ""
    protocol_version: int = PROTOCOL_VERSION


class JoinReply(Struct, frozen=True, kw_only=True):
    node_id: str
    node_token: str
    """Shown here only; the agent keeps it in a file of mode 0600."""
    region: str
    realm: str
    interval_seconds: float

    def __repr__(self) -> str:
        return f"JoinReply(node_id={self.node_id!r}, region={self.region!r}, node_token=[redacted])"


class LeaveRequest(Struct, frozen=True, kw_only=True):
    """Goodbye: the node takes no new clients from now on. Answered 204."""

    boot_id: Opaque
    sequence: Annotated[int, Meta(ge=1, le=2**53)]
    reason: ShortText = ""


def secret_digest(secret: str) -> str:
    """A fingerprint of a node secret, 16 hex digits, for drift checks.

    The secrets have 256 bits, so the first 64 bits of a SHA-256 tell nothing about them.
    """
    return hashlib.sha256(b"turnfleet/digest/" + secret.encode()).hexdigest()[:16]
