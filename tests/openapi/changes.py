"""What between two OpenAPI documents would break a client that was written for the older one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def breaking_changes(old: Document, new: Document) -> list[str]:
    """Sentences, one per change. Additions that a client may ignore are none."""
    found: list[str] = []
    for path, methods in old["paths"].items():
        for method, was in methods.items():
            name = f"{method.upper()} {path}"
            now = new["paths"].get(path, {}).get(method)
            if now is None:
                found.append(f"{name} is gone")
                continue
            found += [f"{name}: {each}" for each in _operation(old, was, new, now)]
    return found


def _operation(old: Document, was: Document, new: Document, now: Document) -> Iterator[str]:
    if now["operationId"] != was["operationId"]:
        yield f"the operation id {was['operationId']} became {now['operationId']}"
    if was["security"] != now["security"]:
        yield "another token or scope is needed"
    known = {(each["name"], each["in"]): each for each in was["parameters"]}
    kept = {(each["name"], each["in"]): each for each in now["parameters"]}
    for key, parameter in known.items():
        if key not in kept:
            yield f"the parameter {key[0]} is gone"
        else:
            yield from (f"parameter {key[0]}: {each}" for each in _sent(old, parameter["schema"], new, kept[key]["schema"], ""))
    for key, parameter in kept.items():
        if parameter["required"] and not known.get(key, {}).get("required", False):
            yield f"the parameter {key[0]} became required"
    yield from _body(old, was, new, now)
    for status, response in was["responses"].items():
        if not status.startswith("2"):
            continue
        if status not in now["responses"]:
            yield f"it does not answer {status} any more"
            continue
        for media_type, content in response.get("content", {}).items():
            then = now["responses"][status].get("content", {}).get(media_type)
            if then is None:
                yield f"it does not answer with {media_type} any more"
            else:
                yield from _received(old, content["schema"], new, then["schema"], "")


def _body(old: Document, was: Document, new: Document, now: Document) -> Iterator[str]:
    if "requestBody" not in now:
        return
    if "requestBody" not in was:
        if now["requestBody"]["required"]:
            yield "a body became required"
        return
    if now["requestBody"]["required"] and not was["requestBody"]["required"]:
        yield "the body became required"
    for media_type, content in was["requestBody"]["content"].items():
        then = now["requestBody"]["content"].get(media_type)
        if then is None:
            yield f"a body of {media_type} is not taken any more"
        else:
            yield from _sent(old, content["schema"], new, then["schema"], "")


def _resolved(document: Document, schema: Document) -> Document:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _kinds(document: Document, schema: Document) -> set[str]:
    schema = _resolved(document, schema)
    several = schema.get("anyOf", schema.get("oneOf", []))
    if several:
        return set().union(*(_kinds(document, each) for each in several))
    return {str(schema.get("format", schema.get("type", "any")))}


def _object(document: Document, schema: Document) -> Document:
    """The object among several choices, itself, or the items of a list."""
    schema = _resolved(document, schema)
    for each in schema.get("anyOf") or schema.get("oneOf") or ():
        found = _object(document, each)
        if "properties" in found:
            return found
    return _object(document, schema["items"]) if schema.get("type") == "array" and "items" in schema else schema


def _received(old: Document, was: Document, new: Document, now: Document, at: str) -> Iterator[str]:
    """A client reads it: every field must go on being there, as no other type than it was."""
    if not _kinds(new, now) <= _kinds(old, was):
        yield f"{at or 'the answer'} may be {sorted(_kinds(new, now))}, was {sorted(_kinds(old, was))}"
    before, after = _object(old, was), _object(new, now)
    for field, schema in before.get("properties", {}).items():
        place = f"{at}.{field}" if at else field
        then = after.get("properties", {}).get(field)
        if then is None:
            yield f"the field {place} is gone from the answer"
        elif field in before.get("required", ()) and field not in after.get("required", ()):
            yield f"the field {place} may be missing from the answer"
        else:
            yield from _received(old, schema, new, then, place)


def _sent(old: Document, was: Document, new: Document, now: Document, at: str) -> Iterator[str]:
    """A client writes it: whatever it could send must go on being taken."""
    if not _kinds(old, was) <= _kinds(new, now):
        yield f"{at or 'it'} must be {sorted(_kinds(new, now))}, could be {sorted(_kinds(old, was))}"
    yield from _narrowed(_resolved(old, was), _resolved(new, now), at)
    before, after = _object(old, was), _object(new, now)
    for field in set(after.get("required", ())) - set(before.get("required", ())):
        yield f"the field {field} became required"
    for field, schema in before.get("properties", {}).items():
        then = after.get("properties", {}).get(field)
        if then is None:
            yield f"the field {field} is not read any more"
        else:
            yield from _sent(old, schema, new, then, f"{at}.{field}" if at else field)


def _narrowed(was: Document, now: Document, at: str) -> Iterator[str]:
    for low in ("minimum", "minLength", "minItems"):
        if low in now and now[low] > was.get(low, float("-inf")):
            yield f"{at or 'it'}: {low} was raised to {now[low]}"
    for high in ("maximum", "maxLength", "maxItems"):
        if high in now and now[high] < was.get(high, float("inf")):
            yield f"{at or 'it'}: {high} was lowered to {now[high]}"
    if "enum" in now and not set(was.get("enum", ["anything"])) <= set(now["enum"]):
        yield f"{at or 'it'}: a choice is gone"
    if "pattern" in now and was.get("pattern") != now["pattern"]:
        yield f"{at or 'it'}: the pattern changed"
