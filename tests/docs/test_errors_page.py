"""Every problem code is documented with its status, and no other."""

from __future__ import annotations

import re

import pytest

from controlplane.wire.problem import PROBLEMS
from tests.docs.pages import page, pages, rows

_PAGE = "docs/reference/errors.md"


def test_codes_statuses_and_retry_after_are_the_code_s() -> None:
    table = rows(page(_PAGE), under="The list")
    documented = {row.cells[0].strip("`"): (row.cells[1], row.cells[2]) for row in table}
    assert len(documented) == len(table), "a code is documented twice"
    known = {
        code: (str(problem.status), "" if problem.retry_after_seconds is None else str(problem.retry_after_seconds))
        for code, problem in PROBLEMS.items()
    }
    assert documented == known


def test_every_code_has_a_meaning_and_a_remedy() -> None:
    assert [row.cells[0] for row in rows(page(_PAGE), under="The list") if not (row.cells[3] and row.cells[4])] == []


@pytest.mark.parametrize("name", sorted(pages()))
def test_examples_show_known_codes_with_their_status(name: str) -> None:
    for status, code in re.findall(r'"status":\s*(\d+),.*?"code":\s*"(\w+)"', page(name), re.DOTALL):
        assert code in PROBLEMS, code
        assert PROBLEMS[code].status == int(status), code


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_status_next_to_a_code_is_that_code_s(name: str) -> None:
    """As in: 503 `store_unavailable`."""
    for status, code in re.findall(r"\b([45]\d\d) `(\w+)`", page(name)):
        assert code in PROBLEMS, code
        assert PROBLEMS[code].status == int(status), code
