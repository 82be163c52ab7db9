"""The OpenAPI document as one page for people: no script, nothing fetched from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_STYLE = """
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
code,pre{font:0.875rem/1.45 ui-monospace,monospace}code{background:#eef1f4;padding:.1em .3em;border-radius:.2em}
pre{background:#f5f7f9;padding:.75rem;border-radius:.4rem;overflow:auto;max-height:28rem}pre code{background:none;padding:0}
a{color:#0b5cad}
h2{margin-top:3rem;border-bottom:1px solid #d5dbe1}details{border:1px solid #d5dbe1;border-radius:.4rem;margin:.5rem 0}
summary{padding:.5rem .75rem;cursor:pointer}details>div{padding:0 .75rem .75rem}
b.m{display:inline-block;min-width:4.2rem;font:600 .8rem ui-monospace,monospace}.scope{float:right;font-size:.85rem;color:#57606a}
nav a{margin-right:1rem}details>div{scroll-margin-top:6rem}.link{font-size:.85rem}code{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}h4{margin:1.25rem 0 .25rem}td:first-child{white-space:nowrap}
td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #e6eaee}
@media(prefers-color-scheme:dark){body{color:#e6e9ec;background:#14171a}code{background:#24292e}pre{background:#1b1f24}a{color:#7ab7ff}
h2,details,td,th{border-color:#30363d}.scope{color:#9aa4ae}}
@media(max-width:40rem){body{margin:1rem auto}tr:first-child:has(th){display:none}
td{display:block;border:0;padding:0}td:empty{display:none}tr{display:block;padding:.4rem 0;border-bottom:1px solid #d5dbe1}
td:first-child{white-space:normal}.scope{float:none;display:block}}
"""


def make_page(document: dict[str, Any]) -> str:
    """HTML. Every operation can be opened and linked to by its id."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(document['info']['title'])} API</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(document['info']['title'])} API</h1><p>Version {escape(document['info']['version'])}. ",
        "<a href='/openapi.json'>openapi.json</a> · <a href='/docs/errors'>problems</a></p>",
        f"<p>{_inline(document['info']['description'])}</p>",
        "<p>Send the token as <code>Authorization: Bearer TOKEN</code>. The scope that it needs stands on the right of each call; "
        "calls without one take no token. A <code>?</code> behind a field: it may be left out.</p><nav>",
        *(f"<a href='#{tag['name']}'>{escape(tag['name'].capitalize())}</a> " for tag in document["tags"]),
        "</nav>",
    ]
    for tag in document["tags"]:
        found = [
            (path, method, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
        if found:
            parts.append(f"<h2 id='{tag['name']}'>{escape(tag['name'].capitalize())}</h2><p>{_inline(tag['description'])}</p>")
            parts += [_operation(document, *each) for each in found]
    parts.append("</body></html>")
    return "".join(parts)


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    wanted = ", ".join(
        ", ".join(scopes) or document["components"]["securitySchemes"][scheme]["description"].rstrip(".")
        for each in operation["security"]
        for scheme, scopes in each.items()
    )
    scope = f"<span class='scope'>{escape(wanted)}</span>" if wanted else ""
    name = operation["operationId"]
    # The id is inside, because a browser opens what holds the target of a link, and not the target itself.
    return (
        f"<details><summary>{scope}<b class='m'>{method.upper()}</b> "
        f"<code>{escape(path)}</code><br>{_inline(operation['summary'])}</summary><div id='{name}'>"
        f"<a class='link' href='#{name}'>link to this call</a>"
        f"{_parameters(operation)}{_body(document, operation)}{_answers(document, operation)}</div></details>"
    )


def _parameters(operation: dict[str, Any]) -> str:
    rows = [
        (each["name"], each["in"], _kind(each["schema"]), each.get("description", each["schema"].get("description", "")))
        for each in operation["parameters"]
    ]
    return _table(("parameter", "in", "type", ""), rows)


def _body(document: dict[str, Any], operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    content = operation["requestBody"]["content"]
    media = next(iter(content.values()))
    return f"<h4>Body ({escape(', '.join(content))})</h4>" + _fields(document, media["schema"]) + _example(media)


def _answers(document: dict[str, Any], operation: dict[str, Any]) -> str:
    parts = []
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        problem = "application/problem+json" in content
        if problem:
            codes = "".join(
                f"<li><a href='/docs/errors/{code}'><code>{code}</code></a> {_inline(example['value']['title'])}</li>"
                for code, example in content["application/problem+json"]["examples"].items()
            )
            parts.append(f"<h4>{status}</h4><ul>{codes}</ul>")
        else:
            parts.append(f"<h4>{status}{escape(' ' + ', '.join(content) if content else ' no body')}</h4>")
            media = content.get("application/json")
            if media is not None:
                parts.append(_fields(document, media["schema"]) + _example(media))
    return "".join(parts)


def _example(media: dict[str, Any]) -> str:
    return f"<pre><code>{escape(json.dumps(media['example'], indent=2))}</code></pre>"


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """The fields of an object, or of the objects in a list; below them those of the objects that it holds."""
    waiting = _objects(document, schema)
    parts: list[str] = []
    for name in waiting:  # grows while it is gone through
        known = document["components"]["schemas"][name]
        required = set(known.get("required", []))
        rows = []
        for field, each in known.get("properties", {}).items():
            rows.append((field + ("" if field in required else "?"), "", _kind(each), each.get("description", "")))
            waiting += [held for held in _objects(document, each) if held not in waiting]
        parts.append((f"<h4>{escape(name)}</h4>" if parts else "") + _table(("field", "", "type", ""), rows))
    return "".join(parts)


def _objects(document: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """The names of the objects that a value of this schema is, or holds in a list."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return [name] if "properties" in document["components"]["schemas"][name] else []
    inner = [schema["items"]] if isinstance(schema.get("items"), dict) else []
    inner += [each for several in ("anyOf", "oneOf") for each in schema.get(several, [])]
    return [found for each in inner for found in _objects(document, each)]


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str, str]]) -> str:
    if not rows:
        return ""
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(where)}</td><td>{escape(kind)}</td><td>{_inline(text)}</td></tr>"
        for name, where, kind, text in rows
    )
    return f"<table><tr>{titles}</tr>{body}</table>"


def _kind(schema: dict[str, Any]) -> str:
    """A type in few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(each) for each in schema[several])
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    limits = [
        f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most")) if key in schema
    ]
    return " ".join([str(schema.get("format", schema.get("type", "any"))), *limits])


def _inline(text: str) -> str:
    """Escaped, with `code`."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
