"""A coturn that outlived its agent: taken over when it is exactly what we would start, otherwise stopped first.

A second coturn on the same ports starts without an error and steals half of the clients, so nothing is started before this
has looked.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from agents.coturn import processes
from agents.coturn.folder import Folder
from agents.coturn.process import BootRecord, Process, read_boot, watched

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


async def adopt_or_stop(folder: Folder, *, binary: str, config_digest: str, on_death: Callable[[], None]) -> Process | None:
    """The coturn to go on with, if there is one. When it returns, no other coturn of ours is alive.

    CoturnError when one of ours cannot be stopped.
    """
    record = read_boot(folder.boot)
    adopted: Process | None = None
    for pid in _candidates(folder, record, binary=binary):
        if record is not None and adopted is None and _is_ours(pid, record, folder.config, config_digest, binary=binary):
            adopted = watched(pid, boot_id=record.boot_id, started_at=record.started_at, on_death=on_death)
            log.info("coturn_adopted", pid=pid, boot_id=record.boot_id)
        else:
            log.warning("coturn_orphan_stopped", pid=pid, reason="not the coturn that this configuration would start")
            stray = watched(pid, boot_id="", started_at=0.0, on_death=lambda: None)
            await stray.stop()
    return adopted


def port_fault(address: str, port: int, kind: socket.SocketKind) -> OSError | None:
    """Why a server could not listen there now. coturn itself would start and share the port of another one without a word.

    EADDRINUSE means that some other program serves there; anything else says nothing about others.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, kind)) as probe:
        if kind == socket.SOCK_STREAM:
            # Connections that were closed a moment ago do not count, only somebody who listens.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error
    return None


def _candidates(folder: Folder, record: BootRecord | None, *, binary: str) -> list[int]:
    """The pid in coturn's own file, the one that we noted, and any coturn on this host: those that name our configuration.

    A pid in a file may by now belong to anybody, another service's coturn not excepted.
    """
    named = {processes.read_pid(folder.pid_file), record.pid if record else None} - {None}
    living = {
        pid
        for pid in named
        if pid is not None and processes.is_coturn(pid, binary=binary) and processes.uses_config(pid, folder.config)
    }
    return sorted(living | set(processes.coturns_with_config(folder.config, binary=binary)))


def _is_ours(pid: int, record: BootRecord, config: Path, config_digest: str, *, binary: str) -> bool:
    return (
        record.pid == pid
        and record.config_digest == config_digest
        and record.start_mark == processes.start_mark(pid)
        and processes.is_coturn(pid, binary=binary)
        and processes.uses_config(pid, config)
    )
