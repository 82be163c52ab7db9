"""What a call is, before anything is sent: method, path, fields, and how its answer is read. No socket here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import msgspec

from controlplane.client.errors import AnswerUnreadableError, ArgumentError

T = TypeVar("T")

Repeat = Literal["always", "refused", "limited"]
"""When a call is sent again. `always`: also when the connection broke, for it changes nothing or may happen twice.
`refused`: on 429 and 503; it ends the same however often it is done. `limited`: on 429 only; it makes something new, and after
a 503 nobody knows whether it did."""

Parameter = str | int | bool | datetime | UUID | None
"""None is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the API, undecoded. Names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, and what its answer becomes."""

    method: str
    path: str
    """After /api/v1."""
    read: Callable[[Answer], T]
    repeat: Repeat
    query: Mapping[str, Parameter] = field(default_factory=dict)
    body: object = None
    """Anything that msgspec encodes; None: no body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_seconds: float = 0.0
    """How long the API itself may take for it, where that is long: the client waits longer than that."""

    def query_text(self) -> dict[str, str]:
        """Raises ArgumentError for an instant without a zone."""
        return {name: text_of(value) for name, value in self.query.items() if value is not None}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list, its items undecoded."""

    items: list[msgspec.Raw]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages(Generic[T]):
    """A list that is read page by page."""

    path: str
    item: type[T]
    query: Mapping[str, Parameter] = field(default_factory=dict)
    page_size: int | None = None
    """None: as long as the API makes them by itself."""

    def at(self, cursor: str | None) -> Call[Page]:
        return get(self.path, Page, {**self.query, "limit": self.page_size, "cursor": cursor})

    def sized(self, page_size: int) -> Pages[T]:
        return replace(self, page_size=page_size)

    def decode(self, raw: msgspec.Raw) -> T:
        return _decode(bytes(raw), self.item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream(Generic[T]):
    """Server-Sent Events that are followed until nobody wants them any more."""

    path: str
    item: type[T]
    query: Mapping[str, Parameter] = field(default_factory=dict)
    after: int | None = None
    """The id of the last event that was had; None: from now on."""

    def decode(self, raw: msgspec.Raw) -> T:
        return _decode(bytes(raw), self.item)


def get(path: str, kind: type[T], query: Mapping[str, Parameter] | None = None) -> Call[T]:
    return Call(method="GET", path=path, query=query or {}, read=json_of(kind), repeat="always")


def json_of(kind: type[T]) -> Callable[[Answer], T]:
    """Read the body as `kind`. Fields that this version does not know are skipped."""
    return lambda answer: _decode(answer.body, kind)


def nothing(answer: Answer) -> None:
    """For answers without a body."""


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AnswerUnreadableError(
            f"The answer is not what this version of turnfleet expects: {error}. Is the URL the control plane's?"
        ) from None


def text_of(value: Parameter) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ArgumentError("An instant needs a time zone: datetime.now(UTC), for example.")
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def part(value: str | UUID) -> str:
    """`value` as one part of a path. Raises ArgumentError for one that cannot be one."""
    text = str(value)
    if text in {"", ".", ".."}:
        raise ArgumentError(f"{value!r} names nothing.")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise ArgumentError(f"{text!r} is no text.") from None


def given(**fields: object) -> dict[str, object]:
    """A body of those fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
