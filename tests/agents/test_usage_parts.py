"""The book of allocations, the quotas' measure, denials, rules, and the spool."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.usage.book import Allocation, Book, Boot, end_reason
from agents.usage.denials import MOST, Denials, Denied
from agents.usage.enforce import Cut, RuleBook, denied_users
from agents.usage.lines import Booted, Closed, Deleted, Event, Relayed, Released, Started
from agents.usage.meter import Meter
from agents.usage.spool import Spool, row
from agents.usage.tail import Position
from agents.usage.username import Credential
from controlplane.wire.agent_api import CredentialRule, Denial, DenialsDelta

ID = "0193b3cb-c7c0-7000-8000-000000000001"
OTHER = "0193b3cb-c7c0-7000-8000-000000000002"
NAME = f"1000:{ID}"
PLACE = Position(inode=1, offset=2, head_bytes=3, head="h")


def started(session: str = "1", *, at: float = 100.0, name: str = NAME) -> Started:
    return Started(at=at, session_id=session, username=name, over_tls=False)


def relayed(session: str = "1", *, at: float = 110.0, count: int = 100) -> Relayed:
    return Relayed(
        at=at,
        session_id=session,
        packets_from_client=1,
        bytes_from_client=count,
        packets_to_client=2,
        bytes_to_client=2 * count,
    )


def closed(session: str = "1", *, at: float = 120.0, reason: str = "Forceful shutdown") -> Closed:
    return Closed(at=at, session_id=session, client="192.0.2.7:5000", reason=reason)


def book(*events: Event) -> Book:
    made = Book()
    for index, event in enumerate((Booted(at=1.0, boot_id="boot-one"), *events)):
        made.apply(event, place=f"1/{index}")
    return made


def test_only_a_session_that_began_is_counted() -> None:
    made = book(relayed("7"), closed("7"), Deleted(at=1.0, session_id="7"), Released(at=1.0, session_id="7"))
    assert made.allocations == {}
    assert made.take_changes() == []


def test_an_allocation_from_start_to_end() -> None:
    made = book(started(), relayed(), relayed(count=10), Released(at=119.0, session_id="1"), closed(reason="allocation timeout"))
    one = made.allocations["1"]
    assert (one.started_at, one.ended_at, one.end_reason) == (100.0, 120.0, "client")
    assert (one.bytes_from_client, one.bytes_to_client, one.packets_from_client, one.packets_to_client) == (110, 220, 2, 4)
    assert (one.boot_id, one.credential, one.client_address) == ("boot-one", Credential(ID, 1000.0), "192.0.2.7")
    assert made.by_credential == {}


def test_a_probe_of_the_agent_is_nobodys() -> None:
    assert book(started(name="99:probe-0123456789ab"), relayed()).allocations == {}


@pytest.mark.parametrize(
    ("words", "released", "cut", "expected"),
    [
        ("allocation timeout", False, None, "timeout"),
        ("allocation timeout", True, None, "client"),
        ("TCP connection closed by client (callback)", False, None, "client"),
        ("TLS/TCP connection closed by client (callback)", False, None, "client"),
        ("allocation watchdog determined stale session state", False, None, "timeout"),
        ("Forceful shutdown", False, None, "other"),
        ("Forceful shutdown", False, "revoked", "revoked"),
        ("Forceful shutdown", True, "expired", "expired"),
        ("SSL read error", False, None, "other"),
        ("", False, None, "other"),
    ],
)
def test_coturns_reasons_become_ours(words: str, released: bool, cut: str | None, expected: str) -> None:
    made = book(started())
    one = made.allocations["1"]
    one.released, one.cut = released, cut  # type: ignore[assignment]
    assert end_reason(words, one) == expected


def test_a_session_that_was_cut_before_the_log_told_of_it_has_its_reason() -> None:
    made = book()
    assert made.cut("1", "revoked")
    assert not made.cut("1", "revoked")
    made.apply(started(), place="")
    assert not made.cut("1", "revoked")
    made.apply(closed(), place="")
    assert made.allocations["1"].end_reason == "revoked"


def test_another_boot_ends_all_of_the_one_before_and_keeps_its_records() -> None:
    made = book(started("1"), started("2"), closed("2"))
    made.apply(Booted(at=200.0, boot_id="boot-two"), place="")
    made.apply(started("1", at=201.0), place="")
    old, _, new = sorted(made.take_changes(), key=lambda one: (one.boot_id, one.session_id))
    assert (old.end_reason, old.ended_at, new.boot_id, new.ended_at) == ("coturn_ended", 200.0, "boot-two", None)


def test_coturns_own_line_confirms_a_boot_that_was_named_and_begins_one_that_was_not() -> None:
    own = Booted(at=2.0, boot_id=None)
    made = book(own, started())
    assert made.boot == Boot(id="boot-one", begun=True)
    made.apply(own, place="9/9")
    assert made.boot is not None
    assert made.boot.id != "boot-one"
    assert made.allocations == {}
    again = book(own, started())
    again.apply(own, place="9/9")
    assert again.boot == made.boot


def test_the_same_session_that_allocates_again_goes_on() -> None:
    made = book(started(), relayed(), Released(at=111.0, session_id="1"), started(at=112.0), closed(reason="allocation timeout"))
    one = made.allocations["1"]
    assert (one.started_at, one.end_reason, one.bytes_from_client) == (100.0, "timeout", 100)
    made.apply(started(at=121.0), place="")
    assert (made.allocations["1"].ended_at, made.allocations["1"].bytes_from_client) == (None, 100)


def test_ended_ones_are_forgotten_after_a_while_but_not_before_they_are_saved() -> None:
    made = book(started(), closed())
    made.forget_ended(now=10_000.0)
    assert made.allocations
    made.take_changes()
    made.forget_ended(now=150.0)
    assert made.allocations
    made.forget_ended(now=10_000.0)
    assert made.allocations == {}


def test_the_command_line_describes_only_the_allocation_of_that_name() -> None:
    made = book(started())
    made.describe("1", "other", client="198.51.100.1:1", transport="tcp")
    assert made.unplaced
    made.describe("1", NAME, client="[2001:db8::7]:5000", transport="tcp")
    assert (made.allocations["1"].client_address, made.allocations["1"].transport) == ("2001:db8::7", "tcp")
    assert not made.unplaced


@given(
    st.lists(st.sampled_from([started(), relayed(), closed(), Deleted(at=121.0, session_id="1"), Booted(at=130.0, boot_id=None)]))
)
def test_a_revision_grows_with_every_change_that_is_told(events: list[Event]) -> None:
    made, seen = book(), dict[tuple[str, str], tuple[int, object]]()
    for index, event in enumerate(events):
        made.apply(event, place=str(index))
        for one in made.take_changes():
            told = (one.bytes_from_client, one.ended_at, one.end_reason)
            before = seen.get((one.boot_id, one.session_id))
            assert before is None or one.revision > before[0] or told == before[1]
            seen[one.boot_id, one.session_id] = (one.revision, told)


# how fast


def test_a_rate_is_measured_over_ten_seconds_or_more_and_never_too_high() -> None:
    meter = Meter(since=100.0)
    meter.add(10**6, at=109.0)
    assert meter.windows == 0
    meter.add(2 * 10**6, at=119.0)
    assert meter.bits_per_second(119.0) == 16 * 10**6 / 20
    meter.add(2 * 10**6 + 1000, at=129.0)
    assert meter.bits_per_second(129.0) == 8000 / 11


def test_a_rate_fades_when_nothing_more_is_told() -> None:
    meter = Meter(since=0.0)
    meter.add(1000, at=10.0)
    assert meter.bits_per_second(15.0) == 8000 / 11
    assert meter.bits_per_second(110.0) == 80.0


def test_a_meter_of_an_agent_that_began_late_begins_with_what_it_hears() -> None:
    meter = Meter(since=None)
    meter.add(10**9, at=100.0)
    meter.add(10**9 + 1000, at=110.0)
    assert meter.bits_per_second(110.0) == 8000 / 11


# denials


def denied(number: int, *, expires_at: float = 1000.0) -> Denial:
    return Denial(credential_id=f"0193b3cb-c7c0-7000-8000-{number:012d}", expires_at=expires_at)


def test_denials_are_taken_once_and_lower_numbers_are_asked_for_again() -> None:
    made = Denials()
    assert made.take(DenialsDelta(up_to=5, denials=[denied(1)]), now=10.0)
    assert (made.up_to, len(made.held)) == (5, 1)
    assert not made.take(DenialsDelta(up_to=5, denials=[]), now=11.0)
    assert made.take(DenialsDelta(up_to=2, denials=[]), now=12.0)
    # What was revoked stays revoked meanwhile.
    assert (made.up_to, len(made.held), made.unsaved) == (0, 1, True)
    assert made.take(DenialsDelta(up_to=2, denials=[denied(1), denied(2)]), now=13.0)
    assert (made.up_to, len(made.held)) == (2, 2)


@pytest.mark.parametrize(
    ("expires_at", "told_at", "now", "holds"),
    [(1000, 900, 1060, True), (1000, 900, 1061, False), (1000, 5000, 5060, True), (1000, 5000, 5061, False)],
)
def test_a_denial_lapses_a_minute_after_the_expiry_and_after_it_was_told(
    expires_at: float, told_at: float, now: float, holds: bool
) -> None:
    made = Denials()
    made.take(DenialsDelta(up_to=1, denials=[denied(1, expires_at=expires_at)]), now=told_at)
    made.lapse(now)
    assert bool(made.held) == holds
    assert made.up_to == 1


def test_denials_are_bounded_and_the_one_that_expires_first_makes_room() -> None:
    made = Denials()
    made.take(DenialsDelta(up_to=MOST, denials=[denied(number, expires_at=number) for number in range(1, MOST + 2)]), now=1.0)
    assert len(made.held) == MOST
    assert denied(1).credential_id not in made.held


def test_only_a_whole_credential_id_is_denied() -> None:
    names = [NAME, f"{ID}:1000", f"1000:{OTHER}", f"x{NAME}", f"{NAME}x"]
    assert denied_users(names, {ID}) == names[:2]


# rules


def rule(**changes: object) -> CredentialRule:
    plain = {"end_at_expiry": False, "max_allocations": None, "max_bits_per_second": None, **changes}
    return CredentialRule(credential_id=ID, **plain)  # type: ignore[arg-type]


def cuts(made: Book, rules: RuleBook, *, now: float) -> list[tuple[str, str]]:
    return [(one.session_id, one.reason) for one in rules.due(made.by_credential, now=now)]


@pytest.mark.parametrize(
    ("given_rule", "now", "expected"),
    [
        (rule(), 5000.0, []),
        (rule(end_at_expiry=True), 999.0, []),
        (rule(end_at_expiry=True), 1000.0, [("3", "expired"), ("1", "expired"), ("2", "expired")]),
        (rule(max_allocations=3), 500.0, []),
        (rule(max_allocations=2), 500.0, [("2", "quota")]),
        (rule(max_allocations=0), 500.0, [("3", "quota"), ("1", "quota"), ("2", "quota")]),
    ],
)
def test_what_a_rule_ends(given_rule: CredentialRule, now: float, expected: list[tuple[str, str]]) -> None:
    made = book(started("3"), started("1"), started("2"), started("9", name=f"1:{OTHER}"), started("8", name="nobody"))
    assert cuts(made, RuleBook(rules={ID: given_rule}), now=now) == expected


def test_an_allocation_that_has_ended_counts_no_more() -> None:
    made = book(started("1"), started("2"), started("3"), closed("1"))
    assert cuts(made, RuleBook(rules={ID: rule(max_allocations=2)}), now=500.0) == []


def test_a_credential_is_too_fast_only_twice_in_a_row_and_by_all_its_allocations_together() -> None:
    made, rules = book(started("1"), started("2")), RuleBook(rules={ID: rule(max_bits_per_second=400)})

    def tell(at: float, count: int) -> list[tuple[str, str]]:
        for session in ("1", "2"):
            made.apply(relayed(session, at=at, count=count), place="")
        return cuts(made, rules, now=at)

    # 3 bytes each of count over 11 seconds, of two allocations: 100 is 436 bits a second, 90 is 392.
    assert tell(110.0, 100) == []
    assert cuts(made, rules, now=120.5) == [], "nothing new was measured"
    assert tell(121.0, 90) == []
    assert tell(132.0, 110) == []
    assert tell(143.0, 110) == [("1", "quota"), ("2", "quota")]


def test_a_single_burst_is_not_a_rate() -> None:
    made, rules = book(started()), RuleBook(rules={ID: rule(max_bits_per_second=1000)})
    made.apply(relayed(at=101.0, count=10**9), place="")
    assert cuts(made, rules, now=101.0) == []


def test_a_cut_names_the_user() -> None:
    found = RuleBook(rules={ID: rule(max_allocations=0)}).due(book(started()).by_credential, now=1.0)
    assert found == [Cut(session_id="1", username=NAME, reason="quota")]


# the spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "usage.db")


def saved(spool: Spool, made: Book, position: Position | None = PLACE) -> None:
    spool.save([row(one) for one in made.take_changes()], position, made.boot)


def test_what_is_saved_is_found_again(spool: Spool, tmp_path: Path) -> None:
    made = book(started("1"), relayed("1"), started("2"), closed("2"))
    made.allocations["1"].cut = "revoked"
    saved(spool, made)
    spool.save_rules([rule(max_allocations=2), rule(max_allocations=3)])
    spool.save_denials(7, [Denied(credential_id=ID, expires_at=1.0, told_at=2.0)])
    spool.close()
    found = Spool(tmp_path / "usage.db").load()
    (one,) = found.allocations
    known = made.allocations["1"]
    assert (found.position, found.boot) == (PLACE, Boot(id="boot-one", begun=False))
    assert replace(one, meter=known.meter) is not known
    for name in Allocation.__slots__:
        assert name in {"meter", "looked_for"} or getattr(one, name) == getattr(known, name), name
    assert (found.denied_up_to, found.denials) == (7, [Denied(credential_id=ID, expires_at=1.0, told_at=2.0)])
    assert found.rules == [rule(max_allocations=3)]
    assert (tmp_path / "usage.db").stat().st_mode & 0o777 == 0o600


def test_sums_and_place_change_together_or_not_at_all(spool: Spool, tmp_path: Path) -> None:
    made = book(started())
    saved(spool, made)
    with closing(sqlite3.connect(tmp_path / "usage.db")) as database:
        database.executescript("CREATE TRIGGER no BEFORE INSERT ON reading BEGIN SELECT RAISE(FAIL, 'full'); END")
        made.apply(relayed(), place="")
        with pytest.raises(sqlite3.Error, match="full"):
            saved(spool, made, replace(PLACE, offset=99))
        database.executescript("DROP TRIGGER no")
    assert [one.bytes_from_client for one in spool.waiting(9, news_only=False)] == [0]
    assert spool.load().position == PLACE


def test_what_changed_after_it_was_told_is_told_again(spool: Spool) -> None:
    made = book(started("1"), started("2"))
    saved(spool, made)
    told = spool.waiting(9, news_only=True)
    assert [one.session_id for one in told] == ["1", "2"]
    made.apply(relayed("1"), place="")
    saved(spool, made)
    spool.acknowledge(told, at=5.0)
    assert spool.waiting(9, news_only=True) == []
    assert [one.session_id for one in spool.waiting(9, news_only=False)] == ["1"]
    made.apply(closed("2"), place="")
    saved(spool, made)
    assert [one.session_id for one in spool.waiting(9, news_only=True)] == ["2"]
    assert spool.waiting_count() == 2
    assert len(spool.waiting(1, news_only=False)) == 1
    # A reply that comes late takes nothing back.
    spool.acknowledge(spool.waiting(9, news_only=False), at=6.0)
    spool.acknowledge(told, at=7.0)
    assert spool.waiting_count() == 0


def test_what_is_told_and_over_goes_and_what_nobody_hears_is_bounded(spool: Spool) -> None:
    made = book(*(event for number in range(1, 6) for event in (started(str(number)), closed(str(number), at=200.0 + number))))
    saved(spool, made)
    spool.acknowledge([one for one in spool.waiting(9, news_only=False) if one.session_id == "1"], at=300.0)
    assert spool.clean(now=350.0) == 0
    assert spool.clean(now=361.0) == 0
    assert spool.clean(now=361.0, most=3) == 1
    assert [one.session_id for one in spool.waiting(9, news_only=False)] == ["3", "4", "5"]


def test_a_damaged_file_is_set_aside(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "usage.db").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    assert spool.load().position is None
    assert spool.set_aside is not None
    assert spool.set_aside.read_bytes().startswith(b"no database")
    saved(spool, book(started()))


def test_a_link_in_the_place_of_the_spool_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "usage.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"usage\.db"):
        spool.load()
    assert not (tmp_path / "elsewhere").exists()


def test_rules_and_denials_that_are_over_are_forgotten(spool: Spool) -> None:
    spool.save_rules([rule()])
    spool.forget_rules([ID])
    assert len(spool.load().rules) == 1
    spool.forget_rules([])
    spool.save_denials(3, [Denied(credential_id=ID, expires_at=1.0, told_at=1.0)])
    spool.save_denials(4, [])
    found = spool.load()
    assert (found.rules, found.denials, found.denied_up_to) == ([], [], 4)
