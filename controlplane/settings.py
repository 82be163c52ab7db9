"""Environment → one frozen Settings. Every field: default, unit, meaning, and the variable it is read from."""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from controlplane.wire.redacted import Redacted

PREFIX = "TURNFLEET_"
_OTHERS = ("TURNFLEET_AGENT_", "TURNFLEET_CLIENT_", "TURNFLEET_DEV_")
"""Variables of the agent, of the API's client and of the development tool: not ours to judge."""
_KEYS = ("master_key", "master_key_previous")
"""Also read from files."""


class SettingsError(ValueError):
    """A setting is missing or wrong. The text says which and what it should be."""


def _text(value: str) -> str:
    return value


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return parse


def _paths(value: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in value.split(":") if part)


def _file(value: str) -> Path | None:
    return Path(value) if value else None


def _words(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part) for part in _words(value))
    except ValueError as error:
        raise ValueError("addresses or networks in CIDR form, separated by commas") from error


def _switch(text: str) -> bool:
    if text not in {"on", "off"}:
        raise ValueError("on or off")
    return text == "on"


def _level(value: str) -> str:
    if value.lower() not in {"debug", "info", "warning", "error"}:
        raise ValueError("debug, info, warning or error")
    return value.lower()


def _master_key(value: str) -> Redacted:
    try:
        key = base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) < 32:  # noqa: PLR2004 - 256 bits
        raise ValueError("at least 32 random bytes in base64, for example from: openssl rand -base64 32")
    return Redacted(value.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table: how a field is read."""

    parse: Callable[[str], Any]
    default: str | None
    """As it would be written in the environment; None: must be given."""
    meaning: str


TABLE: dict[str, Setting] = {
    "database_url": Setting(
        parse=_text, default=None, meaning="PostgreSQL, e.g. postgresql://turnfleet@db.example/turnfleet. Needed by every command."
    ),
    "redis_url": Setting(parse=_text, default="redis://127.0.0.1:6379/0", meaning="Redis: redis://, rediss:// or unix://."),
    "master_key": Setting(
        parse=_master_key,
        default="",
        meaning="The key that all node secrets are derived from, and that webhook secrets are sealed with: "
        "32 random bytes in base64. Or TURNFLEET_MASTER_KEY_FILE.",
    ),
    "master_key_previous": Setting(
        parse=_master_key,
        default="",
        meaning="The key before, while it is being changed: what comes from it stays readable until nothing needs it any more. "
        "Or TURNFLEET_MASTER_KEY_PREVIOUS_FILE.",
    ),
    "state_dir": Setting(
        parse=Path, default="/var/lib/turnfleet", meaning="Folder on a local disk for the journal of issues. Must survive restarts."
    ),
    "journal_max_bytes": Setting(
        parse=_integer(1024 * 1024, 2**40),
        default=str(2 * 1024**3),
        meaning="How much the journal may hold while PostgreSQL is away, in bytes; beyond it issuing answers 503.",
    ),
    "api_host": Setting(parse=_text, default="127.0.0.1", meaning="Address the API listens on."),
    "api_port": Setting(parse=_integer(1, 65535), default="8080", meaning="Port the API listens on."),
    "metrics_host": Setting(parse=_text, default="127.0.0.1", meaning="Address that serves /metrics."),
    "metrics_port": Setting(parse=_integer(0, 65535), default="9464", meaning="Port that serves /metrics; 0 switches it off."),
    "realm": Setting(parse=_text, default="turnfleet", meaning="The TURN realm of every node."),
    "geoip_db": Setting(
        parse=_paths,
        default="",
        meaning="MaxMind DB files (City or Country, your own), colon separated; the first that knows wins. "
        "Empty: the country file that is shipped.",
    ),
    "trusted_proxies": Setting(
        parse=_networks,
        default="",
        meaning="Networks whose X-Forwarded-For is believed, comma separated. Empty: nobody's.",
    ),
    "cors_origins": Setting(
        parse=_words,
        default="",
        meaning="Browser origins that may call the API, comma separated. Empty: none; tokens belong on servers.",
    ),
    "token_requests_per_second": Setting(
        parse=_integer(1, 1_000_000),
        default="1000",
        meaning="How many requests a second one token may send, over all processes; issuing is limited per project instead.",
    ),
    "webhook_private_targets": Setting(
        parse=_networks,
        default="",
        meaning="Networks that webhooks may be sent to although they are not public, also by plain HTTP, comma separated. "
        "Empty: none.",
    ),
    "relay_ca_file": Setting(
        parse=_file,
        default="",
        meaning="PEM file of authorities that relays' certificates are verified with when they are probed, beside the system's. "
        "Empty: the system's alone.",
    ),
    "outside_probe_seconds": Setting(
        parse=_integer(0, 120),
        default="60",
        meaning="How often turnfleet jobs relays a packet through every listener of each node, from outside, in seconds. A node "
        "that fails three times in a row is down. 0: never, where relays cannot be reached from here.",
    ),
    "record_retention_days": Setting(
        # Allocations are taken up to 30 days late (fleet/allocation.py): their day must be there still.
        parse=_integer(31, 3650),
        default="90",
        meaning="How long credentials, allocations and hourly usage are kept, in days.",
    ),
    "client_address_retention_days": Setting(
        parse=_integer(0, 3650),
        default="30",
        meaning="How long the records keep the addresses of end users, in days; they go within a day after that.",
    ),
    "usage_retention_days": Setting(
        parse=_integer(1, 3650),
        default="400",
        meaning="How long daily usage, and the totals of rooms and clients that were not seen since, are kept, in days.",
    ),
    "audit_retention_days": Setting(
        parse=_integer(1, 3650), default="400", meaning="How long the audit, who changed what, is kept, in days."
    ),
    "event_retention_days": Setting(
        parse=_integer(1, 3650),
        default="30",
        meaning="How long the fleet's events, what happened to nodes and regions, are kept, in days.",
    ),
    "history_retention_days": Setting(
        parse=_integer(2, 400),
        default="30",
        meaning="How long the history of nodes and regions, what they carried and how they were, is kept for charts, in days.",
    ),
    "secret_rotation_days": Setting(
        parse=_integer(0, 3650),
        default="0",
        meaning="How old a node's secret may become before it is rotated by itself, in days. 0: never.",
    ),
    "node_cpu_limit_percent": Setting(
        parse=_integer(10, 1000),
        default="85",
        meaning="How busy a relay host's CPU may be, in percent of its cores, before it counts as full. 1000: never.",
    ),
    "tracing": Setting(
        parse=_switch,
        default="off",
        meaning="on: send OpenTelemetry traces of requests, as OTEL_EXPORTER_OTLP_ENDPOINT and the like say. Needs the extra otel.",
    ),
    "node_token_days": Setting(
        parse=_integer(0, 3650),
        default="30",
        meaning="How old the token that a node's agent shows may become before the agent gets the next one, in days. 0: for ever.",
    ),
    "log_level": Setting(parse=_level, default="info", meaning="debug, info, warning or error."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the process runs with. The table above says what each field means."""

    database_url: str
    redis_url: str
    master_key: Redacted
    master_key_previous: Redacted
    state_dir: Path
    journal_max_bytes: int
    api_host: str
    api_port: int
    metrics_host: str
    metrics_port: int
    realm: str
    geoip_db: tuple[Path, ...]
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    cors_origins: tuple[str, ...]
    token_requests_per_second: int
    webhook_private_targets: tuple[IPv4Network | IPv6Network, ...]
    relay_ca_file: Path | None
    outside_probe_seconds: int
    record_retention_days: int
    client_address_retention_days: int
    usage_retention_days: int
    audit_retention_days: int
    event_retention_days: int
    history_retention_days: int
    secret_rotation_days: int
    node_cpu_limit_percent: int
    tracing: bool
    node_token_days: int
    log_level: str


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from an environment. Raises SettingsError for a missing, malformed or unknown TURNFLEET_ variable."""
    known = {variable(field.name): field.name for field in fields(Settings)}
    values: dict[str, Any] = {}
    given = dict(environment)
    for name in _KEYS:
        key_file = given.pop(f"{variable(name)}_FILE", "")
        if key_file:
            try:
                given[variable(name)] = Path(key_file).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{variable(name)}_FILE: {key_file} cannot be read: {error}.") from error
    for name in given:
        if name.startswith(PREFIX) and not name.startswith(_OTHERS) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(f"{name} is no setting of turnfleet." + (f" Did you mean {near[0]}?" if near else ""))
    for name, field in known.items():
        setting = TABLE[field]
        text = given.get(name, setting.default)
        if text is None:
            raise SettingsError(f"{name} is not set: {setting.meaning}")
        if field in _KEYS and not text:
            values[field] = Redacted("")
            continue
        try:
            values[field] = setting.parse(text)
        except ValueError as error:
            raise SettingsError(f"{name} must be {error}.") from error
    return Settings(**values)
