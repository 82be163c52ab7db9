"""What a local stack is made of: its options, its folders, its names."""

import base64
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.files import keep_private
from deploy.local.ports import DEFAULT_BASE, NodePorts, PortPlan
from deploy.local.regions import DEFAULT_REGIONS
from deploy.local.service import ignore

__all__ = ["CHECKOUT", "NodeName", "StackOptions", "ensure_master_key", "node_names"]

CHECKOUT = Path(__file__).resolve().parents[2]
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """`state` is a folder that `folders.state_folder` made: every account of the machine can enter it."""

    state: Path
    port_base: int = DEFAULT_BASE
    regions: tuple[str, ...] = DEFAULT_REGIONS
    nodes_per_region: int = 1
    # Tests may trade the safety of the database for speed, and watch crashes themselves.
    durable: bool = True
    restart: bool = True
    say: Callable[[str], None] = ignore
    # TURNFLEET_… for the API and the jobs, TURNFLEET_AGENT_… for the agents, beneath what the stack itself sets.
    environment: Mapping[str, str] = field(default_factory=dict)
    # What has to stand behind a command that is about this stack: ` --dir DIR`, or nothing for the checkout's own.
    dir_argument: str = ""

    def __post_init__(self) -> None:
        if not self.regions or len(set(self.regions)) != len(self.regions):
            raise ValueError("name at least one region, and none twice")
        for slug in self.regions:
            if not SLUG.fullmatch(slug):
                raise ValueError(f"{slug!r} is no region slug: lower-case letters, digits and single hyphens")
        if self.nodes_per_region < 1:
            raise ValueError("a region needs at least one node")

    @property
    def ports(self) -> PortPlan:
        return PortPlan(base=self.port_base, node_count=len(self.regions) * self.nodes_per_region)

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def ready_file(self) -> Path:
        return self.state / "ready.json"

    @property
    def records_file(self) -> Path:
        return self.state / "pids.json"

    @property
    def tokens_file(self) -> Path:
        return self.state / "tokens.json"

    @property
    def master_key_file(self) -> Path:
        return self.state / "master.key"

    @property
    def nodes(self) -> Path:
        return self.state / "nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeName:
    name: str
    region: str
    ports: NodePorts


def node_names(options: StackOptions) -> list[NodeName]:
    """`eu-central-1`, `us-east-1`, `eu-central-2` …: a bigger fleet leaves the ports of the nodes before as they were."""
    return [
        NodeName(name=f"{region}-{index + 1}", region=region, ports=options.ports.node(index * len(options.regions) + place))
        for index in range(options.nodes_per_region)
        for place, region in enumerate(options.regions)
    ]


def ensure_master_key(file: Path) -> None:
    """Made once: every node's secret is derived from it."""
    keep_private(file, lambda: base64.b64encode(secrets.token_bytes(32)).decode())
