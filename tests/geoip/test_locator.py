import dataclasses
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.geoip import DEFAULT_DATABASE, GeoipFileError, Location, Locator
from tests.geoip.mmdb_file import BUILT_AT_EPOCH_SECONDS, Value, write_mmdb

SHIPPED = Locator()

TOKYO = Location(latitude=35.69, longitude=139.77, country="JP", precision="city")
TOKYO_RECORD: Value = {"country": {"iso_code": "JP"}, "location": {"latitude": 35.69, "longitude": 139.77}}
PARIS = Location(latitude=48.86, longitude=2.35, country="FR", precision="city")
PARIS_RECORD: Value = {"country_code": "FR", "latitude": 48.86, "longitude": 2.35}


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("8.8.8.8", "US"),
        ("1.1.1.1", "AU"),
        ("193.0.6.139", "NL"),
        ("81.2.69.142", "GB"),
        ("200.160.2.3", "BR"),
        ("133.11.93.1", "JP"),
        ("196.25.1.1", "ZA"),
        ("2001:4860:4860::8888", "US"),
        ("2a02:2e0::1", "DE"),
        ("::ffff:193.0.6.139", "NL"),
        (" 2a02:2e0::1%eth0 ", "DE"),
    ],
)
def test_the_shipped_database_knows_the_country(address: str, country: str) -> None:
    location = SHIPPED.locate(address)

    assert location is not None
    assert location.country == country
    assert location.precision == "country"


@pytest.mark.parametrize(
    # 192.168.1.1 and 2001:db8::1 have (wrong) entries in the shipped file.
    "address",
    ["192.168.1.1", "2001:db8::1", "127.0.0.1", "::1", "10.1.2.3", "fe80::1%eth0", "::ffff:10.0.0.1", "", "8.8.8", "junk"],
)
def test_junk_and_addresses_that_are_not_public_have_no_place(address: str) -> None:
    assert SHIPPED.locate(address) is None


@given(st.text() | st.text("0123456789abcdef.:%[], \0"))
def test_no_text_raises(address: str) -> None:
    SHIPPED.locate(address)


@given(st.ip_addresses())
def test_no_address_raises(address: IPv4Address | IPv6Address) -> None:
    SHIPPED.locate(str(address))


def test_a_location_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOKYO.latitude = 0.0  # type: ignore[misc]


def test_flat_and_nested_records_are_both_read(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", {"8.8.8.0/24": TOKYO_RECORD, "2a02:2e0::/32": PARIS_RECORD})
    locator = Locator([path])

    assert locator.locate("8.8.8.8") == TOKYO
    assert locator.locate("2a02:2e0::1") == PARIS
    assert locator.locate("9.9.9.9") is None


def test_the_first_file_that_knows_a_place_wins(tmp_path: Path) -> None:
    nowhere: Value = {"country_code": "EU"}
    first = write_mmdb(tmp_path / "a.mmdb", {"8.8.8.0/24": TOKYO_RECORD, "9.9.9.0/24": nowhere})
    second = write_mmdb(tmp_path / "b.mmdb", {"8.8.8.0/24": PARIS_RECORD, "9.9.9.0/24": PARIS_RECORD})
    locator = Locator([str(first), second])

    assert locator.locate("8.8.8.8") == TOKYO
    assert locator.locate("9.9.9.9") == PARIS


def test_a_file_of_ipv4_alone_passes_an_ipv6_address_on(tmp_path: Path) -> None:
    ipv4_only = write_mmdb(tmp_path / "v4.mmdb", {"8.8.8.0/24": TOKYO_RECORD}, ip_version=4)

    assert Locator([ipv4_only]).locate("2a02:2e0::1") is None
    assert Locator([ipv4_only]).locate("::ffff:8.8.8.8") == TOKYO
    beside = Locator([ipv4_only, DEFAULT_DATABASE]).locate("2a02:2e0::1")
    assert beside is not None
    assert beside.country == "DE"


def test_no_files_know_no_places() -> None:
    assert Locator([]).locate("8.8.8.8") is None
    assert Locator([]).describe() == []


def test_a_description_names_type_build_date_and_size(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", {"8.0.0.0/8": TOKYO_RECORD}, ip_version=4, database_type="DBIP-City-Lite")

    assert Locator([path]).describe() == [(path, "DBIP-City-Lite", datetime.fromtimestamp(BUILT_AT_EPOCH_SECONDS, UTC), 8)]


def test_the_notice_gives_the_build_date_of_the_shipped_file() -> None:
    [description] = SHIPPED.describe()
    notice = (DEFAULT_DATABASE.parent / "NOTICE").read_text(encoding="utf-8")

    assert f"{description.built_at:%Y-%m-%d %H:%M:%S} UTC" in notice
    assert f"{description.node_count:,} nodes" in notice


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(GeoipFileError, match=r"The GeoIP file .*/gone\.mmdb cannot be used: it cannot be opened"):
        Locator([tmp_path / "gone.mmdb"])


def test_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(GeoipFileError, match=r"The GeoIP file .* cannot be used: it "):
        Locator([tmp_path])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\xab\xcd\xefMaxMind.com", bytes(100_000)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mmdb"
    path.write_bytes(content)

    with pytest.raises(GeoipFileError, match=r"a\.mmdb cannot be used: .*\.mmdb\) with countries or coordinates"):
        Locator([path])


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mmdb"
    path.write_bytes(DEFAULT_DATABASE.read_bytes()[:1_000_000])

    with pytest.raises(GeoipFileError, match="not a complete MaxMind DB file"):
        Locator([path])


def test_a_database_without_places_is_refused(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "asn.mmdb", {"8.8.8.0/24": {"autonomous_system_number": 15169}}, database_type="GeoLite2-ASN")

    with pytest.raises(GeoipFileError, match=r"no country and no coordinates \(its type is 'GeoLite2-ASN'\)"):
        Locator([path])


def test_unchanged_files_are_not_reopened(tmp_path: Path) -> None:
    locator = Locator([write_mmdb(tmp_path / "a.mmdb", {"8.8.8.0/24": TOKYO_RECORD})])

    reload = locator.reload_if_changed()

    assert reload.reopened == ()
    assert reload.failures == ()


def test_a_replaced_file_is_reopened(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", {"8.8.8.0/24": TOKYO_RECORD})
    locator = Locator([path, DEFAULT_DATABASE])
    write_mmdb(path, {"8.8.8.0/24": PARIS_RECORD}, built_at_epoch_seconds=BUILT_AT_EPOCH_SECONDS + 60)

    reload = locator.reload_if_changed()

    assert locator.locate("8.8.8.8") == PARIS
    assert [description.path for description in reload.reopened] == [path]
    assert list(reload.reopened) == locator.describe()[:1]
    assert reload.failures == ()


def test_a_broken_successor_leaves_the_old_file_answering_and_is_reported_once(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", {"8.8.8.0/24": TOKYO_RECORD})
    locator = Locator([path])
    (tmp_path / "broken").write_bytes(b"half a download")
    (tmp_path / "broken").replace(path)

    [failure] = locator.reload_if_changed().failures
    again = locator.reload_if_changed()

    assert failure.path == path
    assert again.failures == ()
    assert locator.locate("8.8.8.8") == TOKYO


def test_a_removed_file_goes_on_answering_and_its_return_is_noticed(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", {"8.8.8.0/24": TOKYO_RECORD})
    locator = Locator([path])
    path.unlink()

    [failure] = locator.reload_if_changed().failures
    assert "cannot be opened" in failure.problem
    assert locator.locate("8.8.8.8") == TOKYO

    write_mmdb(path, {"8.8.8.0/24": PARIS_RECORD})
    assert len(locator.reload_if_changed().reopened) == 1
    assert locator.locate("8.8.8.8") == PARIS


def test_one_broken_file_does_not_hold_up_another(tmp_path: Path) -> None:
    broken = write_mmdb(tmp_path / "a.mmdb", {"9.9.9.0/24": TOKYO_RECORD})
    good = write_mmdb(tmp_path / "b.mmdb", {"8.8.8.0/24": TOKYO_RECORD})
    locator = Locator([broken, good])
    broken.unlink()
    write_mmdb(good, {"8.8.8.0/24": PARIS_RECORD})

    reload = locator.reload_if_changed()

    assert [failure.path for failure in reload.failures] == [broken]
    assert [description.path for description in reload.reopened] == [good]
    assert locator.locate("8.8.8.8") == PARIS


def test_the_python_reader_answers_where_the_extension_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxminddb._extension", None)
    ipv4_only = write_mmdb(tmp_path / "v4.mmdb", {"8.8.8.0/24": TOKYO_RECORD}, ip_version=4)
    locator = Locator([ipv4_only, DEFAULT_DATABASE])

    assert locator.locate("8.8.8.8") == TOKYO
    german = locator.locate("2a02:2e0::1")
    assert german is not None
    assert german.country == "DE"
    with pytest.raises(GeoipFileError):
        Locator([tmp_path / "gone.mmdb"])
