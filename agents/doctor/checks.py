"""Every check of `turnfleet-agent doctor`, in the order in which its findings are shown."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from agents import host
from agents.coturn import pair
from agents.coturn.folder import Folder, find_owner, first_unreadable
from agents.doctor.environment import settings_of
from agents.doctor.examine import Check, examine
from agents.doctor.judge import addresses, certificate
from agents.doctor.judge import host as of_host
from agents.doctor.judge import origin as of_origin
from agents.doctor.judge import ports as of_ports
from agents.doctor.look import origin, place, ports, stun
from agents.doctor.look.stun import Mapped
from agents.settings import PREFIX, AgentSettings
from controlplane.wire.findings import Finding, wrong


def diagnose(environment: Mapping[str, str], read: Callable[[Mapping[str, str]], AgentSettings]) -> list[Finding]:
    """The whole of it, within the deadline of examine(). `read` is what the agent itself reads its settings with."""
    settings, found = settings_of(environment, read)
    if settings is None:
        binary = environment.get(f"{PREFIX}COTURN_BINARY", "") or "turnserver"
        return found + examine([Check(name="coturn", work=partial(_coturn, binary, None, attached=False))])
    return found + examine(checks(settings))


def checks(settings: AgentSettings, *, seen: Callable[[], Mapped | Exception | None] | None = None) -> list[Check]:
    """`seen` asks which address the host comes from, for whoever wants to know the answer, too."""
    ask = seen or partial(seen_from_outside, settings)
    works: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("identity", lambda: of_host.identity(place.joined(settings), settings)),
        ("addresses", lambda: addresses.own(settings, host.addresses())),
        ("external_address", lambda: addresses.external(settings, ask())),
        ("public_host", lambda: addresses.public_host(settings, _resolved(settings.public_host))),
        ("ports", lambda: of_ports.listening(ports.needed(settings, config=_config(settings)))),
        ("relay_ports", lambda: of_ports.relaying(settings, host.capacity(settings), ports.ephemeral_range())),
        ("coturn", partial(_coturn, settings.coturn_binary, settings.state_dir, attached=settings.coturn == "attached")),
        ("capacity", lambda: _capacity(settings)),
        ("open_files", lambda: _open_files(settings)),
        ("state_folder", lambda: of_host.folder(place.folder(settings))),
        ("disk", lambda: of_host.disk(place.disk(settings))),
        ("certificate", lambda: _certificate(settings)),
        *(("control_plane", partial(_control_plane, one, settings.ca_file)) for one in settings.urls),
    ]
    if not settings.urls:
        works.append(("control_plane", _no_control_plane))
    return [Check(name=name, work=work) for name, work in works]


def seen_from_outside(settings: AgentSettings) -> Mapped | Exception | None:
    """What the STUN server says, why it does not, or None when there is none to ask."""
    if settings.stun_server is None:
        return None
    try:
        return stun.mapped(settings.stun_server, source=settings.relay_address)
    except OSError as error:
        return error


def _resolved(name: str) -> list[str] | Exception:
    try:
        return list(dict.fromkeys(str(one[4][0]) for one in socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)))
    except (OSError, UnicodeError) as error:
        return error


def _coturn(binary: str, state_dir: Path | None, *, attached: bool) -> list[Finding]:
    return of_host.coturn(place.coturn(binary, state_dir), attached=attached)


def _capacity(settings: AgentSettings) -> list[Finding]:
    interface = settings.interface
    return of_host.capacity(host.capacity(settings), interface=interface, link=host.link_speed(interface))


def _open_files(settings: AgentSettings) -> list[Finding]:
    limit = place.open_files_limit(place.coturn_pids(settings.coturn_binary, settings.state_dir))
    return of_host.open_files(limit, allocations=settings.allocation_capacity)


def _certificate(settings: AgentSettings) -> list[Finding]:
    if settings.tls_cert is None or settings.tls_key is None:
        return certificate.none(settings)
    files = settings.tls_cert, settings.tls_key
    return certificate.judged(
        settings,
        pair.read(*files, name=settings.public_host, ca_file=settings.ca_file),
        unreadable=first_unreadable(files, find_owner(settings)),
        now=datetime.now(UTC),
    )


def _control_plane(url: str, ca_file: Path | None) -> list[Finding]:
    return of_origin.reached(origin.ask(url, ca_file=ca_file))


def _no_control_plane() -> list[Finding]:
    return [wrong("control_plane", "It is not known where the control plane is.", f"Set {PREFIX}URL.")]


def _config(settings: AgentSettings) -> Path:
    return Folder(root=settings.state_dir / "coturn").config
