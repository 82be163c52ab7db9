"""What a command works with: the client of its profile, and the ways to show what came."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import typer

from controlplane.cli.exit_codes import RefusedHereError
from controlplane.cli.profiles import Profile, pick
from controlplane.cli.tables import Column, columns, in_picture, print_card, print_line, print_table
from controlplane.cli.words import say, zone_of
from controlplane.client.call import Call, Pages

if TYPE_CHECKING:
    from controlplane.client.client import Client

T = TypeVar("T")
PAGE_MAX = 500


class Session:
    """One run of a command."""

    def __init__(self, *, profile: str | None, project: str | None, as_json: bool) -> None:
        self.as_json = as_json
        self._profile = profile
        self.named_project = project
        """As the command names it; None: the profile's, if any."""
        self.attempts: int | None = None
        """How often a call is tried; None: as usual. Before the client is first used."""
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Made when it is first needed. Raises NotLoggedInError, RefusedHereError or ConfigurationError."""
        if self._client is None:
            from controlplane.client.client import Client
            from controlplane.client.exchange import Retries

            chosen = self.profile
            self._client = Client(
                chosen.url,
                chosen.token,
                project=self.named_project or chosen.project,
                ca_file=chosen.ca_file,
                retries=None if self.attempts is None else Retries(attempts=self.attempts),
                user_agent="turnfleet-cli",
            )
        return self._client

    @property
    def profile(self) -> Profile:
        """Raises NotLoggedInError or RefusedHereError."""
        return pick(self._profile)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        sys.stdout.flush()  # here a reader that went away is noticed, and ends the command quietly

    def one(self, call: Call[T], *, order: Iterable[str] = (), show: Callable[[T], None] | None = None) -> T:
        """Do the call and show its answer: with --json as it came, else by `show` or as a card, the fields of `order` first."""
        answer = self.client.driver.answer(call)
        value = call.read(answer)
        if self.as_json:
            emit(answer.body)
        elif show is not None:
            show(value)
        else:
            print_card(card_lines(value, order))
        return value

    def many(self, pages: Pages[Any], text: str, *, limit: int, row: Callable[[Any], object] | None = None) -> None:
        """Show up to `limit` items (0: all of them): with --json a line each as they came, else as a table of `columns(text)`.

        `row` makes of an item what has those columns, where its own fields do not read well.
        """
        sized = pages.sized(min(limit + 1, PAGE_MAX) if limit else PAGE_MAX)
        raw = self.client.driver.each_raw(sized)
        wanted = islice(raw, limit or None)
        if self.as_json:
            for item in wanted:
                emit(bytes(item))
        else:
            items = [sized.decode(item) for item in wanted]
            show_table([row(item) for item in items] if row is not None else items, text)
        if limit and next(raw, None) is not None:
            note(f"There is more than these {limit}: --limit {limit * 10} shows more, --limit 0 everything.")

    def rows(self, call: Call[list[T]], text: str) -> None:
        """A list that the API answers at once, shown as `many` does."""
        answer = self.client.driver.answer(call)
        values = call.read(answer)
        if not self.as_json:
            show_table(values, text)
            return
        for item in msgspec.json.decode(answer.body, type=list[msgspec.Raw]):
            emit(bytes(item))

    def done(self, call: Call[None], said: str) -> None:
        """Do a call that answers nothing; the sentence goes to stderr, so that stdout stays for data."""
        self.client.driver.run(call)
        note(said)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Raises RefusedHereError when nobody can be asked, typer.Abort when the answer is no."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise RefusedHereError(f"{question} Nobody can be asked here: say it with --yes.")
        typer.confirm(question, abort=True, err=True)


def emit(body: bytes) -> None:
    """JSON as it came, and a line's end."""
    sys.stdout.write(body.decode() + "\n")


def note(text: str) -> None:
    """For people, beside the data; in a picture that is drawn again and again, under it."""
    if in_picture():
        print_line(text)
    else:
        typer.echo(text, err=True)


def card_lines(value: object, order: Iterable[str] = (), *, without: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Names and values; what is nested is indented."""
    fields = msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else vars(value)
    names = [*order, *(name for name in fields if name not in {*order, *without})]
    lines: list[tuple[str, str]] = []
    for name in names:
        stem, field = name.removesuffix("_at").removesuffix("_seconds"), fields[name]
        title = (name if stem in fields else stem).replace("_", " ")
        nested = field if isinstance(field, list) and field and isinstance(field[0], msgspec.Struct) else None
        if isinstance(field, msgspec.Struct):
            lines += [(title, ""), *((f"  {inner}", text) for inner, text in card_lines(field))]
        elif nested is not None:
            lines += [(title if number == 0 else "", say(name, each)) for number, each in enumerate(nested)]
        else:
            lines.append((title, say(name, field)))
    return lines


def show_table(values: Sequence[object], text: str) -> None:
    if not values:
        note("Nothing found.")
        return
    shown = columns(text)
    cells = {each.field: [getattr(value, each.field) for value in values] for each in shown}
    named = [_with_zone(each, cells[each.field]) for each in shown]
    columns_said = [[_said(each, value) for value in cells[each.field]] for each in named]
    print_table(named, [*zip(*columns_said, strict=True)])


def _with_zone(column: Column, values: Sequence[object]) -> Column:
    """Of instants in one zone: the zone stands in the title, once."""
    if column.day:
        return replace(column, title=f"{column.title} (UTC)")
    zones = {zone_of(value) for value in values if isinstance(value, datetime)}
    return replace(column, title=f"{column.title} ({zones.pop()})", zoned=True) if len(zones) == 1 else column


def _said(column: Column, value: object) -> str:
    if column.day and isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d}"
    text = say(column.field, value)
    return text.removesuffix(f" {zone_of(value)}") if column.zoned and isinstance(value, datetime) else text
