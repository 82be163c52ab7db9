import csv
import math

import maxminddb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.geoip import DEFAULT_DATABASE, Location
from controlplane.geoip.location import DATA_FOLDER, location_of, read_centroids

CENTROIDS = read_centroids()


def place(latitude: float, longitude: float, country: str | None, *, whole_country: bool = False) -> Location:
    return Location(latitude=latitude, longitude=longitude, country=country, precision="country" if whole_country else "city")


@pytest.mark.parametrize(
    ("record", "location"),
    [
        pytest.param({"country_code": "NL"}, CENTROIDS["NL"], id="flat country"),
        pytest.param({"country_code": "nl"}, CENTROIDS["NL"], id="lower case"),
        pytest.param(
            {"country_code": "NL", "city": "Amsterdam", "latitude": 52.37, "longitude": 4.89},
            place(52.37, 4.89, "NL"),
            id="flat city",
        ),
        pytest.param({"country_code": "NL", "latitude": "52.37", "longitude": "4.89"}, place(52.37, 4.89, "NL"), id="text numbers"),
        pytest.param({"country": {"iso_code": "JP"}}, CENTROIDS["JP"], id="nested country"),
        pytest.param(
            {"country": {"iso_code": "JP"}, "location": {"latitude": 35.69, "longitude": 139.77, "accuracy_radius": 20}},
            place(35.69, 139.77, "JP"),
            id="nested city",
        ),
        pytest.param(
            {"country": {"iso_code": "US"}, "location": {"latitude": 37.75, "longitude": -97.82, "accuracy_radius": 1000}},
            place(37.75, -97.82, "US", whole_country=True),
            id="nested, as wide as a country",
        ),
        pytest.param({"registered_country": {"iso_code": "DE"}}, CENTROIDS["DE"], id="registered country"),
        pytest.param(
            {"country": {"names": {}}, "registered_country": {"iso_code": "DE"}}, CENTROIDS["DE"], id="country without code"
        ),
        pytest.param({"location": {"latitude": -36, "longitude": 174}}, place(-36, 174, None), id="coordinates alone"),
        pytest.param({"country_code": "NL", "latitude": 0.0, "longitude": 0.0}, CENTROIDS["NL"], id="0, 0 means unknown"),
        pytest.param({"country_code": "NL", "latitude": 91.0, "longitude": 4.0}, CENTROIDS["NL"], id="out of range"),
        pytest.param({"country_code": "NL", "latitude": math.nan, "longitude": 4.0}, CENTROIDS["NL"], id="not a number"),
        pytest.param({"country_code": "NL", "latitude": 52.37}, CENTROIDS["NL"], id="half a point"),
        pytest.param({"country_code": "EU"}, None, id="no country"),
        pytest.param({"country_code": "", "latitude": "", "longitude": ""}, None, id="empty"),
        pytest.param({"country_code": "NLD"}, None, id="three letters"),
        pytest.param({"country_code": 31}, None, id="number for a code"),
        pytest.param({"autonomous_system_number": 3333}, None, id="another kind of record"),
        pytest.param({"country": "NL", "location": "52,4"}, None, id="another shape"),
        pytest.param({"country_code": "NL", "latitude": True, "longitude": 10**400}, CENTROIDS["NL"], id="odd types"),
        pytest.param(None, None, id="nothing"),
        pytest.param(["NL"], None, id="list"),
    ],
)
def test_a_record_of_this_shape_is_this_place(record: object, location: Location | None) -> None:
    assert location_of(record, CENTROIDS) == location


_KEYS = st.sampled_from(
    ["country_code", "country", "registered_country", "iso_code", "location", "latitude", "longitude", "accuracy_radius"]
)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["NL", "EU"])
_RECORDS = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=8))


@given(_RECORDS)
def test_any_record_gives_a_place_on_earth_or_none(record: object) -> None:
    location = location_of(record, CENTROIDS)

    assert location is None or (abs(location.latitude) <= 90 and abs(location.longitude) <= 180)


def test_every_country_of_the_shipped_database_has_a_centroid() -> None:
    with maxminddb.open_database(DEFAULT_DATABASE) as reader:
        codes = {record["country_code"] for _, record in reader if isinstance(record, dict)}

    assert len(codes) > 240
    assert codes - CENTROIDS.keys() == set()


def test_the_centroid_table_is_well_formed() -> None:
    with (DATA_FOLDER / "country_centroids.csv").open(encoding="ascii", newline="") as lines:
        rows = list(csv.DictReader(lines))

    codes = [row["country"] for row in rows]
    assert codes == sorted(set(codes))
    # ISO 3166-1 has 249 codes; XK and AN are in use besides.
    assert len(codes) == 251
    assert {row["derived_from"] for row in rows} == {"places", "polygon", "hand"}
    for code, location in CENTROIDS.items():
        assert len(code) == 2
        assert code.isupper()
        assert location.country == code
        assert location.precision == "country"
        assert abs(location.latitude) <= 90
        assert abs(location.longitude) <= 180


@pytest.mark.parametrize(
    ("country", "south", "north", "west", "east"),
    [
        pytest.param("US", 36, 42, -100, -88, id="contiguous United States"),
        pytest.param("FR", 45, 49, 1, 4, id="metropolitan France"),
        pytest.param("NO", 59, 64, 8, 13, id="Norwegian mainland, not Svalbard"),
        pytest.param("RU", 52, 61, 38, 65, id="where Russia is peopled"),
        pytest.param("AU", -36, -30, 140, 150, id="eastern Australia, not the desert"),
        pytest.param("CA", 43, 48, -83, -73, id="southern Ontario"),
        pytest.param("CN", 30, 37, 110, 117, id="eastern China"),
        pytest.param("BR", -23, -15, -50, -43, id="Brazil's south-east"),
        pytest.param("NL", 51.5, 53, 4.5, 6, id="Netherlands in Europe"),
        pytest.param("MY", 2, 5, 101, 104, id="peninsular Malaysia"),
        pytest.param("NZ", -42, -37, 173, 177, id="New Zealand, not across the date line"),
        pytest.param("FJ", -19, -17, 177, 180, id="Fiji, not across the date line"),
        pytest.param("SG", 1.2, 1.5, 103.6, 104.1, id="Singapore"),
        pytest.param("HK", 22.2, 22.6, 113.8, 114.4, id="Hong Kong"),
        pytest.param("MT", 35.8, 36.1, 14.2, 14.6, id="Malta"),
        pytest.param("RE", -21.4, -20.8, 55.2, 55.9, id="Réunion"),
        pytest.param("GF", 3, 6, -54, -51, id="French Guiana"),
        pytest.param("KI", 1, 2, 172.5, 173.5, id="Tarawa"),
    ],
)
def test_a_country_is_where_its_people_are(country: str, south: float, north: float, west: float, east: float) -> None:
    location = CENTROIDS[country]

    assert south <= location.latitude <= north
    assert west <= location.longitude <= east
