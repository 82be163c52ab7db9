"""One relay of a local stack: an agent, and the coturn that the agent runs."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import psutil

from deploy.local.certificates import Certificates
from deploy.local.files import make_folder
from deploy.local.layout import CHECKOUT, NodeName, StackOptions
from deploy.local.ports import HOST
from deploy.local.process import Program
from deploy.local.records import coturns_below, end_all
from deploy.local.service import Service

__all__ = ["LocalNode"]

READY_DEADLINE = timedelta(seconds=30)
# Newer versions of coturn take seconds to end after SIGTERM, and the agent waits for it.
STOP_DEADLINE = timedelta(seconds=20)
CAPACITY_BITS_PER_SECOND = 1_000_000_000


class LocalNode:
    def __init__(
        self,
        options: StackOptions,
        named: NodeName,
        certificates: Certificates,
        *,
        changed: Callable[[], None],
    ) -> None:
        self.name = named.name
        self.region = named.region
        self.ports = named.ports
        self._options = options
        self._certificates = certificates
        self._folder = options.nodes / named.name
        # coturn's account must be able to enter; the agent guards what is secret in it.
        make_folder(self._folder)
        self._join_token: str | None = None
        self.agent = Service(
            self._program,
            ready=self._runs,
            ready_deadline=READY_DEADLINE,
            restart=options.restart,
            say=options.say,
            changed=changed,
        )

    def status(self) -> dict[str, Any]:
        """What the agent last wrote about itself; empty when it never did."""
        try:
            return dict(json.loads((self._folder / "status.json").read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    @property
    def known_as(self) -> str | None:
        """The node id it joined under, or None when it has yet to join."""
        try:
            return str(json.loads((self._folder / "node.json").read_text())["node_id"])
        except (FileNotFoundError, ValueError, KeyError):
            return None

    @property
    def coturn_pid(self) -> int | None:
        """Of the coturn that really runs, whether its agent lives or not."""
        pid = self.status().get("coturn_pid")
        if not isinstance(pid, int):
            return None
        try:
            process = psutil.Process(pid)
            ours = process.name() == "turnserver" and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return pid if ours else None

    def forget_identity(self) -> None:
        """It must join anew: the control plane does not know it any more."""
        (self._folder / "node.json").unlink(missing_ok=True)

    def may_join_with(self, token: str) -> None:
        self._join_token = token

    async def stop(self) -> None:
        """The agent says goodbye and ends its coturn; one that was orphaned before is ended, too."""
        await self.agent.stop()
        await asyncio.to_thread(self.end_coturn)

    def end_coturn(self) -> None:
        end_all(coturns_below(self._folder))

    def _program(self) -> Program:
        settings: dict[str, object] = {
            "URL": f"http://{HOST}:{self._options.ports.api}",
            "CA_FILE": self._certificates.authority,
            "NAME": self.name,
            "STATE_DIR": self._folder,
            "PUBLIC_HOST": HOST,
            "LISTEN_ADDRESS": HOST,
            "RELAY_ADDRESS": HOST,
            "PORT": self.ports.turn,
            "TLS_PORT": self.ports.tls,
            "TLS_CERT": self._certificates.certificate,
            "TLS_KEY": self._certificates.key,
            "RELAY_PORTS": self.ports.relay_range,
            "CLI_PORT": self.ports.cli,
            "METRICS_PORT": self.ports.metrics,
            "ALLOW_LOOPBACK_PEERS": "true",
        }
        if self._join_token is not None:
            settings["JOIN_TOKEN"] = self._join_token
        return Program(
            name=self.name,
            arguments=(sys.executable, "-m", "agents", "run"),
            log_file=self._options.logs / f"{self.name}.log",
            environment=_agent_environment(self._options.environment)
            | {f"TURNFLEET_AGENT_{name}": str(value) for name, value in settings.items()},
            directory=CHECKOUT,
            stop_deadline=STOP_DEADLINE,
        )

    async def _runs(self) -> bool:
        status = self.status()
        return status.get("agent_pid") == self.agent.pid and status.get("coturn_state") == "running"


def _agent_environment(given: Mapping[str, str]) -> dict[str, str]:
    defaults = {
        "TURNFLEET_AGENT_LOG_LEVEL": "info",
        "TURNFLEET_AGENT_CAPACITY_BITS_PER_SECOND": str(CAPACITY_BITS_PER_SECOND),
    }
    return defaults | {name: value for name, value in given.items() if name.startswith("TURNFLEET_AGENT_")}
