"""From an exception to problem+json: the one table."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from controlplane.flows.authenticate import (
    AuthenticationError,
    AuthenticationUnavailableError,
    ProjectRequiredError,
    ProjectUnknownError,
)
from controlplane.flows.tenant_access import CollisionError, NotAllowedError, UnknownObjectError
from controlplane.journal.writer import JournalUnavailableError
from controlplane.postgres_store.errors import ConflictError, DatabaseUnavailableError
from controlplane.wire.problem import PROBLEMS, FieldError, ProblemBody

CONTENT_TYPE = "application/problem+json"

log = structlog.get_logger()


class ProblemError(Exception):
    """A problem of the closed list, with a sentence a person can act on."""

    def __init__(
        self, code: str, detail: str, *, errors: Sequence[FieldError] = (), headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(detail)
        self.problem = PROBLEMS[code]
        self.detail = detail
        self.errors = list(errors)
        self.headers = list(headers)


_BY_EXCEPTION: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "token_invalid"),
    (AuthenticationUnavailableError, "store_unavailable"),
    (ProjectRequiredError, "project_required"),
    (ProjectUnknownError, "project_unknown"),
    (NotAllowedError, "scope_missing"),
    (UnknownObjectError, "not_found"),
    (CollisionError, "conflict"),
    (JournalUnavailableError, "journal_unavailable"),
    (DatabaseUnavailableError, "store_unavailable"),
    (ConflictError, "conflict"),
)
_BY_STATUS = {400: "request_malformed", 401: "token_invalid", 403: "scope_missing", 404: "not_found", 405: "method_not_allowed"}
_BY_STATUS |= {413: "body_too_large", 422: "fields_invalid", 431: "headers_too_large"}
_IN_OTHER_WORDS = {
    # What the driver says names tables and hosts: for the log, not for a caller.
    "store_unavailable": "The database cannot be asked now; try again shortly.",
    "conflict": "It collides with something that exists.",
}


def problem_for(error: Exception, request_id: str) -> ProblemError:
    """The problem that an exception is answered with. An unexpected one is logged and becomes internal_error."""
    if isinstance(error, ProblemError):
        return error
    for kind, code in _BY_EXCEPTION:
        if isinstance(error, kind):
            detail = str(error) if kind not in {DatabaseUnavailableError, ConflictError} else _IN_OTHER_WORDS[code]
            return ProblemError(code, detail)
    if isinstance(error, HTTPException) and error.status_code in _BY_STATUS:
        code = _BY_STATUS[error.status_code]
        return ProblemError(
            code, PROBLEMS[code].meaning, headers=[(k, v) for k, v in (error.headers or {}).items() if k.lower() == "allow"]
        )
    log.error("request_failed", request_id=request_id, exc_info=error)
    return ProblemError("internal_error", "An unexpected fault; it was logged under this request id.")


def encode_problem(problem: ProblemError, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """(status, headers, body)."""
    known = problem.problem
    headers = [("content-type", CONTENT_TYPE), ("cache-control", "no-store"), *problem.headers]
    if known.retry_after_seconds is not None and not any(name == "retry-after" for name, _ in problem.headers):
        headers.append(("retry-after", str(known.retry_after_seconds)))
    if known.status == 401:  # noqa: PLR2004
        headers.append(("www-authenticate", 'Bearer realm="turnfleet"'))
    body = msgspec.json.encode(
        ProblemBody(
            type=f"/docs/errors/{known.code}",
            title=known.title,
            status=known.status,
            detail=problem.detail,
            code=known.code,
            errors=problem.errors,
            request_id=request_id,
        )
    )
    return known.status, headers, body


def answer_problem(request: Request, error: Exception) -> Response[bytes]:  # type: ignore[type-arg]
    """Litestar's exception handler for everything."""
    request_id = request.scope["state"].get("request_id", "")
    status, headers, body = encode_problem(problem_for(error, request_id), request_id)
    return Response(body, status_code=status, headers=dict(headers), media_type=MediaType.TEXT)
