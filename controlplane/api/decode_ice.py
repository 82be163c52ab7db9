"""The fields of a request for credentials, in every shape that existing clients send them.

Decided by the body's bytes, never by Content-Type: published samples send a form under application/json, JSON under
nothing, and no body at all under anything.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from controlplane.api.problems import ProblemError
from controlplane.fleet.policy import Policy
from controlplane.flows.issue_ice import MAX_SERVERS, IceQuery
from controlplane.wire.problem import FieldError

BODY_LIMIT_BYTES = 16 * 1024
_MAX_FORM_FIELDS = 100
_TAG = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_TAG_RULE = "1 to 100 characters of letters, digits, '-' and '_'"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_DIGITS_MAX = 9
"""A longer number is beyond every bound."""


class _JsonFields(msgspec.Struct):
    """The known fields, of any type: each is judged by itself, so that the answer can name it. Others are skipped."""

    initiator_client: Any = None
    receiver_client: Any = None
    room: Any = None
    ttl: Any = None
    fixed_region: Any = None
    preferred_region: Any = None
    preffered_region: Any = None


_decoder = msgspec.json.Decoder(_JsonFields)
_NAMES = _JsonFields.__struct_fields__


def _form(text: str) -> dict[str, Any]:
    try:
        # The first of a repeated field counts, so that an appended one cannot override it.
        return dict(reversed(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS)))
    except ValueError:
        raise ProblemError("body_malformed", f"A form has at most {_MAX_FORM_FIELDS} fields.") from None


def _fields(body: bytes, content_type: str | None) -> dict[str, Any]:
    stripped = body.strip()
    if not stripped or stripped == b"null":
        return {}
    if stripped[:1] == b"{":
        try:
            decoded = _decoder.decode(stripped)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProblemError("body_malformed", f"The body looks like JSON but is not: {error}.") from None
        except RecursionError:
            raise ProblemError("body_malformed", "The JSON is nested too deeply.") from None
        return {name: getattr(decoded, name) for name in _NAMES}
    if content_type is not None and content_type.startswith("multipart/"):
        raise ProblemError("body_malformed", "A multipart body is not read: send JSON or a urlencoded form.")
    return _form(stripped.decode("utf-8", "replace"))


def decode_ice(
    body: bytes, query_string: bytes, *, content_type: str | None, client_address: str | None, max_ttl_seconds: int, policy: Policy
) -> IceQuery:
    """The checked query. Raises ProblemError body_malformed or fields_invalid, naming every wrong field."""
    fields = _fields(body, content_type)
    query = _form(query_string.decode("utf-8", "replace")) if query_string else {}
    errors: list[FieldError] = []

    def given(name: str) -> Any:
        value = fields.get(name)
        if value is None or value == "":
            value = query.get(name)
        return None if value == "" else value

    def tag(name: str) -> str | None:
        value = given(name)
        if value is None:
            return None
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not _TAG.fullmatch(text):
            errors.append(FieldError(field=name, message=f"must be {_TAG_RULE}"))
            return None
        return text

    def region(name: str) -> str | None:
        value = given(name)
        if value is not None and (not isinstance(value, str) or not _SLUG.fullmatch(value)):
            errors.append(FieldError(field=name, message="must be a region's slug"))
            return None
        return value

    def whole(name: str, default: int, high: int, value: Any) -> int:
        if value is None or value == "":
            return default
        number = value
        if (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX) or (
            isinstance(value, float) and value.is_integer()
        ):
            number = int(value)
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= high:
            errors.append(FieldError(field=name, message=f"must be a whole number from 1 to {high}"))
            return default
        return number

    checked = IceQuery(
        ttl_seconds=whole("ttl", min(policy.default_ttl_seconds, max_ttl_seconds), max_ttl_seconds, given("ttl")),
        client_address=client_address,
        initiator_client=tag("initiator_client"),
        receiver_client=tag("receiver_client"),
        room=tag("room"),
        fixed_region=region("fixed_region"),
        preferred_region=_hint(given("preferred_region")) or _hint(given("preffered_region")),
        servers=whole("servers", 1, MAX_SERVERS, query.get("servers")),
        explain=query.get("explain", "").lower() in {"true", "1"},
    )
    if errors:
        named = ", ".join(error.field for error in errors)
        raise ProblemError("fields_invalid", f"Wrong value for {named}: {errors[0].field} {errors[0].message}.", errors=errors)
    return checked


def _hint(value: Any) -> str | None:
    """preferred_region is a hint, never an error: what cannot be a slug counts as absent."""
    return value if isinstance(value, str) and _SLUG.fullmatch(value) else None
