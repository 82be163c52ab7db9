"""What nodes look like from outside: written by the leader, read by every replica in the background, never by a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis

from controlplane.fleet.model import Transport
from controlplane.fleet.outside import ListenerSeen, Outside, PeersSeen, ProberPlace, Sight, Standing
from controlplane.redis_store.connection import available_or, connect_redis
from controlplane.redis_store.keys import OUTSIDE, OUTSIDE_AT, OUTSIDE_TERM
from controlplane.redis_store.stamped import PUT, StampedHash

STORED_VERSION = 1
EXPIRE_SECONDS = 3600
TERM_SECONDS = 60
"""Longer than a leader that was frozen takes to notice. After a PostgreSQL that was restored, terms begin lower."""
_PLACE = ""
"""The field that is no node's id."""
_WRITTEN_AT_ONCE = 500
_CONNECTIONS = 2

_PUT_IN_TERM = f"""
local term = tonumber(redis.call('GET', KEYS[3]) or '0')
local mine = tonumber(table.remove(ARGV, 1))
if mine < term then return 0 end
redis.call('SET', KEYS[3], mine, 'EX', {TERM_SECONDS})
for i = 1, 2 do redis.call('EXPIRE', KEYS[i], {EXPIRE_SECONDS}) end
{PUT}
"""


class OutsideUnavailableError(Exception):
    """Redis did not answer in time, or refused."""


class _StoredListener(msgspec.Struct, frozen=True, array_like=True):
    url: str
    transport: Transport
    sight: Sight
    failure: str
    words: str
    milliseconds: float | None
    failures: int
    certificate_expires_at: float | None


class _StoredOutside(msgspec.Struct, frozen=True, array_like=True):
    """Positional, so some 300 bytes a node. New fields go to the end, with a default. Instants are Unix seconds."""

    version: int
    probed_at: float
    sight: Sight
    listeners: list[_StoredListener]
    failures: int
    successes: int
    failing_since: float | None
    standing: Standing
    since: float | None
    downs: list[float]
    quarantines: int
    held_until: float | None
    peers: tuple[float, str | None, list[str]] | None


class _StoredPlace(msgspec.Struct, frozen=True, array_like=True):
    version: int
    ours: bool
    since: float | None
    failing: int
    tried: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_StoredOutside)
_place_decoder = msgspec.msgpack.Decoder(_StoredPlace)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideChanges:
    cursor: int
    nodes: list[tuple[str, Outside, float]]
    """Id, what was seen, and how many seconds ago that was written."""
    place: tuple[ProberPlace, float] | None


class OutsideStore:
    """Create with `connect`, end with `close`. Every call raises OutsideUnavailableError."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._seen = StampedHash(client, values=OUTSIDE, times=OUTSIDE_AT)
        self._put = client.register_script(_PUT_IN_TERM)

    @classmethod
    def connect(cls, url: str) -> OutsideStore:
        """Connects at the first call."""
        return cls(connect_redis(url, connections=_CONNECTIONS))

    async def close(self) -> None:
        await self._client.aclose()

    async def put(self, seen: Mapping[str, Outside], *, place: ProberPlace | None, epoch: int) -> bool:
        """False: a later term has written, and this one's word counts no more."""
        values = [(node_id, encode_outside(outside)) for node_id, outside in seen.items()]
        if place is not None:
            values.append((_PLACE, _encode_place(place)))
        for first in range(0, len(values), _WRITTEN_AT_ONCE):
            flat = [part for value in values[first : first + _WRITTEN_AT_ONCE] for part in value]
            with available_or(OutsideUnavailableError):
                if not await self._put(keys=[OUTSIDE, OUTSIDE_AT, OUTSIDE_TERM], args=[epoch, *flat]):
                    return False
        return True

    async def forget(self, node_ids: Sequence[str]) -> None:
        with available_or(OutsideUnavailableError):
            await self._seen.forget(node_ids)

    async def changed_since(self, cursor: int) -> OutsideChanges:
        """What was written since the reading that gave `cursor`; 0 for everything. What is damaged or newer is left out."""
        with available_or(OutsideUnavailableError):
            now, changed = await self._seen.changed_since(cursor)
        nodes: list[tuple[str, Outside, float]] = []
        place: tuple[ProberPlace, float] | None = None
        for each in changed:
            try:
                if each.field == _PLACE:
                    place = (_decode_place(each.blob), each.age_seconds)
                else:
                    nodes.append((each.field, decode_outside(each.blob), each.age_seconds))
            except (msgspec.MsgspecError, ValueError, OverflowError, OSError):
                continue  # the next round replaces it
        return OutsideChanges(cursor=now, nodes=nodes, place=place)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe_at(seconds: float | None) -> datetime | None:
    return None if seconds is None else _at(seconds)


def encode_outside(outside: Outside) -> bytes:
    peers = outside.peers
    return _encoder.encode(
        _StoredOutside(
            version=STORED_VERSION,
            probed_at=outside.probed_at.timestamp(),
            sight=outside.sight,
            listeners=[
                _StoredListener(
                    url=each.url,
                    transport=each.transport,
                    sight=each.sight,
                    failure=each.failure,
                    words=each.words,
                    milliseconds=each.milliseconds,
                    failures=each.failures,
                    certificate_expires_at=_seconds(each.certificate_expires_at),
                )
                for each in outside.listeners
            ],
            failures=outside.failures,
            successes=outside.successes,
            failing_since=_seconds(outside.failing_since),
            standing=outside.standing,
            since=_seconds(outside.since),
            downs=[each.timestamp() for each in outside.downs],
            quarantines=outside.quarantines,
            held_until=_seconds(outside.held_until),
            peers=None if peers is None else (peers.tried_at.timestamp(), peers.coturn_boot_id, list(peers.permitted)),
        )
    )


def decode_outside(blob: bytes) -> Outside:
    """Raises MsgspecError, ValueError, OverflowError or OSError."""
    stored = _decoder.decode(blob)
    if stored.version != STORED_VERSION:
        raise ValueError(f"What was seen from outside has version {stored.version}; this release reads {STORED_VERSION}.")
    return Outside(
        probed_at=_at(stored.probed_at),
        sight=stored.sight,
        listeners=tuple(
            ListenerSeen(
                url=each.url,
                transport=each.transport,
                sight=each.sight,
                failure=each.failure,
                words=each.words,
                milliseconds=each.milliseconds,
                failures=each.failures,
                certificate_expires_at=_maybe_at(each.certificate_expires_at),
            )
            for each in stored.listeners
        ),
        failures=stored.failures,
        successes=stored.successes,
        failing_since=_maybe_at(stored.failing_since),
        standing=stored.standing,
        since=_maybe_at(stored.since),
        downs=tuple(_at(each) for each in stored.downs),
        quarantines=stored.quarantines,
        held_until=_maybe_at(stored.held_until),
        peers=None
        if stored.peers is None
        else PeersSeen(tried_at=_at(stored.peers[0]), coturn_boot_id=stored.peers[1], permitted=tuple(stored.peers[2])),
    )


def _encode_place(place: ProberPlace) -> bytes:
    return _encoder.encode(
        _StoredPlace(version=STORED_VERSION, ours=place.ours, since=_seconds(place.since), failing=place.failing, tried=place.tried)
    )


def _decode_place(blob: bytes) -> ProberPlace:
    stored = _place_decoder.decode(blob)
    if stored.version != STORED_VERSION:
        raise ValueError("Of another release.")
    return ProberPlace(ours=stored.ours, since=_maybe_at(stored.since), failing=stored.failing, tried=stored.tried)
