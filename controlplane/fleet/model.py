"""What the fleet consists of: regions, nodes, what a node reported, and the closed lists of states and reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Health(StrEnum):
    """What was observed."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class HealthReason(StrEnum):
    """Why a node has its health: the closed list."""

    REPORTING = "reporting"
    HELD = "held"
    """Silent, but the silence is ours: this replica cannot see the fleet."""
    NEVER_REPORTED = "never_reported"
    RETURNING = "returning"
    """Good again, but not yet for two reports in a row since its start, its death or its silence."""
    REPORT_LATE = "report_late"
    UNPRODUCTIVE = "unproductive"
    """It was given many clients and reports no new allocation."""
    LEASE_EXPIRED = "lease_expired"
    COTURN_DEAD = "coturn_dead"
    PROBE_MISSING = "probe_missing"
    PROBE_FAILED = "probe_failed"
    OUTSIDE_PROBE_FAILED = "outside_probe_failed"
    """Its agent says that all is well, and nothing relays for the control plane."""
    QUARANTINED = "quarantined"
    """It failed from outside again and again: held down until a time."""
    SECRETS_WITHDRAWN = "secrets_withdrawn"
    """A drain has taken coturn's secrets: it refuses everybody, its agent's probe included."""
    CLOCK_OFFSET = "clock_offset"
    GOODBYE = "goodbye"


class Intent(StrEnum):
    """What the operator wants."""

    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINING = "draining"


class Ineligibility(StrEnum):
    """Why a node is not selected for new credentials: the closed list. A node without any of these is eligible."""

    UNKNOWN = "unknown"
    DOWN = "down"
    CORDONED = "cordoned"
    DRAINING = "draining"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a reason, not a secret
    """coturn holds none of the versions that may sign."""
    LISTENER_MISSING = "listener_missing"
    SATURATED = "saturated"


class CoturnState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    DEAD = "dead"
    STOPPED = "stopped"


class Transport(StrEnum):
    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    slug: str
    name: str
    city: str
    country: str
    """ISO 3166-1 alpha-2."""
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A node's way out of service, as far as it has come. Instants are PostgreSQL's."""

    since_at: datetime
    deadline_at: datetime
    """When its secrets are withdrawn at the latest."""
    force: bool
    """Whether allocations that are left at the deadline are ended, or run out by themselves."""
    withdrawn_at: datetime | None = None
    """Since when coturn shall hold no secret."""
    drained_at: datetime | None = None
    """When no allocation was left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A managed relay host as the operator knows it: from PostgreSQL, not from its reports."""

    node_id: str
    name: str
    region: str
    intent: Intent = Intent.ACTIVE
    intent_reason: str = ""
    intent_at: datetime | None = None
    intent_by: str = ""
    """The id of the token that asked for it; empty: nobody did yet."""
    drain: Drain | None = None
    """While it is draining."""
    secret_versions: tuple[int, ...] = (1,)
    """Versions that may be signed with, or were."""
    secret_staged_at: datetime | None = None
    """When the newest of them was first wanted; None: when the node joined."""
    secret_signing_since: datetime | None = None
    """Since when the newest is known to sign, while there are older ones."""
    rotation_wanted: bool = False
    """Another rotation waits for this one's end."""
    secret_floor: int = 1
    """Older versions are not to be trusted any more."""
    secret_keys: tuple[tuple[int, str], ...] = ()
    """(version, id of a master key): that version is the first that comes from that key. Ascending."""
    unknown_versions: frozenset[int] = frozenset()
    """Those of a master key that this process does not have: it can neither sign with them nor judge what coturn holds."""
    token_sha256: bytes = b""
    token_generation: int = 0
    """How many tokens it had before this one."""
    token_at: datetime | None = None
    """Since when it has this one."""
    token_wanted_at: datetime | None = None
    """Since when it is offered the next one, which works beside this one; None: it is not."""
    joined_at: datetime | None = None
    coturn_generation: int = 0
    """Which start of coturn was asked for last."""

    @property
    def wanted_versions(self) -> tuple[int, ...]:
        """Versions that coturn shall hold: none once a drain has withdrawn them."""
        return () if self.drain is not None and self.drain.withdrawn_at is not None else self.secret_versions

    @property
    def wanted_generation(self) -> int:
        """The start of coturn that its agent is to be at; 0: any. Of a drained node alone: an agent that lost its count must break
        no call.
        """
        return self.coturn_generation if self.drain is not None and self.drain.drained_at is not None else 0

    def key_of(self, version: int) -> str | None:
        """The id of the master key that a version comes from; None: of the first key that there ever was."""
        return next((key for first, key in reversed(self.secret_keys) if first <= version), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    transport: Transport
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Measured by the agent over its last interval."""

    receive_bits_per_second: float
    transmit_bits_per_second: float
    receive_packets_per_second: float
    transmit_packets_per_second: float
    allocations: int
    cpu_ratio: float
    memory_ratio: float
    open_files: int
    open_files_limit: int

    @property
    def bits_per_second(self) -> float:
        """The busier direction: an interface carries both at once."""
        return max(self.receive_bits_per_second, self.transmit_bits_per_second)

    @property
    def packets_per_second(self) -> float:
        return max(self.receive_packets_per_second, self.transmit_packets_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    bits_per_second: float
    allocations: int
    source: str
    packets_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerProbe:
    transport: Transport
    ok: bool
    milliseconds: float | None
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    ok: bool
    age_seconds: float
    listeners: tuple[ListenerProbe, ...] = ()

    @property
    def failure(self) -> str:
        """The first listener's failure in words; empty when there is none."""
        return next((f"{each.transport}: {each.failure}" for each in self.listeners if not each.ok), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a node said of itself in one heartbeat, checked and translated."""

    boot_id: str
    sequence: int
    clock_offset_seconds: float
    """The node's clock minus ours: the larger of this report's and the one before's measurement (see heartbeat.accept)."""
    coturn_state: CoturnState
    coturn_version: str | None
    coturn_boot_id: str | None
    probe: Probe | None
    load: Load
    capacity: Capacity
    listeners: tuple[Listener, ...]
    secret_versions: tuple[int, ...]
    """Versions that coturn holds with the right value."""
    secrets_drifted: bool = False
    """coturn holds a wrong value, or versions that it should not."""
    agent_version: str = ""
    goodbye: bool = False
    coturn_started_age_seconds: float | None = None
    clock_offset_measured_seconds: float | None = None
    """This report's own measurement, transit and our delay included; None before it was taken in."""
    denied_up_to: int = 0
    """The highest number of a denial that the node enforces; 0: none."""
    allocations_started: int | None = None
    """By clients, in this run of the agent. None: it does not count them."""
    certificate_ends_at: datetime | None = None
    """Of what the TLS listener serves."""
    coturn_generation: int = 0
    """The newest wanted start of coturn that the agent has done its part for; 0: none was wanted yet."""
    coturn_failure: str = ""
    """What went wrong with that start, in words; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """The newest report of a node and what only its history tells."""

    report: Report
    received_at: datetime
    """Our clock, for people. Ages are computed from monotonic time by the view."""
    good_streak: int
    """How many good reports in a row, with no death and no silence between them."""
    proved_at: datetime | None
    """When good_streak last reached what a return needs; None before."""
