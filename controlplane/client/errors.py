"""Everything that a call raises. A problem of the API carries its document (docs/reference/errors.md lists the codes)."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.wire.problem import FieldError


class TurnfleetError(Exception):
    """The family. Its text is a sentence for a person."""


class ConfigurationError(TurnfleetError):
    """No URL or no token was given, or one that cannot be."""


class ArgumentError(TurnfleetError, ValueError):
    """An argument that cannot be sent, such as a name that cannot be part of an address."""


class ConnectionFailedError(TurnfleetError):
    """No answer came: no connection, a timeout, TLS."""


class AnswerUnreadableError(TurnfleetError):
    """An answer came that is none of this API's."""


class EventsMissedError(TurnfleetError):
    """A stream of events has a gap: what was missed can only be read from the list."""

    def __init__(self, detail: str, *, last_event_id: int | None) -> None:
        super().__init__(detail)
        self.last_event_id = last_event_id
        """After which a new stream goes on; what happened up to it is in the list."""


class ApiError(TurnfleetError):
    """The API refused, and said why."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str,
        detail: str,
        request_id: str,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        """Of the closed list; empty when something before the API answered, such as a proxy."""
        self.title = title
        self.detail = detail
        self.request_id = request_id
        """To be given to whoever runs the control plane: it finds the request in its logs."""
        self.errors = tuple(errors)
        """What is wrong with which field."""
        self.retry_after_seconds = retry_after_seconds


class InvalidError(ApiError):
    """400, 405, 413, 422, 431: the request must be another one."""


class AuthenticationError(ApiError):
    """401: the token is missing, malformed, expired or deleted."""


class PermissionDeniedError(ApiError):
    """403: the token may not do this."""


class NotFoundError(ApiError):
    """404: there is no such thing, or it is somebody else's."""


class ConflictError(ApiError):
    """409: it collides with something that exists."""


class RateLimitedError(ApiError):
    """429: too many requests, or a quota is used up."""


class UnavailableError(ApiError):
    """502, 503, 504: not now; again in a moment."""


class ServerFaultError(ApiError):
    """500: a fault of the control plane."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
_FAULTS_FROM = 500


def class_for(status: int) -> type[ApiError]:
    return _BY_STATUS.get(status, ServerFaultError if status >= _FAULTS_FROM else InvalidError)
