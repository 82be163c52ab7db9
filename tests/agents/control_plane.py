"""A control plane of one node, in a few lines: it answers join, heartbeat and leave, and remembers what it heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate

import msgspec

from controlplane.wire.agent_api import (
    AllocationReport,
    CredentialRule,
    Denial,
    DenialsDelta,
    Heartbeat,
    HeartbeatReply,
    Intent,
    JoinReply,
    JoinRequest,
    LeaveRequest,
    NodeSecret,
    UsageReply,
    UsageReport,
)
from controlplane.wire.found_api import Found
from tests.agents.places import LOOPBACK, REALM, SECRET

TOKEN = "tfn_node_token"


@dataclass
class ControlPlane:
    secrets: dict[int, str] = field(default_factory=lambda: {1: SECRET.reveal()})
    intent: Intent = "active"
    realm: str = REALM
    interval_seconds: float = 0.3
    coturn_generation: int = 0
    join_status: int = 200
    lost_joins: int = 0
    """How many joins are done but not answered."""
    heartbeat_status: int = 200
    retry_after: str | None = None
    joins: list[JoinRequest] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)
    beat_times: list[float] = field(default_factory=list)
    leaves: list[LeaveRequest] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    denied: list[Denial] = field(default_factory=list)
    """Numbered from 1."""
    rules: dict[str, CredentialRule] = field(default_factory=dict)
    usage_status: int = 200
    usage_most: int = 500
    """A report of more is too large."""
    usage_gate: asyncio.Event | None = None
    """Reports are answered once it is set."""
    usage: list[UsageReport] = field(default_factory=list)
    """Those that were answered with 200."""
    usage_tries: int = 0
    lost_usage_replies: int = 0
    """How many reports are stored, but not answered."""
    next_token: str | None = None
    """What heartbeat replies offer."""
    known_tokens: set[str] = field(default_factory=set)
    """Those that a heartbeat may show; empty: any."""
    found: list[Found] = field(default_factory=list)
    """What was answered as `found_statuses` say, then with 204."""
    found_statuses: list[int] = field(default_factory=list)
    allocations: dict[tuple[str, str], AllocationReport] = field(default_factory=dict)
    """The latest of each, as the real one keeps them."""
    url: str = ""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def last(self) -> Heartbeat | None:
        return self.beats[-1] if self.beats else None

    def usable(self) -> bool:
        """What the real one asks for before it hands the node out."""
        last = self.last
        return (
            last is not None
            and last.coturn.state == "running"
            and last.probe is not None
            and last.probe.ok
            and {one.version for one in last.secrets} == set(self.secrets)
        )

    async def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, bytes] | None:
        match path:
            case "/api/v1/agents/join":
                self.joins.append(msgspec.json.decode(body, type=JoinRequest))
                if self.lost_joins:
                    self.lost_joins -= 1
                    return None
                reply = JoinReply(node_id="node-1", node_token=TOKEN, region="eu", realm=self.realm, interval_seconds=0.3)
                return self.join_status, msgspec.json.encode(reply) if self.join_status < 400 else b'{"detail":"spent"}'
            case "/api/v1/agents/heartbeat":
                self.authorizations.append(authorization)
                self.beats.append(msgspec.json.decode(body, type=Heartbeat))
                self.beat_times.append(time.monotonic())
                if self.known_tokens and authorization.removeprefix("Bearer ") not in self.known_tokens:
                    return 401, b'{"detail":"unknown"}'
                return self.heartbeat_status, msgspec.json.encode(self._reply(self.beats[-1]))
            case "/api/v1/agents/usage":
                return await self._take_usage(msgspec.json.decode(body, type=UsageReport))
            case "/api/v1/agents/found":
                self.found.append(msgspec.json.decode(body, type=Found))
                return self.found_statuses.pop(0) if self.found_statuses else 204, b""
            case "/healthz":
                return 200, b'{"alive":true}'
            case "/api/v1/agents/leave":
                self.leaves.append(msgspec.json.decode(body, type=LeaveRequest))
                return 204, b""
        return 404, b""

    async def _take_usage(self, report: UsageReport) -> tuple[int, bytes] | None:
        self.usage_tries += 1
        if self.usage_gate is not None:
            await self.usage_gate.wait()
        if len(report.allocations) > self.usage_most:
            return 413, b""
        if self.usage_status >= 400:
            return self.usage_status, b""
        for one in report.allocations:
            key = (one.coturn_boot_id, one.session_id)
            if key not in self.allocations or self.allocations[key].revision < one.revision:
                self.allocations[key] = one
        if self.lost_usage_replies:
            self.lost_usage_replies -= 1
            return None
        self.usage.append(report)
        asked = {*report.ask, *(one.credential_id for one in report.allocations)}
        return 200, msgspec.json.encode(UsageReply(rules=[rule for key, rule in self.rules.items() if key in asked]))

    def _denied(self, beat: Heartbeat) -> DenialsDelta | None:
        if beat.denied_up_to == len(self.denied):
            return None
        return DenialsDelta(up_to=len(self.denied), denials=self.denied[beat.denied_up_to :])

    def _reply(self, beat: Heartbeat) -> HeartbeatReply:
        right = {one.version for one in beat.secrets} == set(self.secrets)
        return HeartbeatReply(
            interval_seconds=self.interval_seconds,
            intent=self.intent,
            realm=self.realm,
            secret_versions=sorted(self.secrets),
            secrets=None if right else [NodeSecret(version=key, secret=value) for key, value in self.secrets.items()],
            server_at=time.time(),
            denied=self._denied(beat),
            node_token=self.next_token,
            coturn_generation=self.coturn_generation,
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                original = {line.split(": ")[0].lower(): line.split(": ", 1)[1] for line in head.split("\r\n")[1:] if line}
                answer = await self.answer(head.split(" ")[1], body, original.get("authorization", ""))
                if answer is None:
                    return
                status, content = answer
                wait = f"retry-after: {self.retry_after}\r\n" if self.retry_after is not None else ""
                now = formatdate(usegmt=True)
                writer.write(
                    f"HTTP/1.1 {status} X\r\ndate: {now}\r\n{wait}content-length: {len(content)}\r\n\r\n".encode() + content
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def drop_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def control_plane(*, port: int = 0, plane: ControlPlane | None = None) -> AsyncIterator[ControlPlane]:
    plane = plane or ControlPlane()
    server = await asyncio.start_server(plane.serve, LOOPBACK, port)
    plane.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    try:
        yield plane
    finally:
        server.close()
        plane.drop_connections()
        await server.wait_closed()
        await asyncio.sleep(0)
