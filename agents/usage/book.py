"""The allocations of the coturn that runs, as its log tells of them. Pure: events in, changed records out.

Ids begin anew with each start of coturn, so all of a coturn's allocations end with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from agents.usage.lines import Booted, Closed, Deleted, Event, Relayed, Released, Started
from agents.usage.meter import Meter
from agents.usage.username import Credential, credential
from controlplane.turn.username import is_probe
from controlplane.wire.agent_api import Transport

EndReason = Literal["client", "timeout", "revoked", "expired", "quota", "drained", "coturn_ended", "other"]
"""client: it was released, or its connection closed. timeout: it was not refreshed. revoked, expired, quota: the agent ended it,
see `agents.usage.enforce`. coturn_ended: coturn did, and all with it. other: coturn closed it for a reason of its own."""
CutReason = Literal["revoked", "expired", "quota", "drained"]

LATE_SECONDS = 60.0
"""How long an ended allocation is remembered for lines that come late."""
MOST_CUTS = 10_000
MOST_COUNTED = 2**53
"""What the wire takes."""


@dataclass(slots=True, eq=False, kw_only=True)
class Allocation:
    boot_id: str
    session_id: str
    started_at: float
    username: str
    credential: Credential | None
    client_address: str | None = None
    transport: Transport | None = None
    bytes_from_client: int = 0
    bytes_to_client: int = 0
    packets_from_client: int = 0
    packets_to_client: int = 0
    released: bool = False
    cut: CutReason | None = None
    ended_at: float | None = None
    end_reason: EndReason | None = None
    revision: int = 1
    meter: Meter
    looked_for: int = 0
    """How often the command line was asked for what the log does not tell."""

    @property
    def total_bytes(self) -> int:
        return self.bytes_from_client + self.bytes_to_client


@dataclass(slots=True, kw_only=True)
class Boot:
    id: str
    begun: bool
    """coturn told of its start itself. A second time, it is another start."""


@dataclass(slots=True)
class Book:
    boot: Boot | None = None
    allocations: dict[str, Allocation] = field(default_factory=dict)
    """Of the boot, by session id: those that live, and those that ended a moment ago."""
    by_credential: dict[str, dict[str, Allocation]] = field(default_factory=dict)
    """Those that live, in the order in which they began."""
    changed: set[Allocation] = field(default_factory=set)
    """Since the last call of take_changes()."""
    news: bool = False
    """Some of the changes are a start or an end."""
    boot_changed: bool = False
    unplaced: dict[str, Allocation] = field(default_factory=dict)
    """Those that live and whose client or transport nobody told yet."""
    started: int = 0
    """How many began, as far as this run of the agent has read."""
    cuts: dict[str, CutReason] = field(default_factory=dict)
    """Sessions that were ended before the log told of them."""

    def load(self, boot: Boot | None, found: Iterable[Allocation]) -> None:
        """What an earlier run of the agent left."""
        self.boot = boot
        for one in found:
            self.allocations[one.session_id] = one
            if one.ended_at is None:
                self._count_in(one)

    def living(self) -> Iterable[Allocation]:
        return (one for one in self.allocations.values() if one.ended_at is None)

    def apply(self, event: Event, *, place: str) -> None:
        """`place` is where in which file the line is: the name of a boot that nobody named."""
        match event:
            case Booted():
                self._boot(event, place)
            case Started():
                self._start(event)
            case Relayed():
                self._relay(event)
            case Released(session_id=session_id):
                if (one := self._living(session_id)) is not None:
                    one.released = True
                    self.changed.add(one)
            case Closed(at=at, session_id=session_id):
                if (one := self._living(session_id)) is not None:
                    one.client_address = one.client_address or without_port(event.client)
                    one.transport = one.transport or _transport_of(event.reason)
                    self._end(one, end_reason(event.reason, one), at=at)
            case Deleted(at=at, session_id=session_id):
                if (one := self._living(session_id)) is not None:
                    self._end(one, one.cut or "other", at=at)

    def describe(self, session_id: str, username: str, *, client: str, transport: Transport | None) -> None:
        """What the command line tells and the log does not."""
        one = self._living(session_id)
        if one is not None and one.username == username and (one.client_address is None or one.transport is None):
            one.client_address = without_port(client)
            one.transport = transport
            self.unplaced.pop(session_id, None)
            one.revision += 1
            self.changed.add(one)
            self.news = True

    def cut(self, session_id: str, reason: CutReason) -> bool:
        """Notes why coturn was told to end it. False when that is known already."""
        one = self._living(session_id)
        if (one.cut if one is not None else self.cuts.get(session_id)) is not None:
            return False
        if one is not None:
            one.cut = reason
            self.changed.add(one)
        elif len(self.cuts) < MOST_CUTS:
            self.cuts[session_id] = reason
        return True

    def coturn_ended(self, *, at: float) -> None:
        """All of its log has been read, and it is gone."""
        for one in list(self.living()):
            self._end(one, one.cut or "coturn_ended", at=at)

    def forget_ended(self, *, now: float) -> None:
        for one in [one for one in self.allocations.values() if one.ended_at is not None and one.ended_at < now - LATE_SECONDS]:
            if one not in self.changed:
                del self.allocations[one.session_id]

    def take_changes(self) -> list[Allocation]:
        taken = sorted(self.changed, key=lambda one: (one.started_at, one.session_id))
        self.changed.clear()
        self.news = self.boot_changed = False
        return taken

    def _boot(self, event: Booted, place: str) -> None:
        if event.boot_id is None and self.boot is not None and not self.boot.begun:
            self.boot.begun = True
        elif event.boot_id is None or self.boot is None or event.boot_id != self.boot.id:
            self.coturn_ended(at=event.at)
            self.allocations.clear()
            self.by_credential.clear()
            self.unplaced.clear()
            self.cuts.clear()
            named = event.boot_id or hashlib.sha256(place.encode()).hexdigest()[:16]
            self.boot = Boot(id=named, begun=event.boot_id is None)
        else:
            return
        self.boot_changed = True

    def _start(self, event: Started) -> None:
        if self.boot is None or is_probe(event.username):
            return
        self.started += 1
        known = self.allocations.get(event.session_id)
        if known is not None:
            # The same 5-tuple allocated anew before coturn had closed it: for coturn the session goes on.
            known.released = False
            if known.ended_at is None:
                return
            known.ended_at = known.end_reason = known.cut = None
            known.revision += 1
        one = known or Allocation(
            boot_id=self.boot.id,
            session_id=event.session_id,
            started_at=event.at,
            username=event.username,
            credential=credential(event.username),
            transport="tls" if event.over_tls else None,
            cut=self.cuts.pop(event.session_id, None),
            meter=Meter(since=event.at),
        )
        self.allocations[event.session_id] = one
        self._count_in(one)
        self.changed.add(one)
        self.news = True

    def _relay(self, event: Relayed) -> None:
        one = self.allocations.get(event.session_id)
        if one is None:
            return
        one.packets_from_client = min(MOST_COUNTED, one.packets_from_client + event.packets_from_client)
        one.bytes_from_client = min(MOST_COUNTED, one.bytes_from_client + event.bytes_from_client)
        one.packets_to_client = min(MOST_COUNTED, one.packets_to_client + event.packets_to_client)
        one.bytes_to_client = min(MOST_COUNTED, one.bytes_to_client + event.bytes_to_client)
        one.meter.add(one.total_bytes, at=event.at)
        one.revision += 1
        self.changed.add(one)

    def _end(self, one: Allocation, reason: EndReason, *, at: float) -> None:
        one.ended_at = max(at, one.started_at)
        one.end_reason = reason
        one.revision += 1
        self.changed.add(one)
        self.news = True
        self.unplaced.pop(one.session_id, None)
        if one.credential is not None:
            of_it = self.by_credential.get(one.credential.id, {})
            of_it.pop(one.session_id, None)
            if not of_it:
                self.by_credential.pop(one.credential.id, None)

    def _living(self, session_id: str) -> Allocation | None:
        one = self.allocations.get(session_id)
        return one if one is not None and one.ended_at is None else None

    def _count_in(self, one: Allocation) -> None:
        if one.client_address is None or one.transport is None:
            self.unplaced[one.session_id] = one
        if one.credential is not None:
            self.by_credential.setdefault(one.credential.id, {})[one.session_id] = one


def end_reason(words: str, one: Allocation) -> EndReason:
    """coturn's reason for the end of an allocation, as one of ours."""
    if one.cut is not None:
        return one.cut
    if words == "allocation timeout":
        return "client" if one.released else "timeout"
    if words == "allocation watchdog determined stale session state":
        return "timeout"
    return "client" if "connection closed by client" in words else "other"


def without_port(address: str) -> str:
    """`192.0.2.7:5000` and `[2001:db8::7]:5000` without their ports."""
    host = address.rpartition(":")[0]
    return host.removeprefix("[").removesuffix("]")[:45]


def _transport_of(reason: str) -> Transport | None:
    """Of an allocation that ended before the command line was asked: only a stream ends in these words."""
    return "tcp" if reason.startswith("TCP ") else None
