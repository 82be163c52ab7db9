"""What coturn's verbose log says, as events. Pure.

A client that is not even authenticated can have coturn 4.6.1 write lines of its choice: a line break in a user name that is
refused stands in the log as it came. So every line that counts begins with a tag that only this host knows, through coturn's
own option for the form of its time stamps: `2026-11-22T05:34:25+0000.TAG: text` in 4.6.1, without the colon and with a level
(`INFO`) before the text in newer versions. What has no tag was never said by coturn itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from controlplane.wire.redacted import Redacted

TAG_DIGITS = 16
"""64 bits, as hex. coturn's format has room for 47 characters, and is handed on by strftime(3)."""

MOST_LINE_BYTES = 1200
"""coturn cuts what it says at 1024. Somebody else's endless line must not keep the patterns busy."""

_SESSION = re.compile(rb"session (\d{1,20}): (new, |usage: |refreshed, |closed \(2nd stage\), |delete: )", re.ASCII)
# User names of allocations have no blank in them (coturn refuses those), so the end of a line is coturn's own.
_NEW = re.compile(rb"realm=<[^>]*>, username=<(.*)>, lifetime=\d+(, cipher=.*)?", re.ASCII)
_USAGE = re.compile(rb"realm=<.*>, username=<.*>, rp=(\d+), rb=(\d+), sp=(\d+), sb=(\d+)", re.ASCII)
_RELEASED = re.compile(rb"realm=<.*>, username=<.*>, lifetime=0", re.ASCII)
# An origin may hold line breaks and words like these: the last ones are coturn's own.
_CLOSED = re.compile(rb"user <.*> realm <.*> origin <[\s\S]*>, local \S+, remote (\S+), reason: ([^\r\n]*)[\s\S]*", re.ASCII)
_OUR_BOOT = re.compile(rb"turnfleet: boot ([A-Za-z0-9_-]{8,64})", re.ASCII)
_COTURNS_START = b"Default realm: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """A coturn begins. Its lines follow."""

    at: float
    boot_id: str | None
    """As the agent wrote it before it started coturn. None: coturn's own line about its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    at: float
    session_id: str
    username: str
    over_tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """What came since the last such line of the session, headers included."""

    at: float
    session_id: str
    packets_from_client: int
    bytes_from_client: int
    packets_to_client: int
    bytes_to_client: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The client gave it back. coturn closes it about a second later, and calls that a timeout."""

    at: float
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    at: float
    session_id: str
    client: str
    """Address and port."""
    reason: str
    """In coturn's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    at: float
    session_id: str


Event = Booted | Started | Relayed | Released | Closed | Deleted


def log_tag(cli_password: Redacted) -> str:
    """The same after a restart of the agent, and of no use to find the password."""
    return hmac.new(cli_password.reveal().encode(), b"turnfleet/log", hashlib.sha256).hexdigest()[:TAG_DIGITS]


def timestamp_format(tag: str) -> str:
    """For coturn's `new-log-timestamp-format`."""
    return f"%FT%T%z.{tag}"


def boot_line(tag: str, boot_id: str, *, at: float) -> bytes:
    """What the agent writes into the log before it starts a coturn: whose the lines behind it are."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    return f"{moment}.{tag}: turnfleet: boot {boot_id}\n".encode()


class LogReader:
    """Reads pieces of the log that end with whole lines."""

    def __init__(self, tag: str) -> None:
        stamp = rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?[+-]\d{4})"
        # Not at the start of a line only: coturn cuts long lines, and the next one then follows without a break.
        self._prefix = re.compile(stamp + rb"\." + tag.encode() + rb":? (?:[A-Z]{4,8} )?", re.ASCII)
        self._stamp = b""
        self._at = 0.0

    def events(self, piece: bytes) -> Iterator[tuple[int, Event]]:
        """Each with the place of its line in the piece. What means nothing here is passed over."""
        found = list(self._prefix.finditer(piece))
        for index, start in enumerate(found):
            end = found[index + 1].start() if index + 1 < len(found) else len(piece)
            text = piece[start.end() : min(end, start.end() + MOST_LINE_BYTES)]
            if not text.startswith((b"session ", b"turnfleet: ", _COTURNS_START)):
                continue
            at = self._moment(start[1])
            if at is not None:
                event = _event(text, at)
                if event is not None:
                    yield start.start(), event

    def _moment(self, stamp: bytes) -> float | None:
        if stamp != self._stamp:
            try:
                self._at = datetime.fromisoformat(stamp.decode("ascii")).timestamp()
            except (ValueError, OverflowError):
                return None
            self._stamp = stamp
        return self._at


def _event(text: bytes, at: float) -> Event | None:
    session = _SESSION.match(text)
    if session is None:
        if ours := _OUR_BOOT.fullmatch(text.partition(b"\n")[0]):
            return Booted(at=at, boot_id=ours[1].decode())
        return Booted(at=at, boot_id=None) if text.startswith(_COTURNS_START) else None
    session_id, kind, said = session[1].decode(), session[2], text[session.end() :]
    rest = said.partition(b"\n")[0].rstrip(b"\r")
    match kind:
        case b"new, ":
            if found := _NEW.fullmatch(rest):
                name = found[1].decode("utf-8", "replace")
                return Started(at=at, session_id=session_id, username=name, over_tls=found[2] is not None)
        case b"usage: ":
            if found := _USAGE.fullmatch(rest):
                received, bytes_received, sent, bytes_sent = (_count(one) for one in found.groups())
                return Relayed(
                    at=at,
                    session_id=session_id,
                    packets_from_client=received,
                    bytes_from_client=bytes_received,
                    packets_to_client=sent,
                    bytes_to_client=bytes_sent,
                )
        case b"refreshed, ":
            if _RELEASED.fullmatch(rest):
                return Released(at=at, session_id=session_id)
        case b"delete: ":
            return Deleted(at=at, session_id=session_id)
        case _:
            if found := _CLOSED.fullmatch(said):
                client, reason = found[1].decode("ascii", "replace"), found[2].decode("ascii", "replace")
                return Closed(at=at, session_id=session_id, client=client, reason=reason)
    return None


_MOST = 2**48
"""Of one line: coturn tells every 4096 packets."""


def _count(digits: bytes) -> int:
    return min(_MOST, int(digits[:20]))
