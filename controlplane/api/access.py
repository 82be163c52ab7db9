"""Guards and the small things every route does: who may call, which body was sent, how an answer is encoded."""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import msgspec
from litestar import MediaType, Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from controlplane.api.compressed import CompressedJson
from controlplane.api.limits import limit_token
from controlplane.api.peer import peer_address
from controlplane.api.problems import ProblemError
from controlplane.api.raw_http import bearer_token
from controlplane.api.services import Services
from controlplane.flows.authenticate import Principal
from controlplane.postgres_store.audit import Actor
from controlplane.postgres_store.tenants import Project
from controlplane.wire.problem import FieldError

Connection = ASGIConnection[Any, Any, Any, Any]
_Body = TypeVar("_Body", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()
_MISSING = re.compile(r"Object missing required field `([^`]+)`")


def services_of(connection: Connection) -> Services:
    return cast("Services", connection.app.state.services)


async def require_scope(connection: Connection, handler: BaseRouteHandler) -> None:
    """The guard of every route for applications and operators. The route names its scope in `opt`."""
    scope = cast("str", handler.opt["scope"])
    services = services_of(connection)
    principal = await services.authenticator.authenticate(bearer_token(connection.scope))
    limit_token(services, connection.scope, principal.token_id)
    if not principal.may(scope):
        raise ProblemError("scope_missing", f"The token lacks the scope {scope}.")
    connection.scope["state"]["principal"] = principal


def principal_of(request: Request[Any, Any, Any]) -> Principal:
    return cast("Principal", request.scope["state"]["principal"])


def actor_of(request: Request[Any, Any, Any]) -> Actor:
    """Who asks, for the audit."""
    token = principal_of(request).token
    return Actor(
        token_id=token.token_id,
        kind=token.kind,
        address=peer_address(request.scope, services_of(request).settings.trusted_proxies),
        request_id=str(request.scope["state"].get("request_id", "")),
    )


def project_of(request: Request[Any, Any, Any]) -> Project:
    """The project that the request acts in. Raises ProjectRequiredError or ProjectUnknownError."""
    named = request.headers.get("x-project") or request.query_params.get("project")
    return services_of(request).authenticator.project_of(principal_of(request), named)


def read_query(request: Request[Any, Any, Any], kind: type[_Body]) -> _Body:
    """The query parameters as `kind`; of a repeated one the first, unknown ones are ignored.

    Raises ProblemError fields_invalid.
    """
    given = {name: values[0] for name, values in request.query_params.dict().items()}
    if any("\x00" in value for value in given.values()):
        raise ProblemError("request_malformed", "A query parameter holds a NUL character.")
    try:
        return msgspec.convert(given, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise _fields_invalid(error) from None


async def read_json(request: Request[Any, Any, Any], kind: type[_Body]) -> _Body:
    """The body as `kind`. Raises ProblemError body_malformed for what is no JSON, fields_invalid for a wrong field."""
    return decode_json(await request.body(), kind)


def decode_json(body: bytes, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _fields_invalid(error) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProblemError("body_malformed", f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise ProblemError("body_malformed", "The JSON is nested too deeply.") from None


def _fields_invalid(error: msgspec.ValidationError) -> ProblemError:
    text, _, where = str(error).partition(" - at `$.")
    missing = _MISSING.match(text)
    field = ".".join(part for part in (where.rstrip("`"), missing.group(1) if missing else "") if part) or "body"
    return ProblemError("fields_invalid", f"{field}: {text}.", errors=[FieldError(field=field, message=text)])


def answer(body: Any, status: int = 200) -> Response[bytes]:
    """`body` (a struct or a list of them) as JSON. Nothing here may be cached: it is live state or personal."""
    return answer_encoded(encode(body), status)


def encode(body: Any) -> bytes:
    return _encoder.encode(body)


def answer_encoded(body: bytes, status: int = 200) -> Response[bytes]:
    """The same for JSON that is bytes already."""
    return CompressedJson(body, status_code=status, media_type=MediaType.JSON, headers={"cache-control": "no-store"})
