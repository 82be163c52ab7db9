"""What an operator may set: environment variables, read once into one frozen value.

Default, unit, meaning and variable name stand beside each field; FIELDS holds the same as data for the documentation.
"""

# ruff: noqa: RUF009 - _setting() returns dataclasses.field(), as a field specifier should.

from __future__ import annotations

import difflib
import ipaddress
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from agents import parse
from agents.errors import SettingsError
from controlplane.wire.redacted import Redacted

PREFIX = "TURNFLEET_AGENT_"

CoturnMode = Literal["own", "attached"]
OnExit = Literal["stop", "leave"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDoc:
    """One variable, as the documentation shows it."""

    variable: str
    default: str
    """In words where it is found out at start; empty when the variable must be set."""
    unit: str
    meaning: str


def _setting(
    variable: str,
    parser: Callable[[str], object],
    *,
    default: Any = MISSING,
    shown: str | None = None,
    unit: str = "",
    meaning: str,
) -> Any:
    """A dataclass field that knows its variable. `shown` is the default in words where the value says too little."""
    text = shown if shown is not None else ("" if default is MISSING or default is None else str(default))
    doc = FieldDoc(variable=PREFIX + variable, default=text, unit=unit, meaning=meaning)
    return field(default=default, metadata={"doc": doc, "parser": parser})


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    urls: tuple[str, ...] = _setting(
        "URL",
        parse.origins,
        meaning="Origins of the control plane, comma separated, without /api/v1. A retry goes through the next one.",
    )
    ca_file: Path | None = _setting(
        "CA_FILE",
        parse.existing_file,
        default=None,
        shown="the system's certificates",
        meaning="PEM file of the authorities that the control plane is verified against instead of the system's. "
        "The node's own TLS listener is verified against both.",
    )
    join_token: Redacted | None = _setting(
        "JOIN_TOKEN", Redacted, default=None, meaning="One-time token; needed only until the node has joined."
    )
    join_token_file: Path | None = _setting(
        "JOIN_TOKEN_FILE", Path, default=None, meaning="The same, read from a file when it is needed."
    )
    name: str = _setting(
        "NAME", parse.name, default="", shown="the host's name", meaning="What operators see: letters, digits, dot, - and _."
    )
    state_dir: Path = _setting(
        "STATE_DIR",
        parse.absolute_path,
        default=Path("/var/lib/turnfleet-agent"),
        meaning="Folder of the node's identity and of coturn's files. The user of coturn must be able to enter it.",
    )
    public_host: str = _setting(
        "PUBLIC_HOST",
        parse.host,
        default="",
        shown="EXTERNAL_ADDRESS, else LISTEN_ADDRESS",
        meaning="Host name or address that clients are told; the name on the TLS certificate.",
    )
    listen_address: str = _setting(
        "LISTEN_ADDRESS",
        parse.address,
        default="",
        shown="the address of the default route",
        meaning="Address that coturn listens on.",
    )
    relay_address: str = _setting(
        "RELAY_ADDRESS",
        parse.address,
        default="",
        shown="LISTEN_ADDRESS",
        meaning="Address that coturn relays from. Also the only address of this host that clients may relay to.",
    )
    external_address: str | None = _setting(
        "EXTERNAL_ADDRESS",
        parse.address,
        default=None,
        shown="none",
        meaning="Public address in front of RELAY_ADDRESS, when the host is behind a one-to-one NAT.",
    )
    stun_server: tuple[str, int] | None = _setting(
        "STUN_SERVER",
        parse.server,
        default=None,
        shown="none",
        meaning="Host, or host:port, of a STUN server outside, as any other relay is one. It is asked which address this host "
        "has from there, to verify EXTERNAL_ADDRESS.",
    )
    port: int = _setting("PORT", parse.port, default=3478, meaning="Port for TURN over UDP and TCP.")
    tls_port: int = _setting(
        "TLS_PORT", parse.port, default=5349, meaning="Port for TURN over TLS; used only with TLS_CERT and TLS_KEY."
    )
    tls_cert: Path | None = _setting(
        "TLS_CERT", parse.coturn_file, default=None, shown="no TLS", meaning="PEM certificate chain of the TLS listener."
    )
    tls_key: Path | None = _setting(
        "TLS_KEY",
        parse.coturn_file,
        default=None,
        shown="no TLS",
        meaning="PEM private key of the TLS listener, readable by the user of coturn.",
    )
    relay_ports: tuple[int, int] = _setting(
        "RELAY_PORTS",
        parse.port_range,
        default=(10000, 29999),
        shown="10000-29999",
        meaning="First and last relay port. Keep below the host's ephemeral range (32768 and up on Linux).",
    )
    capacity_bits_per_second: float | None = _setting(
        "CAPACITY_BITS_PER_SECOND",
        parse.positive_number,
        default=None,
        shown="the link's speed, else 1 Gbit/s",
        unit="bits per second",
        meaning="What the node can carry in each direction.",
    )
    capacity_packets_per_second: float | None = _setting(
        "CAPACITY_PACKETS_PER_SECOND",
        parse.positive_number,
        default=None,
        shown="not limited",
        unit="packets per second",
        meaning="What the node can carry in each direction, for hosts whose limit is packets rather than bits.",
    )
    user_quota: int = _setting(
        "USER_QUOTA",
        parse.whole_number(0),
        default=20,
        unit="allocations",
        meaning="Most allocations of one credential at a time, so that a leaked one cannot take every relay port; 0 for no limit.",
    )
    total_quota: int = _setting(
        "TOTAL_QUOTA",
        parse.whole_number(1),
        default=0,
        shown="the number of RELAY_PORTS",
        unit="allocations",
        meaning="Most allocations of the node at a time. The smaller of it and the number of RELAY_PORTS is the node's capacity.",
    )
    max_bytes_per_second_per_session: int | None = _setting(
        "MAX_BYTES_PER_SECOND_PER_SESSION",
        parse.whole_number(1),
        default=None,
        shown="not limited",
        unit="bytes per second",
        meaning="Most that one allocation may carry in each direction.",
    )
    denied_peers: tuple[str, ...] = _setting(
        "DENIED_PEERS",
        parse.peers,
        default=(),
        shown="none",
        meaning="Addresses and first-last ranges, comma separated, that clients may not relay to, beside the private and "
        "special ones and this host's own, which they never may.",
    )
    interface: str = _setting(
        "INTERFACE",
        parse.interface,
        default="",
        shown="the one with LISTEN_ADDRESS, else with the default route",
        meaning="Network interface whose counters are the node's load.",
    )
    coturn: CoturnMode = _setting(
        "COTURN",
        parse.one_of("own", "attached"),
        default="own",
        meaning="own: start and supervise coturn. attached: another supervisor runs it with our configuration.",
    )
    coturn_binary: str = _setting("COTURN_BINARY", str, default="turnserver", meaning="Name or path of coturn's program.")
    cli_port: int = _setting("CLI_PORT", parse.port, default=5766, meaning="Port of coturn's command line on 127.0.0.1.")
    relay_threads: int | None = _setting(
        "RELAY_THREADS", parse.threads, default=None, shown="one per core", unit="threads", meaning="Relay threads of coturn."
    )
    allow_loopback_peers: bool = _setting(
        "ALLOW_LOOPBACK_PEERS",
        parse.boolean,
        default=False,
        shown="false",
        meaning="Lets clients relay to 127.0.0.0/8. For development on one machine only.",
    )
    echo_port: int = _setting(
        "ECHO_PORT",
        parse.port_or_any,
        default=0,
        shown="0 (any free one)",
        meaning="UDP port on RELAY_ADDRESS of the echo that the agent's own probes are relayed to.",
    )
    metrics_host: str = _setting(
        "METRICS_HOST",
        parse.address,
        default="127.0.0.1",
        meaning="Address that serves /metrics, without a token: keep it private.",
    )
    metrics_port: int = _setting(
        "METRICS_PORT", parse.port_or_any, default=0, shown="0 (none)", meaning="Port that serves /metrics for Prometheus."
    )
    log_level: LogLevel = _setting(
        "LOG_LEVEL", parse.one_of("debug", "info", "warning", "error"), default="info", meaning="Least level that is logged."
    )
    probe_interval_seconds: float = _setting(
        "PROBE_INTERVAL_SECONDS",
        parse.positive_number,
        default=3.0,
        unit="seconds",
        meaning="How often a real allocation is made through the UDP listener.",
    )
    on_exit: OnExit = _setting(
        "ON_EXIT",
        parse.one_of("stop", "leave"),
        default="stop",
        meaning="What happens to an own coturn when the agent is told to end. One left running is adopted at the next start.",
    )

    before_restart: Path | None = _setting(
        "BEFORE_RESTART",
        parse.program,
        default=None,
        shown="none",
        meaning="Program of yours that is run, without a shell or arguments, before coturn is started again in a rolling restart: "
        "to install a newer coturn, for example. It has five minutes.",
    )

    @property
    def serves_tls(self) -> bool:
        return self.tls_cert is not None

    @property
    def allocation_quota(self) -> int:
        """What coturn is told as the most allocations at a time."""
        return self.total_quota or self._relay_port_count

    @property
    def allocation_capacity(self) -> int:
        return min(self._relay_port_count, self.allocation_quota)

    @property
    def _relay_port_count(self) -> int:
        return self.relay_ports[1] - self.relay_ports[0] + 1


FIELDS: Mapping[str, FieldDoc] = {one.name: one.metadata["doc"] for one in fields(AgentSettings)}
"""The documentation of every setting, by field name."""


def from_environment(
    environment: Mapping[str, str],
    *,
    default_address: Callable[[], str | None],
    default_interface: Callable[[str], str | None],
    interfaces: Callable[[], Collection[str] | None],
) -> AgentSettings:
    """The settings, or a SettingsError that names the variable. An empty variable counts as unset.

    The host's defaults are asked for only when needed: an agent on a host without a default route may name everything.
    `default_interface` is asked with the listening address. `interfaces` are the host's, None where they cannot be known.
    """
    _refuse_unknown(environment)
    values: dict[str, Any] = {}
    for one in fields(AgentSettings):
        doc: FieldDoc = one.metadata["doc"]
        text = environment.get(doc.variable, "").strip()
        if text:
            try:
                values[one.name] = one.metadata["parser"](text)
            except ValueError as error:
                raise SettingsError(f"{doc.variable} {error}.") from None
        elif one.default is MISSING:
            raise SettingsError(f"{doc.variable} must be set: {doc.meaning}")
    _fill_in(values, default_address=default_address, default_interface=default_interface)
    settings = AgentSettings(**values)
    _check_together(settings)
    known = interfaces()
    if known is not None and settings.interface not in known:
        raise SettingsError(
            f"{PREFIX}INTERFACE: this host has no network interface {settings.interface}; it has {', '.join(sorted(known))}."
        )
    return settings


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = sorted(doc.variable for doc in FIELDS.values())
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known:
            nearest = difflib.get_close_matches(variable, known, n=1, cutoff=0.0)[0]
            raise SettingsError(f"{variable} is not a setting of the agent; the nearest one is {nearest}.")


def _fill_in(
    values: dict[str, Any],
    *,
    default_address: Callable[[], str | None],
    default_interface: Callable[[str], str | None],
) -> None:
    """Defaults that depend on the host or on other settings."""
    if "name" not in values:
        try:
            values["name"] = parse.name(socket.gethostname())
        except ValueError:
            raise SettingsError(f"{PREFIX}NAME must be set: the host's own name has characters that a name may not have.") from None
    if "listen_address" not in values:
        address = default_address()
        if address is None:
            raise SettingsError(f"{PREFIX}LISTEN_ADDRESS must be set: the host has no default route to take it from.")
        values["listen_address"] = address
    values.setdefault("relay_address", values["listen_address"])
    values.setdefault("public_host", values.get("external_address") or values["listen_address"])
    if "interface" not in values:
        interface = default_interface(values["listen_address"])
        if interface is None:
            # Only a relay on loopback may be measured there: of any other the load would read as zero for ever.
            if not ipaddress.ip_address(values["listen_address"]).is_loopback:
                raise SettingsError(
                    f"{PREFIX}INTERFACE must be set: no interface of this host is seen to have {values['listen_address']} "
                    "or a default route."
                )
            interface = "lo"
        values["interface"] = interface


def _check_together(settings: AgentSettings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError(f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY must be set together.")
    if settings.serves_tls and settings.tls_port == settings.port:
        raise SettingsError(f"{PREFIX}TLS_PORT must differ from {PREFIX}PORT.")
    if settings.join_token is not None and settings.join_token_file is not None:
        raise SettingsError(f"{PREFIX}JOIN_TOKEN and {PREFIX}JOIN_TOKEN_FILE exclude each other.")
    if settings.metrics_port in {settings.port, settings.tls_port, settings.cli_port}:
        raise SettingsError(f"{PREFIX}METRICS_PORT must differ from {PREFIX}PORT, {PREFIX}TLS_PORT and {PREFIX}CLI_PORT.")
    if settings.relay_ports[0] <= settings.port <= settings.relay_ports[1]:
        raise SettingsError(f"{PREFIX}RELAY_PORTS must not contain {PREFIX}PORT ({settings.port}).")
    families = {ipaddress.ip_address(one).version for one in (settings.listen_address, settings.relay_address)}
    if len(families) != 1:
        raise SettingsError(f"{PREFIX}LISTEN_ADDRESS and {PREFIX}RELAY_ADDRESS must be of the same IP version.")
    if ipaddress.ip_address(settings.relay_address).is_loopback and not settings.allow_loopback_peers:
        raise SettingsError(
            f"{PREFIX}RELAY_ADDRESS is a loopback address: the node's own probe needs {PREFIX}ALLOW_LOOPBACK_PEERS=true there."
        )
