"""From the journal to PostgreSQL: in batches, in order, again until it is taken. Orphaned journals are adopted."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from controlplane.fleet.issue import Issue
from controlplane.journal.codec import decode_frames, encode_frame
from controlplane.journal.record import decode_issue, encode_issue
from controlplane.journal.segments import (
    FolderLock,
    GateLock,
    is_damaged,
    remove_folder,
    segment_numbers,
    segment_path,
    set_damaged_aside,
)
from controlplane.journal.writer import JournalWriter

BATCH_RECORDS = 1000
_READ_BYTES = 512 * 1024
_GATHER_SECONDS = 0.05
"""Records of the next moments share a batch; well inside the 200 ms within which a record is to be shipped."""
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
_ADOPT_EVERY_SECONDS = 15.0
_TRY_AGAIN_SECONDS = 1.0
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A journal's folder is named by a UUID."""

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

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """To be run until they are cancelled."""
        return [self._ship_own(), self._adopt_orphans(), self._try_again()]

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
        batch = await asyncio.to_thread(_read_batch, self._writer.folder, self._segment, self._offset, end)
        await self._hand_over(batch.payloads)
        self._offset += batch.consumed
        self._writer.backlog_bytes = max(0, self._writer.backlog_bytes - batch.consumed)
        if self._segment == newest:
            return batch.consumed > 0  # damaged here, the rest waits for this process' successor
        if batch.damaged:
            await asyncio.to_thread(set_damaged_aside, self._writer.folder, self._segment)
            self._writer.backlog_bytes = max(0, self._writer.backlog_bytes - batch.unread)
            self._segment, self._offset = self._segment + 1, 0
        elif batch.done:
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
            try:
                await asyncio.to_thread(_keep_rejected, self._writer.folder.parent / REJECTED_NAME, rejected)
            except OSError as error:
                raise SinkUnavailableError(f"Records that cannot be stored cannot be set aside either: {error}.") from error
            self.rejected_records += len(rejected)
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

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(_TRY_AGAIN_SECONDS)
            await self._writer.try_again()

    async def _adopt_orphans(self) -> None:
        while True:
            for folder in await asyncio.to_thread(_sibling_journals, self._writer.folder):
                try:
                    await self._adopt(folder)
                except OSError as error:
                    # Not ours to read, or a disk at fault: it stays, for people or for another try.
                    log.error("journal_not_adopted", journal=folder.name, reason=str(error))  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(_ADOPT_EVERY_SECONDS)

    async def _adopt(self, folder: Path) -> None:
        lock = await asyncio.to_thread(_take_orphan, folder)
        if lock is None:
            return
        try:
            for number in await asyncio.to_thread(segment_numbers, folder):
                await self._ship_orphaned_segment(folder, number)
            if not await asyncio.to_thread(is_damaged, folder):
                await asyncio.to_thread(_remove_adopted, folder)
                self.adopted_journals += 1
                log.info("journal_adopted", journal=folder.name)
        finally:
            lock.release()

    async def _ship_orphaned_segment(self, folder: Path, number: int) -> None:
        offset = 0
        while True:
            batch = await asyncio.to_thread(_read_batch, folder, number, offset, None)
            offset += batch.consumed

            async def hand_over(payloads: list[bytes] = batch.payloads) -> bool:
                await self._hand_over(payloads)
                return True

            await self._with_retries(hand_over)
            if batch.damaged:
                await asyncio.to_thread(set_damaged_aside, folder, number)
                return
            if batch.done:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    payloads: list[bytes]
    consumed: int
    """Bytes that the payloads took."""
    done: bool
    """Nothing readable follows."""
    damaged: bool
    unread: int
    """Bytes that were read and are no frames."""


def _read_batch(folder: Path, number: int, offset: int, end: int | None) -> _Batch:
    """`end` limits what may be read of a segment that is being written; None reads a finished one."""
    size = _READ_BYTES if end is None else min(_READ_BYTES, end - offset)
    try:
        with segment_path(folder, number).open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except FileNotFoundError:
        return _Batch(payloads=[], consumed=0, done=True, damaged=False, unread=0)
    decoded = decode_frames(data, limit=BATCH_RECORDS)
    if decoded.damaged:
        log.error("journal_segment_damaged", journal=folder.name, segment=number, offset=offset + decoded.consumed)
    more = decoded.consumed > 0 and (decoded.consumed < len(data) or len(data) == size)
    return _Batch(
        payloads=decoded.payloads,
        consumed=decoded.consumed,
        done=not more,
        damaged=decoded.damaged,
        unread=len(data) - decoded.consumed,
    )


def _keep_rejected(path: Path, payloads: list[bytes]) -> None:
    """Durable before the segment they came from goes; for its owner's eyes alone, since it holds rooms and addresses."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"".join(encode_frame(payload) for payload in payloads))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sibling_journals(own: Path) -> list[Path]:
    """Folders that are named as ours are. What else lies there is not ours to touch."""
    return sorted(path for path in own.parent.iterdir() if path != own and _NAME.fullmatch(path.name) and path.is_dir())


def _take_orphan(folder: Path) -> FolderLock | None:
    with GateLock(folder.parent):
        if not folder.exists() or is_damaged(folder):
            return None  # adopted by another process, or kept for people
        return FolderLock.take(folder)


def _remove_adopted(folder: Path) -> None:
    with GateLock(folder.parent):
        remove_folder(folder)
