"""Which token the agent shows, whatever happens to its disk and to the control plane in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents import identity
from agents.badge import AGAIN_SECONDS, Badge
from agents.identity import Identity
from controlplane.wire.redacted import Redacted
from tests.agents.places import DISK

FIRST, SECOND, THIRD = (Redacted(f"tfn_{number}") for number in range(3))
WHO = Identity(node_id="node-1", token=FIRST, region="eu", realm="r")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def joined(folder: Path, clock: Clock | None = None, who: Identity = WHO) -> Badge:
    identity.save(folder, who)
    return Badge(who, state_dir=folder, disk=DISK, clock=clock or Clock())


def restarted(folder: Path, clock: Clock | None = None) -> Badge:
    who = identity.load(folder)
    assert who is not None
    return Badge(who, state_dir=folder, disk=DISK, clock=clock or Clock())


async def test_the_next_token_is_on_disk_beside_the_last_before_it_is_shown(folder: Path) -> None:
    badge = joined(folder)
    await badge.offered(None)
    assert badge.token == FIRST
    await badge.offered(SECOND)
    assert badge.token == SECOND
    kept = identity.load(folder)
    assert kept == replace(WHO, token=SECOND, former_token=FIRST)
    assert (folder / "node.json").stat().st_mode & 0o777 == 0o600


async def test_an_offer_that_comes_again_changes_nothing(folder: Path) -> None:
    badge = joined(folder)
    await badge.offered(SECOND)
    before = (folder / "node.json").stat().st_mtime_ns
    await badge.offered(SECOND)
    assert (folder / "node.json").stat().st_mtime_ns == before
    assert badge.who.former_token == FIRST


async def test_a_refused_token_gives_way_to_the_one_before_and_is_tried_again_later(folder: Path) -> None:
    clock = Clock()
    badge = joined(folder, clock)
    await badge.offered(SECOND)
    assert badge.refused()
    assert badge.token == FIRST
    await badge.offered(SECOND)
    assert badge.token == FIRST  # not at once: the same would be refused again
    clock.now += AGAIN_SECONDS
    await badge.offered(SECOND)
    assert badge.token == SECOND


async def test_a_control_plane_that_went_back_to_a_backup_still_knows_one_of_them(folder: Path) -> None:
    clock = Clock()
    badge = joined(folder, clock)
    await badge.offered(SECOND)
    again = restarted(folder, clock)
    assert again.token == SECOND
    assert again.refused()
    assert again.token == FIRST
    clock.now += AGAIN_SECONDS
    await again.offered(THIRD)
    assert (again.token, again.who.former_token) == (THIRD, FIRST)  # SECOND was of no use


async def test_when_both_are_refused_they_are_shown_in_turn_and_only_the_first_change_is_news(folder: Path) -> None:
    badge = joined(folder)
    await badge.offered(SECOND)
    shown = []
    news = []
    for _ in range(4):
        shown.append(badge.token)
        news.append(badge.refused())
    assert shown == [SECOND, FIRST, SECOND, FIRST]
    assert news == [True, False, True, False]


async def test_a_single_token_that_is_refused_stays(folder: Path) -> None:
    badge = joined(folder)
    assert not badge.refused()
    assert badge.token == FIRST


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


async def test_a_full_disk_keeps_the_token_so_far_and_says_so(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    badge = joined(small_disk, clock)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    await badge.offered(SECOND)
    assert badge.token == FIRST
    assert "node_token_not_kept" in capsys.readouterr().out
    assert identity.load(small_disk) == WHO
    filler.unlink()
    await badge.offered(SECOND)
    assert badge.token == FIRST  # the disk is left alone for a while
    clock.now += AGAIN_SECONDS
    await badge.offered(SECOND)
    assert badge.token == SECOND
    assert restarted(small_disk).token == SECOND


async def test_another_realm_keeps_both_tokens(folder: Path) -> None:
    badge = joined(folder)
    await badge.offered(SECOND)
    await badge.move("other.example")
    assert identity.load(folder) == replace(WHO, token=SECOND, former_token=FIRST, realm="other.example")
    assert badge.who.realm == "other.example"


def test_an_identity_of_before_is_read(folder: Path) -> None:
    (folder / "node.json").write_text('{"node_id":"node-1","node_token":"tfn_0","region":"eu","realm":"r"}')
    assert identity.load(folder) == WHO
