"""The OpenAPI document: complete, with examples that hold, equal to the committed copy, and never breaking a client."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from controlplane.api.app import make_document
from controlplane.api.openapi.page import make_page
from controlplane.wire.problem import PROBLEMS
from tests.openapi.changes import breaking_changes

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "openapi.json"
PUBLISHED = ROOT / "docs" / "openapi.published.json"
"""What clients were written for. Replaced at a release, after a look at what the test below says."""


def test_the_committed_copy_is_the_document() -> None:
    """Otherwise: turnfleet openapi > docs/openapi.json, and see in the difference what clients will meet."""
    assert json.loads(COMMITTED.read_text()) == make_document()


def test_nothing_that_was_published_breaks() -> None:
    assert breaking_changes(json.loads(PUBLISHED.read_text()), make_document()) == []


def test_every_operation_is_complete() -> None:
    made = make_document()
    assert "/api/v1/credentials/ice" in made["paths"]
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            responses = operation["responses"]
            assert any(status.startswith("2") for status in responses), where
            assert {"400", "500"} <= set(responses), where
            if operation["security"]:
                assert {"401", "503"} <= set(responses), where
            for status, response in responses.items():
                if not status.startswith("2"):
                    assert response["content"]["application/problem+json"]["examples"], f"{where} {status}"


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for methods in make_document()["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def _examples(made: dict[str, Any]) -> list[tuple[str, dict[str, Any], Any]]:
    """(where, schema, example) of every body, answer and problem."""
    found = []
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            contents = [operation.get("requestBody", {}).get("content", {})]
            contents += [response.get("content", {}) for response in operation["responses"].values()]
            for content in contents:
                for media in content.values():
                    examples = [media["example"]] if "example" in media else []
                    examples += [each["value"] for each in media.get("examples", {}).values()]
                    found += [(f"{method} {path}", media["schema"], each) for each in examples]
    return found


def test_every_example_is_what_its_schema_says() -> None:
    made = make_document()
    assert len(_examples(made)) > 100
    for where, schema, example in _examples(made):
        validator = jsonschema_rs.validator_for({**schema, "components": made["components"]})
        errors = [f"{where}: {error.message} at {list(error.instance_path)}" for error in validator.iter_errors(example)]
        assert errors == []


def test_every_problem_can_happen_somewhere_in_the_document() -> None:
    told = {
        code
        for methods in make_document()["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    # This one is answered before any route is reached.
    assert set(PROBLEMS) - told == {"headers_too_large"}


def test_the_page_fetches_nothing_and_names_every_operation() -> None:
    made = make_document()
    page = make_page(made)
    assert "<script" not in page
    assert "src=" not in page
    for methods in made["paths"].values():
        for operation in methods.values():
            assert f"id='{operation['operationId']}'" in page


def test_the_page_shows_the_fields_of_items_too() -> None:
    made = make_document()
    allocations = make_page(made).partition("id='list_allocations'")[2].partition("</details>")[0]
    assert "<h4>AllocationView</h4>" in allocations
    for field in made["components"]["schemas"]["AllocationView"]["properties"]:
        assert f"<code>{field}</code>" in allocations


_ISSUE = "/api/v1/credentials/ice"
_JOIN = "/api/v1/fleet/join-tokens"


def _delete_path(new: dict[str, Any]) -> None:
    del new["paths"][_ISSUE]


def _drop_answer_field(new: dict[str, Any]) -> None:
    del new["components"]["schemas"]["RegionView"]["properties"]["nat2"]


def _make_answer_field_optional(new: dict[str, Any]) -> None:
    new["components"]["schemas"]["RegionView"]["required"].remove("city")


def _change_answer_type(new: dict[str, Any]) -> None:
    new["components"]["schemas"]["RegionView"]["properties"]["lat"] = {"type": "string"}


def _answer_null(new: dict[str, Any]) -> None:
    new["components"]["schemas"]["RegionView"]["properties"]["lat"] = {"anyOf": [{"type": "number"}, {"type": "null"}]}


def _require_body_field(new: dict[str, Any]) -> None:
    new["components"]["schemas"]["JoinTokenBody"]["required"].append("ttl_seconds")


def _ignore_body_field(new: dict[str, Any]) -> None:
    del new["components"]["schemas"]["JoinTokenBody"]["properties"]["ttl_seconds"]


def _lower_maximum(new: dict[str, Any]) -> None:
    new["components"]["schemas"]["JoinTokenBody"]["properties"]["ttl_seconds"]["maximum"] = 60


def _drop_media_type(new: dict[str, Any]) -> None:
    del new["paths"][_ISSUE]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]


def _require_parameter(new: dict[str, Any]) -> None:
    new["paths"][_ISSUE]["post"]["parameters"].append({"name": "x", "in": "query", "required": True, "schema": {"type": "string"}})


def _drop_parameter(new: dict[str, Any]) -> None:
    new["paths"][_ISSUE]["post"]["parameters"].pop()


def _answer_another_status(new: dict[str, Any]) -> None:
    responses = new["paths"][_JOIN]["post"]["responses"]
    responses["200"] = responses.pop("201")


def _need_another_scope(new: dict[str, Any]) -> None:
    new["paths"][_JOIN]["post"]["security"] = [{"token": ["tenants:manage"]}]


def _rename_operation(new: dict[str, Any]) -> None:
    new["paths"][_JOIN]["post"]["operationId"] = "another"


@pytest.mark.parametrize(
    "change",
    [
        _delete_path,
        _drop_answer_field,
        _make_answer_field_optional,
        _change_answer_type,
        _answer_null,
        _require_body_field,
        _ignore_body_field,
        _lower_maximum,
        _drop_media_type,
        _require_parameter,
        _drop_parameter,
        _answer_another_status,
        _need_another_scope,
        _rename_operation,
    ],
)
def test_a_breaking_change_is_seen(change: Callable[[dict[str, Any]], None]) -> None:
    old = make_document()
    new = copy.deepcopy(old)
    assert breaking_changes(old, new) == []
    change(new)
    assert breaking_changes(old, new) != []


def test_additions_break_nothing() -> None:
    old = make_document()
    new = copy.deepcopy(old)
    new["paths"]["/api/v2/new"] = {}
    new["components"]["schemas"]["RegionView"]["properties"]["extra"] = {"type": "string"}
    new["components"]["schemas"]["JoinTokenBody"]["properties"]["extra"] = {"type": "string"}
    new["components"]["schemas"]["JoinTokenBody"]["properties"]["ttl_seconds"]["maximum"] *= 2
    assert breaking_changes(old, new) == []
