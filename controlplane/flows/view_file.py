"""The last good view of the fleet on this replica's disk: what a process that starts while Redis is away begins with.

Written every half minute while Redis can be read. One that is older than silence is held says nothing any more.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import structlog
from uuid_utils import uuid7

from controlplane.fleet.model import NodeRecord
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.redis_store.records import RecordUnreadableError, decode_record, encode_record

FIRST_SECONDS = 5.0
WRITE_SECONDS = 30.0

log = structlog.get_logger()


class _StoredView(msgspec.Struct, frozen=True):
    written_at: float
    """Unix seconds."""
    nodes: list[tuple[str, float, bytes]]
    """(node id, age of its report in seconds when this was written, the record as in Redis)."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_StoredView)


class ViewFile:
    """Run `run()` as a task, after `load_if_blind()`."""

    def __init__(self, path: Path, keeper: FleetKeeper) -> None:
        self._path = path
        self._keeper = keeper
        self._failing = ""

    def load_if_blind(self) -> None:
        """Begin with the file where Redis could not be read at all."""
        if self._keeper.read_at is not None:
            return
        try:
            stored = _decoder.decode(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            log.info("fleet_view_not_loaded", reason=str(error))
            return
        now, passed = time.monotonic(), time.time() - stored.written_at
        if not 0 <= passed <= self._keeper.view.policy.silence_hold_seconds:
            log.info("fleet_view_not_loaded", reason=f"It was written {passed:.0f} s ago.")
            return
        loaded = 0
        for node_id, age, blob in stored.nodes:
            try:
                self._keeper.view.put_record(node_id, decode_record(blob), received=now - age - passed)
                loaded += 1
            except RecordUnreadableError:
                continue
        if not loaded:
            log.info("fleet_view_not_loaded", reason="There is no readable record in it.")
            return
        self._keeper.began_with_an_old_view(written_at=now - passed)
        log.warning("fleet_view_loaded", nodes=loaded, age_seconds=round(passed, 1))

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            if self._keeper.seeing:
                await self.write()
            await asyncio.sleep(WRITE_SECONDS)

    async def write(self) -> None:
        """What the disk refuses is tried again next time, and said once."""
        view, now = self._keeper.view, time.monotonic()
        known = [
            (node_id, max(0.0, now - (view.received_at(node_id) or now)), record) for node_id, record in view.records().items()
        ]
        try:
            await asyncio.to_thread(_replace, self._path, known)
            self._failing = ""
        except OSError as error:
            if str(error) != self._failing:
                self._failing = str(error)
                log.error("fleet_view_not_written", reason=str(error))  # noqa: TRY400 - the sentence says it all


def _replace(path: Path, known: list[tuple[str, float, NodeRecord]]) -> None:
    """In a thread: to encode 10,000 records takes longer than a request may wait."""
    nodes = [(node_id, age, encode_record(record)) for node_id, age, record in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may share the folder, each in a container of its own with the same pid.
    fresh = path.with_name(f"{path.name}.{uuid7()}")
    try:
        fresh.write_bytes(_encoder.encode(_StoredView(written_at=time.time(), nodes=nodes)))
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
