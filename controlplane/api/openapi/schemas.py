"""JSON Schemas of the wire types: msgspec's own, with what a reader of the document needs beside them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct

_REF = "#/components/schemas/{name}"


def schemas_of(types: Iterable[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(one schema for each type, the components that they refer to by name)."""
    roots, components = msgspec.json.schema_components(list(types), ref_template=_REF)
    for kind in _structs(types):
        schema = components.get(kind.__name__)
        if schema is None:
            continue
        for field, text in field_docs(kind).items():
            name = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)).get(field)
            if name is not None and name in schema["properties"]:
                schema["properties"][name] = _with_description(schema["properties"][name], text)
    return [_portable(root) for root in roots], {name: _portable(schema) for name, schema in sorted(components.items())}


def _with_description(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {**schema, "description": text}


def _portable(schema: Any) -> Any:
    """Python's end of text, \\Z, is $ in the regular expressions of JSON Schema."""
    if isinstance(schema, dict):
        return {
            key: value.replace("\\Z", "$") if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_portable(each) for each in schema]
    return schema


@cache
def field_docs(kind: type[Struct]) -> dict[str, str]:
    """The text below each field, inherited ones included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base is Struct or not issubclass(base, Struct):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        if not isinstance(body, ast.ClassDef):
            continue
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                found[statement.target.id] = " ".join(following.value.value.split())
    return found


def _structs(types: Iterable[Any]) -> set[type[Struct]]:
    """All struct types that are reachable."""
    seen: set[type[Struct]] = set()

    def walk(info: Any) -> None:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in seen:
                return
            seen.add(info.cls)
            for field in info.fields:
                walk(field.type)
            return
        for name in ("item_type", "key_type", "value_type"):
            if hasattr(info, name):
                walk(getattr(info, name))
        for inner in getattr(info, "types", ()):
            walk(inner)
        if isinstance(info, msgspec.inspect.TupleType):
            for inner in info.item_types:
                walk(inner)

    for info in msgspec.inspect.multi_type_info(list(types)):
        walk(info)
    return seen
