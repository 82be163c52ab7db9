"""coturn's program, capacity, file descriptors, the state folder, its disk, and who this node is."""

from __future__ import annotations

from agents.coturn.capabilities import of_version as capabilities_of
from agents.coturn.capabilities import parse_version
from agents.doctor.look.place import CoturnFacts, DiskFacts, FolderFacts
from agents.errors import IdentityError
from agents.identity import Identity
from agents.settings import PREFIX, AgentSettings
from controlplane.wire.agent_api import Capacity
from controlplane.wire.findings import Finding, ok, warning, wrong

OLDEST_TRIED = parse_version("4.6.1")
SPARE_FILES = 200
"""Descriptors that coturn has beside its allocations': listeners, threads' pipes, log, database, command line."""
FILES_PER_ALLOCATION = 2
"""The relay port, and the client's connection when it comes by TCP or TLS."""
MEGA, GIGA = 1e6, 1e9
LEAST_FREE_BYTES = 200e6
"""Two logs of 32 MiB and the agent's databases, twice over."""
GOOD_FREE_BYTES = 1e9
LEAST_FREE_FILES = 100


def coturn(facts: CoturnFacts, *, attached: bool) -> list[Finding]:
    name = "coturn"
    install = f"Install coturn (apt-get install coturn), or set {PREFIX}COTURN_BINARY."
    if facts.path is None:
        if attached:
            return [warning(name, f"{facts.binary} is not found here: its version is told once it runs.", install)]
        return [wrong(name, f"{facts.binary} is not found, so no relay can be started.", install)]
    if facts.version is None:
        detail = f"{facts.path} does not tell its version ({facts.said or 'it says nothing'})."
        return [wrong(name, detail, install)]
    version = ".".join(str(part) for part in facts.version)
    if OLDEST_TRIED is not None and facts.version < OLDEST_TRIED:
        detail = f"{facts.path} is coturn {version}; nothing older than 4.6.1 has been tried with this agent."
        return [warning(name, detail, "Use a newer one.")]
    drains = "drains by a signal" if capabilities_of(version).signal_drain else "is drained by its secrets, for want of a signal"
    runs = f"; it runs as process {facts.pids[0]}" if facts.pids else ""
    return [ok(name, f"{facts.path} is coturn {version}, which {drains}{runs}.")]


def capacity(told: Capacity, *, interface: str, link: float | None) -> list[Finding]:
    """`link` is the interface's own speed in bits per second, where it knows one."""
    name = "capacity"
    bits = _bits(told.bits_per_second)
    packets = f", {told.packets_per_second:.0f} packets/s" if told.packets_per_second is not None else ""
    remedy = f"Set {PREFIX}CAPACITY_BITS_PER_SECOND to what the host can carry in each direction."
    if told.source == "assumed":
        return [warning(name, f"{bits} is assumed, as interface {interface} does not know its speed{packets}.", remedy)]
    if link is not None and told.bits_per_second > link:
        return [warning(name, f"{bits} is stated, and the link of {interface} has {_bits(link)}{packets}.", remedy)]
    source = "stated" if told.source == "stated" else f"the speed of the link of {interface}"
    return [ok(name, f"{bits} in each direction, {source}{packets}; {told.allocations} allocations.")]


def open_files(limit: int, *, allocations: int) -> list[Finding]:
    """`limit` 0: none."""
    name = "open_files"
    by_udp, by_tcp = allocations + SPARE_FILES, FILES_PER_ALLOCATION * allocations + SPARE_FILES
    if limit == 0 or limit >= by_tcp:
        return [ok(name, f"coturn may open {limit or 'any number of'} files, enough for {allocations} allocations.")]
    remedy = f"Raise the limit of the agent (LimitNOFILE={by_tcp} for systemd, ulimit -n), and start it again."
    if limit >= by_udp:
        detail = (
            f"coturn may open {limit} files: enough for {allocations} allocations by UDP, not by TCP and TLS, which take two each."
        )
        return [warning(name, detail, remedy)]
    fit = max(0, limit - SPARE_FILES)
    detail = (
        f"coturn may open {limit} files, which is enough for some {fit} allocations and not for the {allocations} of its ports."
    )
    return [warning(name, detail, remedy)]


def folder(facts: FolderFacts) -> list[Finding]:
    name = "state_folder"
    if not facts.is_folder:
        return [wrong(name, f"{facts.nearest} is no folder, so {facts.path} cannot be used.", f"Set another {PREFIX}STATE_DIR.")]
    if not facts.writable:
        remedy = f"Run this as the user that the agent runs as, make it writable, or set another {PREFIX}STATE_DIR."
        return [wrong(name, f"{facts.nearest} cannot be written to, so {facts.path} cannot be used.", remedy)]
    if facts.closed is not None:
        detail = f"The user {facts.owner.user}, whom coturn becomes, cannot enter {facts.closed}, and so not reach its database."
        return [wrong(name, detail, f"chmod o+x {facts.closed}, or set another {PREFIX}STATE_DIR.")]
    if facts.foreign_files is not None:
        return [wrong(name, facts.foreign_files, "Stop the agent before removing it.")]
    what = "can be used" if facts.exists else "will be made at the first start"
    whom = f"runs as {facts.owner.user}" if facts.owner.user else "runs as the agent's user or its own supervisor's"
    return [ok(name, f"{facts.path} {what}; coturn {whom}.")]


def disk(facts: DiskFacts) -> list[Finding]:
    name, remedy = "disk", "Make room: without it secrets cannot be replaced, and usage is not counted."
    free = f"{facts.free_bytes / GIGA:.1f} GB are free under {facts.path}"
    if facts.free_bytes < LEAST_FREE_BYTES:
        return [wrong(name, f"{free}, less than the {LEAST_FREE_BYTES / GIGA:.1f} GB that logs and databases need.", remedy)]
    if facts.free_files is not None and facts.free_files < LEAST_FREE_FILES:
        return [wrong(name, f"Only {facts.free_files} more files can be made under {facts.path}.", remedy)]
    if facts.free_bytes < GOOD_FREE_BYTES:
        return [warning(name, f"{free}.", remedy)]
    return [ok(name, f"{free}.")]


def identity(known: Identity | IdentityError | None, settings: AgentSettings) -> list[Finding]:
    name = "identity"
    if isinstance(known, IdentityError):
        return [wrong(name, str(known), "Run this as the user that the agent runs as, before anything else.")]
    if known is not None:
        return [ok(name, f"This host has joined as node {known.node_id} in region {known.region}.")]
    if settings.join_token is not None or settings.join_token_file is not None:
        return [ok(name, f"This host has not joined yet; turnfleet-agent run will, as {settings.name}.")]
    detail = f"This host has not joined yet, and neither {PREFIX}JOIN_TOKEN nor {PREFIX}JOIN_TOKEN_FILE is set."
    return [wrong(name, detail, "Ask an operator for a join token of your region.")]


def _bits(number: float) -> str:
    return f"{number / GIGA:g} Gbit/s" if number >= GIGA else f"{number / MEGA:g} Mbit/s"
