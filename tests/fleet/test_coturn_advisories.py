"""Which faults a version of coturn has."""

from __future__ import annotations

import pytest

from controlplane.fleet.coturn_advisories import advisories_of


@pytest.mark.parametrize(
    ("version", "ids"),
    [
        ("4.5.1", ["CVE-2020-26262", "CVE-2026-27624", "CVE-2026-40613"]),
        ("4.6.1", ["CVE-2026-27624", "CVE-2026-40613"]),
        ("Coturn-4.8.99 'Gorst'", ["CVE-2026-27624", "CVE-2026-40613"]),
        ("4.9.0", ["CVE-2026-40613"]),
        ("4.9", ["CVE-2026-40613"]),
        ("4.10.0", []),
        ("4.17.1-r0", []),
        ("5.0.0", []),
        ("", []),
        ("unknown", []),
        ("\u0664.\u0666.\u0661", []),
        (None, []),
    ],
)
def test_the_faults_of_a_version(version: str | None, ids: list[str]) -> None:
    assert [each.advisory_id for each in advisories_of(version)] == ids
