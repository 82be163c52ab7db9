"""From the journal to PostgreSQL: in batches, in order, again until it is taken. Orphaned journals are adopted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from controlplane.fleet.issue import Issue
from controlplane.journal.codec import decode_frames, encode_frame
from controlplane.journal.record import decode_issue, encode_issue
from controlplane.journal.segments import FolderLock, remove_folder, segment_numbers, segment_path
from controlplane.journal.writer import JournalWriter

BATCH_RECORDS = 1000
_READ_BYTES = 512 * 1024
_GATHER_SECONDS = 0.05
"""Records of the next moments share a batch; well inside the 200 ms within which a record is to be shipped."""
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
_ADOPT_EVERY_SECONDS = 15.0

REJECTED_NAME = "rejected.journal"
"""Beside the journals' folders: frames that PostgreSQL will never take, kept for people."""


class SinkUnavailableError(Exception):
    """The sink cannot take anything now; the same batch is offered again later."""


Sink = Callable[[Sequence[Issue]], Awaitable[Sequence[Issue]]]
"""Takes a batch durably and idempotently; returns the records it can never take. Raises SinkUnavailableError."""

log = structlog.get_logger()


class Shipper:
    """Ships one process's journal while it is written, and the journals of dead processes in the same root folder."""

    def __init__(self, writer: JournalWriter, sink: Sink) -> None:
        self._writer = writer
        self._sink = sink
        self._segment = 1
        self._offset = 0
        self.shipped_records = 0
        self.rejected_records = 0
        self.adopted_journals = 0
        self.sink_failing = False

    async def run(self) -> None:
        """Ship until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ship_own(), name="journal-ship")
            tasks.create_task(self._adopt_orphans(), name="journal-adopt")

    async def drain(self) -> bool:
        """At the end of the process, after the writer was closed: one try to ship the rest. True when nothing is left."""
        try:
            while await self._ship_some():
                pass
        except SinkUnavailableError:
            return False
        return self._writer.backlog_bytes == 0

    async def _ship_own(self) -> None:
        while True:
            await self._writer.flushed.wait()
            self._writer.flushed.clear()
            await asyncio.sleep(_GATHER_SECONDS)
            while await self._with_retries(self._ship_some):
                pass

    async def _ship_some(self) -> bool:
        """One batch of our own journal. False when everything durable is shipped. Raises SinkUnavailableError."""
        newest, durable = self._writer.segment, self._writer.durable_bytes
        if newest == 0 or self._segment > newest:
            return False
        if self._segment == newest and self._offset >= durable:
            if self._writer.abandoned:
                await self._remove_shipped_segment()
            return False
        end = durable if self._segment == newest else None
        records, consumed, done = await asyncio.to_thread(_read_batch, self._writer.folder, self._segment, self._offset, end)
        await self._hand_over(records)
        self._offset += consumed
        self._writer.backlog_bytes = max(0, self._writer.backlog_bytes - consumed)
        if done and self._segment < newest:
            await self._remove_shipped_segment()
        return True

    async def _remove_shipped_segment(self) -> None:
        path = segment_path(self._writer.folder, self._segment)
        self._segment, self._offset = self._segment + 1, 0
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _hand_over(self, payloads: list[bytes]) -> None:
        records = []
        rejected = []
        for payload in payloads:
            try:
                records.append(decode_issue(payload))
            except msgspec.MsgspecError:
                rejected.append(payload)
        if records:
            refused = await self._sink(records)
            rejected += [encode_issue(issue) for issue in refused]
            self.shipped_records += len(records) - len(refused)
        if rejected:
            self.rejected_records += len(rejected)
            await asyncio.to_thread(_keep_rejected, self._writer.folder.parent / REJECTED_NAME, rejected)
            log.error("journal_records_rejected", count=len(rejected), kept_in=REJECTED_NAME)

    async def _with_retries(self, action: Callable[[], Awaitable[bool]]) -> bool:
        failures = 0
        while True:
            try:
                result = await action()
            except SinkUnavailableError as error:
                if not self.sink_failing:
                    log.warning("journal_shipping_paused", reason=str(error), backlog_bytes=self._writer.backlog_bytes)
                self.sink_failing = True
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
                continue
            if self.sink_failing:
                log.info("journal_shipping_resumed", backlog_bytes=self._writer.backlog_bytes)
            self.sink_failing = False
            return result

    async def _adopt_orphans(self) -> None:
        while True:
            for folder in await asyncio.to_thread(_sibling_folders, self._writer.folder):
                await self._adopt(folder)
            await asyncio.sleep(_ADOPT_EVERY_SECONDS)

    async def _adopt(self, folder: Path) -> None:
        try:
            lock = await asyncio.to_thread(FolderLock.take, folder)
        except FileNotFoundError:
            return  # another process has just adopted and removed it
        if lock is None:
            return
        try:
            for number in await asyncio.to_thread(segment_numbers, folder):
                await self._ship_orphaned_segment(folder, number)
            await asyncio.to_thread(remove_folder, folder)
            self.adopted_journals += 1
            log.info("journal_adopted", journal=folder.name)
        finally:
            lock.release()

    async def _ship_orphaned_segment(self, folder: Path, number: int) -> None:
        offset, done = 0, False
        while not done:
            payloads, consumed, done = await asyncio.to_thread(_read_batch, folder, number, offset, None)
            offset += consumed

            async def hand_over(batch: list[bytes] = payloads) -> bool:
                await self._hand_over(batch)
                return True

            await self._with_retries(hand_over)


def _read_batch(folder: Path, number: int, offset: int, end: int | None) -> tuple[list[bytes], int, bool]:
    """(payloads, bytes they took, whether nothing readable follows). `end` limits what may be read; None reads a dead segment."""
    size = _READ_BYTES if end is None else min(_READ_BYTES, end - offset)
    try:
        with segment_path(folder, number).open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except FileNotFoundError:
        return [], 0, True
    decoded = decode_frames(data, limit=BATCH_RECORDS)
    if decoded.damaged:
        log.error("journal_segment_damaged", journal=folder.name, segment=number, offset=offset + decoded.consumed)
    more = not decoded.damaged and (decoded.consumed < len(data) or len(data) == size) and decoded.consumed > 0
    return decoded.payloads, decoded.consumed, not more


def _keep_rejected(path: Path, payloads: list[bytes]) -> None:
    with path.open("ab") as file:
        file.write(b"".join(encode_frame(payload) for payload in payloads))


def _sibling_folders(own: Path) -> list[Path]:
    return sorted(path for path in own.parent.iterdir() if path.is_dir() and path != own)
