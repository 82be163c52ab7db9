"""Group commit on a real disk, and one that is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from controlplane.background import background
from controlplane.fleet.issue import Issue
from controlplane.journal import writer as writer_module
from controlplane.journal.codec import decode_frames
from controlplane.journal.record import decode_issue, encode_issue
from controlplane.journal.segments import FolderLock, segment_numbers, segment_path
from controlplane.journal.shipping import REJECTED_NAME, Shipper, SinkUnavailableError
from controlplane.journal.writer import JournalUnavailableError, JournalWriter
from tests.builders import make_issue
from tests.running_api import until


class Sink:
    """Takes issues into a list; may be away, may refuse some for ever."""

    def __init__(self) -> None:
        self.taken: list[Issue] = []
        self.away = False
        self.never: set[int] = set()

    async def __call__(self, issues: Sequence[Issue]) -> list[Issue]:
        if self.away:
            raise SinkUnavailableError("the sink is away")
        refused = [issue for issue in issues if issue.credential_id.int in self.never]
        self.taken += [issue for issue in issues if issue not in refused]
        return refused

    def numbers(self) -> list[int]:
        return sorted(issue.credential_id.int for issue in self.taken)


@pytest_asyncio.fixture(loop_scope="session")
async def journal(folder: Path) -> AsyncIterator[JournalWriter]:
    writer = JournalWriter(folder / "journal" / str(UUID(int=1)), max_bytes=2**30)
    writer.open()
    yield writer
    await writer.close()
    writer.release(remove=False)


def on_disk(journal: JournalWriter) -> list[int]:
    numbers = []
    for segment in segment_numbers(journal.folder):
        decoded = decode_frames(segment_path(journal.folder, segment).read_bytes())
        numbers += [decode_issue(payload).credential_id.int for payload in decoded.payloads]
    return numbers


async def append(journal: JournalWriter, number: int) -> None:
    await journal.append(encode_issue(make_issue(number)))


async def test_what_was_answered_is_on_the_disk(journal: JournalWriter) -> None:
    await asyncio.gather(*(append(journal, number) for number in range(1, 501)))
    assert on_disk(journal) == list(range(1, 501))


async def test_concurrent_appends_share_a_write(journal: JournalWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    write = journal._write

    def counted(data: bytes) -> tuple[int, int]:
        writes.append(len(data))
        return write(data)

    monkeypatch.setattr(journal, "_write", counted)
    await asyncio.gather(*(append(journal, number) for number in range(1, 501)))
    assert len(writes) <= 3


async def test_a_cancelled_waiter_does_not_cancel_its_batch(journal: JournalWriter) -> None:
    tasks = [asyncio.create_task(append(journal, number)) for number in range(1, 11)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results].count(True) == 1
    assert sorted(on_disk(journal)) == list(range(1, 11))


async def test_a_failed_flush_fails_its_whole_batch_and_leaves_no_torn_frame(
    journal: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(journal, 1)
    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "_sync", _no_space)
        results = await asyncio.gather(*(append(journal, number) for number in range(2, 6)), return_exceptions=True)
    assert all(isinstance(result, JournalUnavailableError) for result in results)
    assert _failure(journal) == "No space left on device"
    await append(journal, 6)
    assert _failure(journal) is None
    assert on_disk(journal) == [1, 6]


def _failure(journal: JournalWriter) -> str | None:
    return journal.failure


def _no_space(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


async def test_a_journal_over_its_bound_refuses_before_it_writes(folder: Path) -> None:
    journal = JournalWriter(folder / "small", max_bytes=1)
    journal.open()
    await append(journal, 1)
    with pytest.raises(JournalUnavailableError, match="bound"):
        await append(journal, 2)
    assert on_disk(journal) == [1]
    await journal.close()
    journal.release(remove=True)


async def test_a_closed_journal_refuses(folder: Path) -> None:
    journal = JournalWriter(folder / "closed", max_bytes=2**20)
    journal.open()
    await journal.close()
    with pytest.raises(JournalUnavailableError, match="closed"):
        await append(journal, 1)
    journal.release(remove=True)
    assert not (folder / "closed").exists()


async def test_segments_are_shipped_removed_and_counted(journal: JournalWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 2000)
    sink = Sink()
    shipper = Shipper(journal, sink)
    async with background(shipper.loops()):
        for number in range(1, 101):
            await append(journal, number)
        await until(_is(lambda: len(sink.taken) == 100), what="everything is shipped")
        await until(_is(lambda: journal.backlog_bytes == 0), what="the backlog is empty")
        assert sink.numbers() == list(range(1, 101))
        assert len(segment_numbers(journal.folder)) == 1


async def test_shipping_waits_for_a_sink_that_is_away(journal: JournalWriter) -> None:
    sink = Sink()
    sink.away = True
    shipper = Shipper(journal, sink)
    async with background(shipper.loops()):
        await append(journal, 1)
        await until(_is(lambda: shipper.sink_failing), what="the sink was tried")
        await append(journal, 2)
        assert journal.backlog_bytes > 0
        sink.away = False
        await until(_is(lambda: sink.numbers() == [1, 2]), what="both arrive")


async def test_poison_is_kept_aside_and_holds_nobody_up(journal: JournalWriter) -> None:
    sink = Sink()
    sink.never = {2}
    shipper = Shipper(journal, sink)
    await asyncio.gather(*(append(journal, number) for number in (1, 2, 3)))
    await journal.append(b"\x00 no record at all")
    await journal.close()
    assert await shipper.drain()
    assert sink.numbers() == [1, 3]
    assert shipper.rejected_records == 2
    kept = decode_frames((journal.folder.parent / REJECTED_NAME).read_bytes())
    assert len(kept.payloads) == 2


@pytest.mark.parametrize("torn", [1, 7, 20])
async def test_the_journal_of_a_dead_process_is_adopted_torn_tail_and_all(folder: Path, torn: int) -> None:
    dead = JournalWriter(folder / "journal" / str(UUID(int=2)), max_bytes=2**30)
    dead.open()
    await asyncio.gather(*(append(dead, number) for number in range(1, 21)))
    path = segment_path(dead.folder, 1)
    path.write_bytes(path.read_bytes()[:-torn])
    await dead.close()
    dead.release(remove=False)
    living = JournalWriter(folder / "journal" / str(UUID(int=3)), max_bytes=2**30)
    living.open()
    sink = Sink()
    shipper = Shipper(living, sink)
    async with background(shipper.loops()):
        await until(_is(lambda: shipper.adopted_journals == 1), what="it is adopted")
        assert sink.numbers() == list(range(1, 20))
        assert not dead.folder.exists()
    await living.close()
    living.release(remove=True)


async def left_behind(folder: Path, name: int, numbers: range) -> JournalWriter:
    """What a process leaves that dies with nothing shipped."""
    dead = JournalWriter(folder / "journal" / str(UUID(int=name)), max_bytes=2**30)
    dead.open()
    for number in numbers:
        await append(dead, number)
    await dead.close()
    dead.release(remove=False)
    return dead


async def test_what_stands_behind_damage_is_kept_for_people(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 1000)
    dead = await left_behind(folder, 2, range(1, 21))
    path = segment_path(dead.folder, 2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    living = await left_behind(folder, 3, range(100, 101))
    living = JournalWriter(folder / "journal" / str(UUID(int=4)), max_bytes=2**30)
    living.open()
    sink = Sink()
    shipper = Shipper(living, sink)
    async with background(shipper.loops()):
        await until(_is(lambda: 100 in sink.numbers() and 20 in sink.numbers()), what="the segments around the damage arrive")
        assert path.with_suffix(".damaged").read_bytes() == data
        assert not segment_path(dead.folder, 1).exists() or 1 in sink.numbers()
    await living.close()
    living.release(remove=True)


async def test_several_living_processes_adopt_each_orphan_once_and_leave_strangers_alone(folder: Path) -> None:
    for name in range(10, 20):
        await left_behind(folder, name, range(name * 10, name * 10 + 5))
    (folder / "journal" / "lost+found").mkdir()
    sinks = [Sink() for _ in range(4)]
    writers: list[JournalWriter] = []
    loops: list[Coroutine[Any, Any, None]] = []
    for number, sink in enumerate(sinks):
        writer = JournalWriter(folder / "journal" / str(UUID(int=100 + number)), max_bytes=2**30)
        writer.open()
        writers.append(writer)
        loops += Shipper(writer, sink).loops()
    expected = {name * 10 + number for name in range(10, 20) for number in range(5)}
    async with background(loops):
        await until(_is(lambda: {number for sink in sinks for number in sink.numbers()} == expected), what="all of them arrive")
        await until(
            _is(lambda: len(list((folder / "journal").iterdir())) == 4 + 2), what="only the living and the stranger are left"
        )
    for writer in writers:
        await writer.close()
        writer.release(remove=True)


async def test_a_disk_that_takes_writes_again_is_noticed_without_a_request(
    journal: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "_sync", _no_space)
        with pytest.raises(JournalUnavailableError):
            await append(journal, 1)
        await journal.try_again()
        assert _failure(journal) == "No space left on device"
    await journal.try_again()
    assert _failure(journal) is None
    await append(journal, 2)
    assert on_disk(journal) == [2]


async def test_the_journal_of_a_living_process_is_left_alone(journal: JournalWriter, folder: Path) -> None:
    assert FolderLock.take(journal.folder) is None


def _is(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return condition()

    return check


async def test_a_full_disk_refuses_and_loses_nothing_that_was_answered(small_disk: Path) -> None:
    journal = JournalWriter(small_disk / "journal" / str(UUID(int=4)), max_bytes=2**30)
    journal.open()
    answered, refused, last_refusal = [], 0, ""
    number = 0
    while refused < 3:
        number += 1
        try:
            await journal.append(encode_issue(make_issue(number, room="r" * 5000)))
        except JournalUnavailableError as error:
            refused += 1
            last_refusal = str(error)
        else:
            answered.append(number)
    assert "No space left" in last_refusal
    assert len(answered) > 100
    assert sorted(set(on_disk(journal))) == answered
    sink = Sink()
    shipper = Shipper(journal, sink)
    while await shipper._ship_some():
        pass
    assert sink.numbers() == answered
    await append(journal, 10_000)  # what was shipped made room
    assert 10_000 in on_disk(journal)
    await journal.close()
    journal.release(remove=True)
