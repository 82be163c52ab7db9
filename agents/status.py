"""STATE_DIR/status.json: what the agent is doing, for a person or a tool on this host. Rewritten on change; holds no secret."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agents.files import write_atomically
from controlplane.wire.agent_api import CoturnState


class Status(msgspec.Struct, frozen=True, kw_only=True):
    agent_pid: int
    coturn_pid: int | None
    node_id: str | None
    """None until the node has joined."""
    region: str | None
    realm: str | None
    host: str
    port: int
    tls_port: int | None
    """None when the node serves no TLS."""
    coturn_state: CoturnState
    probe_ok: bool | None
    """None until every listener has been probed."""
    last_heartbeat_at: float | None
    """Unix seconds of the last heartbeat that was answered."""
    last_heartbeat: str
    """`answered`, `refused`, `unreachable`, or `none` before the first."""
    usage_waiting: int = 0
    """Allocations whose latest sums the control plane has not confirmed, when the agent last looked."""
    denied: int = 0
    """Credentials that the node keeps from relaying."""


class StatusFile:
    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "status.json"
        self._last: Status | None = None

    def write(self, status: Status) -> None:
        if status != self._last:
            write_atomically(self._path, msgspec.json.encode(status) + b"\n", mode=0o644, durable=False)
            self._last = status
