"""Exit statuses, and the words on stderr that go with them."""

from __future__ import annotations

from controlplane.client.errors import (
    ApiError,
    ArgumentError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    TurnfleetError,
    UnavailableError,
)

FAILED = 1
"""The API refused what was asked (a field, a conflict), or failed."""
USAGE = 2
"""The command, an option or the configuration is wrong: nothing was sent."""
NOT_ALLOWED = 3
"""Not logged in, no valid token, or one without the scope."""
NOT_FOUND = 4
UNAVAILABLE = 5
"""No connection, too many requests, or nothing can take it now: the same command may work in a moment."""
SOME_FAILED = 6
"""Relays were tried, and some listener does not relay."""
NOTHING_RELAYED = 7
INTERRUPTED = 130
"""Ctrl-C: 128 and SIGINT."""


class NotLoggedInError(TurnfleetError):
    """There is no profile to take URL and token from."""


class RefusedHereError(TurnfleetError):
    """The command line itself refuses, before anything is sent."""


_BY_KIND: tuple[tuple[type[TurnfleetError], int], ...] = (
    (AuthenticationError, NOT_ALLOWED),
    (PermissionDeniedError, NOT_ALLOWED),
    (NotLoggedInError, NOT_ALLOWED),
    (NotFoundError, NOT_FOUND),
    (RateLimitedError, UNAVAILABLE),
    (UnavailableError, UNAVAILABLE),
    (ConnectionFailedError, UNAVAILABLE),
    (ConfigurationError, USAGE),
    (ArgumentError, USAGE),
    (RefusedHereError, USAGE),
)


def status_of(error: TurnfleetError) -> int:
    return next((status for kind, status in _BY_KIND if isinstance(error, kind)), FAILED)


def words_of(error: TurnfleetError) -> list[str]:
    """Lines for stderr: the sentence, what is wrong with which field, and how to find the request again."""
    lines = [f"turnfleet: {error}"]
    if isinstance(error, ApiError):
        lines += [f"  {each.field}: {each.message}" for each in error.errors if f"{each.field} {each.message}" not in str(error)]
        known = ", ".join(part for part in (error.code, error.request_id and f"request {error.request_id}") if part)
        if known:
            lines.append(f"  ({known})")
        if error.code == "project_required":
            lines.append("  Here it is named with --project: its slug, or ORGANIZATION/SLUG with an operator token.")
    return lines
