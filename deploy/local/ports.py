"""Which port is whose, and whether it is free.

A stack takes one contiguous block that starts at its base, so that several run side by side:

    base + 0    API                    base + 20 + 220 n   first of node n:
    base + 1    metrics of the API         + 0             TURN over UDP and TCP
    base + 2    metrics of the jobs        + 1             TURN over TLS
    base + 3    Redis                      + 2             coturn's command line
    base + 4    PostgreSQL                 + 3             metrics of the agent
                                           + 10 … + 219    relay ports

A stack of two nodes at the default base therefore holds 8080 … 8539.
"""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["DEFAULT_BASE", "HOST", "NodePorts", "PortPlan", "PortsTaken", "ReservedPorts", "reserve_ports"]

HOST = "127.0.0.1"
DEFAULT_BASE = 8080
HEAD_COUNT = 20
NODE_COUNT = 220
RELAY_OFFSET = 10
LAST_PORT = 65_535

# Tests take their ports from here: above the well-known ones, and below the range from which Linux and macOS give
# outgoing connections theirs, so that a server which a test restarts finds its port still free.
TEST_RANGE = range(15_000, 32_000)
TEST_STEP = 20


class PortsTaken(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """Ports that the stack needs are in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    turn: int
    tls: int
    cli: int
    metrics: int
    relay_first: int
    relay_last: int

    @property
    def relay_range(self) -> str:
        return f"{self.relay_first}-{self.relay_last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPlan:
    """The layout above for a given base and number of nodes."""

    base: int
    node_count: int

    def __post_init__(self) -> None:
        if self.base < 1 or self.base + self.count - 1 > LAST_PORT:
            raise ValueError(
                f"a stack of {self.node_count} nodes takes {self.count} ports from its base: "
                f"the base must be between 1 and {LAST_PORT + 1 - self.count}"
            )

    @property
    def count(self) -> int:
        return HEAD_COUNT + NODE_COUNT * self.node_count

    @property
    def api(self) -> int:
        return self.base

    @property
    def metrics(self) -> int:
        return self.base + 1

    @property
    def jobs_metrics(self) -> int:
        return self.base + 2

    @property
    def redis(self) -> int:
        return self.base + 3

    @property
    def postgres(self) -> int:
        return self.base + 4

    def node(self, index: int) -> NodePorts:
        if not 0 <= index < self.node_count:
            raise IndexError(f"node {index} of {self.node_count}")
        first = self.base + HEAD_COUNT + NODE_COUNT * index
        return NodePorts(
            turn=first,
            tls=first + 1,
            cli=first + 2,
            metrics=first + 3,
            relay_first=first + RELAY_OFFSET,
            relay_last=first + NODE_COUNT - 1,
        )

    def taken(self) -> list[str]:
        """Every needed port that somebody holds, as `what PORT/protocol`."""
        return [
            f"{what} {port}/{'udp' if kind == socket.SOCK_DGRAM else 'tcp'}"
            for what, port, kind in self._needed()
            if not _is_free(port, kind)
        ]

    def require_free(self) -> None:
        """Raises PortsTaken, naming them and a base that would do."""
        taken = self.taken()
        if not taken:
            return
        shown = ", ".join(taken[:6]) + (f" and {len(taken) - 6} more" if len(taken) > 6 else "")  # noqa: PLR2004
        hint = next((f"; --port-base {base} is free" for base in self._other_bases()), "")
        raise PortsTaken(f"in use by another program: {shown}{hint}")

    def _other_bases(self) -> Iterator[int]:
        for base in range(self.base + 1000, min(self.base + 20_000, LAST_PORT - self.count), 1000):
            if not PortPlan(base=base, node_count=self.node_count).taken():
                yield base

    def _needed(self) -> Iterator[tuple[str, int, socket.SocketKind]]:
        tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
        yield from (
            ("API", self.api, tcp),
            ("metrics", self.metrics, tcp),
            ("metrics of the jobs", self.jobs_metrics, tcp),
            ("Redis", self.redis, tcp),
            ("PostgreSQL", self.postgres, tcp),
        )
        for index in range(self.node_count):
            ports = self.node(index)
            name = f"node {index + 1}"
            yield (f"TURN of {name}", ports.turn, udp)
            yield (f"TURN of {name}", ports.turn, tcp)
            yield (f"TURN over TLS of {name}", ports.tls, tcp)
            yield (f"coturn's command line of {name}", ports.cli, tcp)
            yield (f"metrics of the agent of {name}", ports.metrics, tcp)
            for port in range(ports.relay_first, ports.relay_last + 1):
                yield (f"relay of {name}", port, udp)


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM and sys.platform == "linux":
            # Otherwise connections of a stack that just went down (TIME_WAIT) would count. A listener still does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


class ReservedPorts:
    """`count` neighbouring ports from `base`, ours until released, whichever test process asks next."""

    def __init__(self, base: int, count: int, locks: contextlib.ExitStack) -> None:
        self.base = base
        self.count = count
        self._locks = locks

    def release(self) -> None:
        self._locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def reserve_ports(count: int = 1) -> ReservedPorts:
    """Free ports on loopback for a test. Use as a context manager, or call `release`."""
    slots = -(-count // TEST_STEP)
    # Test processes start at different places, so that they do not all try the same slots one after the other.
    offset = (os.getpid() * 37) % (len(TEST_RANGE) // TEST_STEP)
    for attempt in range(len(TEST_RANGE) // TEST_STEP):
        base = TEST_RANGE.start + ((offset + attempt) * TEST_STEP) % len(TEST_RANGE)
        if base + slots * TEST_STEP > TEST_RANGE.stop:
            continue
        with contextlib.ExitStack() as locks:
            if all(_lock_slot(base + slot * TEST_STEP, locks) for slot in range(slots)) and _all_free(base, count):
                return ReservedPorts(base, count, locks.pop_all())
    raise PortsTaken(f"no {count} neighbouring ports are free between {TEST_RANGE.start} and {TEST_RANGE.stop}")


def _all_free(base: int, count: int) -> bool:
    return all(_is_free(port, kind) for port in range(base, base + count) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))


def _lock_slot(slot: int, locks: contextlib.ExitStack) -> bool:
    folder = Path(tempfile.gettempdir()) / f"turnfleet-ports-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / str(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    locks.callback(os.close, descriptor)
    return True
