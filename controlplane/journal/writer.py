"""Group commit: requests that arrive while a write is under way share the next write and its one fdatasync."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from controlplane.journal.codec import encode_frame
from controlplane.journal.segments import TRIAL_NAME, FolderLock, GateLock, remove_folder, segment_path, sync_folder

_TRIAL_BYTES = 64 * 1024
SEGMENT_BYTES = 4 * 1024 * 1024
"""A segment is removed when all of it is shipped; after a crash at most one is shipped twice (idempotently)."""


_sync = getattr(os, "fdatasync", os.fsync)
"""macOS has no fdatasync."""


class JournalUnavailableError(Exception):
    """The issue cannot be recorded: the disk is full or failing, or the backlog has reached its bound."""


class JournalWriter:
    """Appends to the newest segment of one folder. One event loop owns it; the disk is touched in one thread of its own.

    At most one flush is in flight and no timer is used: whatever arrives meanwhile is the next batch. A waiter that is
    cancelled leaves its batch alone; a flush that fails fails every waiter of its batch, and the next append tries anew.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.flushed = asyncio.Event()
        """Set after every flush, good or not; the shipper clears it."""
        self.failure: str | None = None
        """What went wrong at the last flush; None after a good one."""
        self.segment = 0
        self.durable_bytes = 0
        """Of the newest segment: what a reader may read."""
        self.abandoned = False
        """Nothing more will be written to the newest segment: the last flush failed. Once shipped it may go, and make room."""
        self.backlog_bytes = 0
        """Written and not yet shipped; the shipper takes off what it ships."""
        self._descriptor: int | None = None
        self._open_segment = 0
        self._open_bytes = 0
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._lock: FolderLock | None = None
        self._closed = False

    def open(self) -> None:
        """Create and lock the folder. Raises OSError. Blocking: called once, before serving."""
        self.folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        with GateLock(self.folder.parent):
            self.folder.mkdir(mode=0o700)
            self._lock = FolderLock.take(self.folder)
        if self._lock is None:
            raise OSError(f"{self.folder} is locked by another process.")
        sync_folder(self.folder.parent)
        sync_folder(self.folder.parent.parent)

    async def append(self, payload: bytes) -> None:
        """Return when the payload is on the disk. Raises JournalUnavailableError."""
        if self._closed:
            raise JournalUnavailableError("The journal is closed: this process is stopping.")
        if self.backlog_bytes >= self.max_bytes:
            raise JournalUnavailableError(
                f"The journal holds {self.backlog_bytes} bytes that PostgreSQL has not taken; the bound is {self.max_bytes}."
            )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((encode_frame(payload), done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_until_empty(), name="journal-flush")
        await done

    async def _flush_until_empty(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                data = b"".join(frame for frame, _ in batch)
                try:
                    self.segment, self.durable_bytes = await loop.run_in_executor(self._thread, self._write, data)
                except OSError as error:
                    self.failure = f"{error.strerror or error}"
                    self.abandoned = True
                    self.flushed.set()
                    failed = JournalUnavailableError(f"The journal cannot be written: {self.failure}.")
                    for _, done in batch:
                        if not done.done():
                            done.set_exception(failed)
                    continue
                self.failure, self.abandoned = None, False
                self.backlog_bytes += len(data)
                self.flushed.set()
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._flushing = None

    def _write(self, data: bytes) -> tuple[int, int]:
        """In the journal's thread: (segment, its size) after the write.

        After a failure the segment is cut back to its last good byte and left behind.
        """
        if self._descriptor is not None and self._open_bytes and self._open_bytes + len(data) > SEGMENT_BYTES:
            self._close_files()
        if self._descriptor is None:
            self._descriptor = self._next_segment()
        descriptor = self._descriptor
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            _sync(descriptor)
        except OSError:
            # After a failed sync nobody knows what is on the disk: never append to this segment again.
            self._descriptor = None
            try:
                os.ftruncate(descriptor, self._open_bytes)
            finally:
                os.close(descriptor)
                if not self._open_bytes:  # a disk that stays full must not collect empty segments
                    segment_path(self.folder, self._open_segment).unlink(missing_ok=True)
                    self._open_segment -= 1
            raise
        self._open_bytes += len(data)
        return self._open_segment, self._open_bytes

    def _next_segment(self) -> int:
        number = self._open_segment + 1
        path = segment_path(self.folder, number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            sync_folder(self.folder)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._open_segment, self._open_bytes = number, 0
        return descriptor

    async def close(self) -> None:
        """Finish the flush under way, then stop. Waiters that are left get JournalUnavailableError from append."""
        if self._closed:
            return
        self._closed = True
        if self._flushing is not None:
            await self._flushing
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close_files)
        self._thread.shutdown()

    def _close_files(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def try_again(self) -> None:
        """While the last flush failed: see whether the disk takes a write again, without waiting for a request to find out.

        A replica that is not ready gets no requests, so it would never become ready by itself.
        """
        if self.failure is None or self._closed or self._flushing is not None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write_and_remove)
        except OSError as error:
            self.failure = f"{error.strerror or error}"
        else:
            self.failure = None

    def _write_and_remove(self) -> None:
        path = self.folder / TRIAL_NAME
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, bytes(_TRIAL_BYTES))
            _sync(descriptor)
        finally:
            os.close(descriptor)
            path.unlink()

    def release(self, *, remove: bool) -> None:
        """After the shipper has ended: remove the folder when all of it was shipped, else give it up for adoption."""
        if self._lock is not None:
            if remove:
                remove_folder(self.folder)
            self._lock.release()
            self._lock = None
