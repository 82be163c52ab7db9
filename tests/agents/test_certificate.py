"""What is known of a certificate without a coturn: its fields, what a client would say, when coturn is to read it again."""

from __future__ import annotations

import datetime
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agents.coturn import faults, pair, x509
from agents.coturn.certificate import AGAIN, WARN_BEFORE, Certificate
from agents.coturn.folder import Owner, find_owner
from agents.settings import AgentSettings
from tests.agents.certificates import DAY, MIDDLE, NOW, ROOT, Files, Issued, issue, make_files
from tests.agents.places import DISK, make_settings

NAME = "relay.test"
NOBODY = Owner(user=None, group=None, uid=None, gid=None)
SECOND = datetime.timedelta(seconds=1)
GOOD = issue(NAME, issuer=MIDDLE)


def relay_settings(folder: Path, files: Files, **changes: object) -> AgentSettings:
    base = make_settings(folder, public_host=NAME, tls_cert=files.certificate, tls_key=files.key, ca_file=files.authority)
    return replace(base, **changes)  # type: ignore[arg-type]


def watched(settings: AgentSettings, *, owner: Owner = NOBODY) -> Certificate:
    return Certificate(settings, owner=owner, disk=DISK, on_change=lambda: None)


def looked(certificate: Certificate, *, at: datetime.datetime = NOW) -> list[bool]:
    """Whether a reload was due after each of four looks; one that was is taken as done."""
    found = []
    for _ in range(4):
        certificate.look_now(at)
        found.append(certificate.reload_is_due)
        certificate.reload_is_due = False
    return found


def is_offered(certificate: Certificate) -> bool:
    return certificate.offered


def read(files: Files, *, name: str = NAME) -> pair.Pair:
    return pair.read(files.certificate, files.key, name=name, ca_file=files.authority)


def kinds(files: Files, *, name: str = NAME, now: datetime.datetime = NOW) -> list[str]:
    return [one.kind for one in faults.of(read(files, name=name), name=name, now=now)]


@pytest.mark.parametrize(
    "ends_at",
    [datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=datetime.UTC), datetime.datetime(9999, 1, 2, tzinfo=datetime.UTC)],
)
def test_fields_are_those_that_were_written(ends_at: datetime.datetime) -> None:
    own = issue("a.test", "*.b.test", "192.0.2.7", "2001:db8::7", issuer=MIDDLE, ends_at=ends_at)
    fields, issuer = x509.parse(own.der), x509.parse(MIDDLE.der)
    assert fields.names == ("a.test", "*.b.test", "192.0.2.7", "2001:db8::7")
    assert fields.not_before == own.certificate.not_valid_before_utc
    assert fields.not_after == ends_at
    assert fields.issuer == issuer.subject == own.certificate.issuer.public_bytes()
    assert fields.subject == own.certificate.subject.public_bytes()


def test_a_certificate_without_names_has_none() -> None:
    assert x509.parse(issue().der).names == ()


def test_a_certificate_that_is_cut_short_is_none() -> None:
    for length in range(len(GOOD.der)):
        with pytest.raises(ValueError, match=r"^it (ends too early|is no certificate)$"):
            x509.parse(GOOD.der[:length])


@given(st.integers(0, len(GOOD.der) - 1), st.binary(min_size=1, max_size=8))
def test_bytes_that_were_changed_never_raise_anything_else(at: int, what: bytes) -> None:
    with suppress(ValueError):
        x509.parse(GOOD.der[:at] + what + GOOD.der[at + len(what) :])


def test_a_good_chain_has_no_faults(tmp_path: Path) -> None:
    assert kinds(make_files(tmp_path, GOOD, MIDDLE)) == []


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (issue("*.relays.test", issuer=MIDDLE), "fra-1.relays.test"),
        (issue("192.0.2.7", issuer=MIDDLE), "192.0.2.7"),
        (issue("2001:db8::7", issuer=MIDDLE), "2001:db8::7"),
    ],
)
def test_a_name_matches_as_clients_match_it(tmp_path: Path, own: Issued, name: str) -> None:
    assert kinds(make_files(tmp_path, own, MIDDLE), name=name) == []


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (GOOD, "other.test"),
        (GOOD, "192.0.2.7"),
        (GOOD, ".relay.test"),
        (GOOD, "x" * 64 + ".test"),
        (issue("*.relays.test", issuer=MIDDLE), "a.b.relays.test"),
        (issue(issuer=MIDDLE, common_name=NAME), NAME),
    ],
)
def test_a_certificate_for_another_name_is_told(tmp_path: Path, own: Issued, name: str) -> None:
    assert kinds(make_files(tmp_path, own, MIDDLE), name=name) == ["name"]


def test_dates_are_told_in_utc(tmp_path: Path) -> None:
    ended = datetime.datetime(2026, 2, 3, 4, 5, tzinfo=datetime.UTC)
    files = make_files(tmp_path, issue(NAME, issuer=MIDDLE, begins_at=ended - DAY, ends_at=ended), MIDDLE)
    told = faults.of(read(files), name=NAME, now=NOW)
    assert [one.words for one in told] == ["The certificate ended on 2026-02-03 04:05 UTC."]
    files.put(issue(NAME, issuer=MIDDLE, begins_at=NOW + DAY), MIDDLE)
    assert kinds(files) == ["dates"]
    assert kinds(files, now=NOW + 2 * DAY) == []


def test_an_end_is_noticed_without_reading_again(tmp_path: Path) -> None:
    found = read(make_files(tmp_path, GOOD, MIDDLE))
    assert faults.of(found, name=NAME, now=GOOD.certificate.not_valid_after_utc - SECOND) == []
    assert [one.kind for one in faults.of(found, name=NAME, now=GOOD.certificate.not_valid_after_utc)] == ["dates"]


def test_a_missing_intermediate_is_told(tmp_path: Path) -> None:
    assert kinds(make_files(tmp_path, GOOD)) == ["chain"]


def test_an_ended_intermediate_is_told(tmp_path: Path) -> None:
    old = issue(authority=True, common_name="old", issuer=ROOT, ends_at=NOW - DAY / 2)
    files = make_files(tmp_path, issue(NAME, issuer=old), old)
    assert kinds(files) == ["chain"]
    assert faults.ends_at(read(files)) == old.certificate.not_valid_after_utc


def test_several_faults_are_all_told(tmp_path: Path) -> None:
    assert kinds(make_files(tmp_path, issue("other.test", ends_at=NOW - DAY / 2))) == ["dates", "name", "chain"]


def test_an_order_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE, ROOT)
    assert faults.misplaced(read(files)) is None
    files.put(GOOD, ROOT, MIDDLE)
    assert faults.misplaced(read(files)) == 2


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("", GOOD.key_pem(), "holds no certificate in PEM form"),
        ("\0\xff junk", GOOD.key_pem(), "holds no certificate in PEM form"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", GOOD.key_pem(), "Certificate 1 in .* cannot be read"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", GOOD.key_pem(), "Certificate 1 in .* cannot be read"),
        (GOOD.pem, "", "holds no private key in PEM form"),
        (GOOD.pem, GOOD.key_pem(b"word"), "is encrypted"),
        (GOOD.pem, MIDDLE.key_pem(), "is not that of the first certificate"),
        (MIDDLE.pem + GOOD.pem, GOOD.key_pem(), "is not that of the first certificate"),
        (GOOD.pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "OpenSSL refuses"),
    ],
)
def test_files_that_are_no_pair_are_told_in_a_sentence(tmp_path: Path, certificate: str, key: str, words: str) -> None:
    files = make_files(tmp_path, GOOD)
    files.certificate.write_text(certificate)
    files.key.write_text(key)
    told = faults.of(read(files), name=NAME, now=NOW)
    assert [one.kind for one in told] == ["files"]
    assert re.search(words, told[0].words)
    assert told[0].words.endswith(".")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD)
    files.key.unlink()
    assert faults.of(read(files), name=NAME, now=NOW)[0].words == f"{files.key} cannot be read: No such file or directory."


def test_a_good_one_is_offered_from_the_first_look_on(tmp_path: Path) -> None:
    certificate = watched(relay_settings(tmp_path, make_files(tmp_path, GOOD, MIDDLE)))
    assert not is_offered(certificate)
    assert looked(certificate) == [False, False, False, False]
    assert is_offered(certificate)
    assert certificate.ends_at == min(GOOD.certificate.not_valid_after_utc, MIDDLE.certificate.not_valid_after_utc)


def test_a_certificate_that_was_renewed_while_nobody_watched_is_loaded_once(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE)
    certificate = watched(relay_settings(tmp_path, files))
    written_at = max(files.certificate.stat().st_mtime, files.key.stat().st_mtime)
    certificate.read_by_coturn(written_at - 1)
    assert looked(certificate) == [True, False, False, False]
    certificate.read_by_coturn(written_at + 1)
    assert looked(certificate) == [False, False, False, False]
    os.utime(files.certificate, (written_at + 5, written_at + 5))
    assert looked(certificate) == [False, True, False, False]


def test_a_renewal_is_waited_for_until_both_files_are_there(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE)
    certificate = watched(relay_settings(tmp_path, files))
    looked(certificate)
    renewed = issue(NAME, issuer=MIDDLE, ends_at=NOW + 30 * DAY)
    with capture_logs() as told:
        files.put(renewed, MIDDLE, key=GOOD)
        assert looked(certificate) == [False, False, False, False]
        assert is_offered(certificate)
        assert [one["event"] for one in told] == ["certificate_not_loaded"]
        files.put(renewed, MIDDLE)
        assert looked(certificate) == [False, True, False, False]
    assert certificate.ends_at == renewed.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    "bad", [issue("other.test", issuer=MIDDLE), issue(NAME), issue(NAME, issuer=MIDDLE, ends_at=NOW - DAY / 2)]
)
def test_a_bad_one_does_not_replace_a_good_one(tmp_path: Path, bad: Issued) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE)
    certificate = watched(relay_settings(tmp_path, files))
    looked(certificate)
    files.put(bad, MIDDLE)
    with capture_logs() as told:
        assert looked(certificate) == [False, False, False, False]
    assert is_offered(certificate)
    assert [one["event"] for one in told] == ["certificate_not_loaded"]
    # The next coturn begins with what is there.
    certificate.read_by_coturn(NOW.timestamp() + 100)
    looked(certificate)
    assert not is_offered(certificate)


def test_one_that_ends_is_withheld_and_its_renewal_is_offered(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE)
    certificate = watched(relay_settings(tmp_path, files))
    end = GOOD.certificate.not_valid_after_utc
    with capture_logs() as told:
        looked(certificate, at=end - WARN_BEFORE)
        assert [one["event"] for one in told] == ["tls_offered"]
        looked(certificate, at=end - DAY)
        looked(certificate, at=end - SECOND)
        assert is_offered(certificate)
        looked(certificate, at=end)
        assert not is_offered(certificate)
        files.put(issue(NAME, issuer=MIDDLE, ends_at=end + 90 * DAY), MIDDLE)
        assert looked(certificate, at=end + SECOND) == [False, True, False, False]
    assert is_offered(certificate)
    assert [one["event"] for one in told] == ["tls_offered", "certificate_ends_soon", "tls_not_offered", "tls_offered"]


def test_an_authority_that_comes_later_is_noticed(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE)
    files.authority.write_text(issue(authority=True, common_name="other root").pem)
    certificate = watched(relay_settings(tmp_path, files))
    looked(certificate)
    assert not is_offered(certificate)
    files.authority.write_text(ROOT.pem)
    looked(certificate, at=NOW + AGAIN - SECOND)
    assert not is_offered(certificate)
    looked(certificate, at=NOW + AGAIN)
    assert is_offered(certificate)


def test_under_another_supervisor_what_is_on_disk_counts_and_nothing_is_reloaded(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE)
    certificate = watched(relay_settings(tmp_path, files, coturn="attached"))
    looked(certificate)
    files.put(issue("other.test", issuer=MIDDLE), MIDDLE)
    assert looked(certificate) == [False, False, False, False]
    assert not is_offered(certificate)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops coturn to another user")
def test_one_that_coturns_user_cannot_read_is_not_loaded_and_says_so(folder: Path) -> None:
    files = make_files(folder, GOOD, MIDDLE)
    settings = relay_settings(folder, files)
    certificate = watched(settings, owner=find_owner(settings))
    looked(certificate)
    files.put(issue(NAME, issuer=MIDDLE), MIDDLE)
    files.key.chmod(0o600)
    with capture_logs() as told:
        assert looked(certificate) == [False, False, False, False]
    assert is_offered(certificate)
    assert [one["reason"] for one in told] == [
        f"The user turnserver, whom coturn becomes, cannot read {files.key}, and so not load it when it is renewed."
    ]
    # Which changes no time of the file.
    files.key.chmod(0o644)
    assert looked(certificate, at=NOW + AGAIN - SECOND) == [False, False, False, False]
    assert looked(certificate, at=NOW + AGAIN) == [True, False, False, False]


def test_a_renewal_whose_authority_comes_later_is_loaded_then_and_complained_of_once(tmp_path: Path) -> None:
    files = make_files(tmp_path, GOOD, MIDDLE)
    certificate = watched(relay_settings(tmp_path, files))
    looked(certificate)
    other = issue(authority=True, common_name="other root")
    files.put(issue(NAME, issuer=other))
    with capture_logs() as told:
        for minute in range(3):
            assert looked(certificate, at=NOW + minute * AGAIN) == [False, False, False, False]
        assert is_offered(certificate)
        assert [one["event"] for one in told] == ["certificate_not_loaded"]
        files.authority.write_text(ROOT.pem + other.pem)
        assert looked(certificate, at=NOW + 3 * AGAIN) == [True, False, False, False]
    assert is_offered(certificate)
