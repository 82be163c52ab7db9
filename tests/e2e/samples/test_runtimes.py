"""A runtime that is missing is never a silent pass."""

from __future__ import annotations

import pytest

from tests.e2e.samples.runtimes import RUNTIMES, Runtime, needs


@pytest.fixture(params=["absent", "not whole"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"missing-{request.node.name}"
    runtime = Runtime(command="sh", packages=("one", "two"), is_whole=lambda command: False)
    if request.param == "absent":
        runtime = Runtime(command="turnfleet-has-no-such-command", packages=("one", "two"))
    monkeypatch.setitem(RUNTIMES, name, runtime)
    return name


def test_a_missing_runtime_fails_in_ci(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install one two"):
        needs(missing)


def test_a_missing_runtime_skips_elsewhere_and_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install one two"):
        needs(missing)
