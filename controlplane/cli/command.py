"""How a function becomes a command: it gets a session, and the options that every command has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from controlplane.cli.session import Session

P = ParamSpec("P")
Function = Callable[Concatenate[Session, P], None]


def _common(
    *,
    project: Annotated[
        str | None, typer.Option(help="Act in this project: its slug, or ORGANIZATION/SLUG with an operator token.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Use this profile. See: turnfleet profile list.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the API's JSON: one document, or one line per item of a list.")
    ] = False,
) -> None:
    """The signature that every command's is extended by."""


_COMMON = [*inspect.signature(_common, eval_str=True).parameters.values()]

Limit = Annotated[int, typer.Option(min=0, help="Show at most so many; 0: all.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def group(about: str) -> typer.Typer:
    """A command that has commands."""
    return typer.Typer(no_args_is_help=True, help=about)


def command(
    app: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Make a function the command of that name. Its first parameter is the session, the others are its own options."""

    def register(function: Callable[Concatenate[Session, P], None]) -> Callable[Concatenate[Session, P], None]:
        own = [*inspect.signature(function, eval_str=True).parameters.values()][1:]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*own, *_COMMON]]

        def run(**given: Any) -> None:
            session = Session(profile=given.pop("profile"), project=given.pop("project"), as_json=given.pop("json"))
            try:
                function(session, **given)  # type: ignore[call-arg] # typer gives what the signature names
            finally:
                session.close()

        run.__doc__ = function.__doc__
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        vars(run)["__signature__"] = inspect.Signature(parameters)
        app.command(name)(run)
        return function

    return register
