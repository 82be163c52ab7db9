"""Every problem the API answers with (RFC 9457): the closed list of codes, each with what it means and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Struct


class FieldError(Struct, frozen=True, kw_only=True):
    field: str
    message: str


class ProblemBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemCode:
    code: str
    status: int
    title: str
    meaning: str
    remedy: str
    retry_after_seconds: int | None = None


_LIST: Final = (
    ProblemCode(
        code="body_malformed",
        status=400,
        title="The body cannot be read",
        meaning="The body is neither JSON nor a urlencoded form, is not UTF-8, or is nested too deeply.",
        remedy="Send a JSON object or a urlencoded form. An empty body is fine where every field is optional.",
    ),
    ProblemCode(
        code="request_malformed",
        status=400,
        title="The request cannot be read",
        meaning="The request line, a header or a parameter is malformed.",
        remedy="Check the address and the headers that are sent.",
    ),
    ProblemCode(
        code="token_invalid",
        status=401,
        title="No valid token",
        meaning="The Authorization header is missing, or its token is malformed, unknown, expired or deleted.",
        remedy="Send Authorization: Bearer TOKEN with a token of the kind that this call takes.",
    ),
    ProblemCode(
        code="scope_missing",
        status=403,
        title="The token may not do this",
        meaning="The token is valid, but lacks the scope that this call needs, or the call is for operators.",
        remedy="Use a token that has the scope named in the detail.",
    ),
    ProblemCode(
        code="join_refused",
        status=403,
        title="The join token is not good for this node",
        meaning="The join token is unknown, expired, spent, or made for a node of another name; the name is taken; "
        "or the node to be replaced still reports.",
        remedy="Make a new join token for the node's region and name, and start the agent with it.",
    ),
    ProblemCode(
        code="not_found",
        status=404,
        title="There is no such thing",
        meaning="The address or the object does not exist, or belongs to somebody else.",
        remedy="Check the spelling of the address and of the identifiers in it.",
    ),
    ProblemCode(
        code="project_unknown",
        status=404,
        title="There is no such project",
        meaning="The project that was named does not exist for this token.",
        remedy="Check the X-Project header. An operator names ORGANIZATION/SLUG, an organization token the slug alone.",
    ),
    ProblemCode(
        code="method_not_allowed",
        status=405,
        title="This method is not served here",
        meaning="The address exists, but not for this HTTP method.",
        remedy="Use one of the methods in the Allow header.",
    ),
    ProblemCode(
        code="conflict",
        status=409,
        title="It is already there",
        meaning="What was asked for collides with something that exists.",
        remedy="Choose another name, or change what exists.",
    ),
    ProblemCode(
        code="body_too_large",
        status=413,
        title="The body is too large",
        meaning="The body is larger than this call takes.",
        remedy="Send less: no call takes more than a few kilobytes.",
    ),
    ProblemCode(
        code="fields_invalid",
        status=422,
        title="A field has a value it cannot have",
        meaning="The body was read, but a field is missing or outside its bounds; errors names each.",
        remedy="Correct the fields named in errors.",
    ),
    ProblemCode(
        code="region_unknown",
        status=422,
        title="There is no such region",
        meaning="fixed_region, or a region in the body, names no region of this fleet.",
        remedy="GET /api/v1/regions lists the slugs.",
    ),
    ProblemCode(
        code="project_required",
        status=422,
        title="Name the project",
        meaning="The token acts in several projects and the request names none.",
        remedy="Add the header X-Project, or make one project the organization's default.",
    ),
    ProblemCode(
        code="rate_limited",
        status=429,
        title="Too many requests",
        meaning="The project, or the token, sent more requests than its rate limit allows.",
        remedy="Send the request again after Retry-After seconds. The RateLimit headers tell how much is left.",
        retry_after_seconds=1,
    ),
    ProblemCode(
        code="quota_reached",
        status=429,
        title="The project's quota is used up",
        meaning="The project's live allocations, or what they relay, are at the limit that was set for it.",
        remedy="Wait until some of its calls have ended, or raise the project's quota.",
        retry_after_seconds=5,
    ),
    ProblemCode(
        code="headers_too_large",
        status=431,
        title="The headers are too large",
        meaning="The request has more than 16 KiB or more than 100 lines of headers.",
        remedy="Send fewer or shorter headers.",
    ),
    ProblemCode(
        code="internal_error",
        status=500,
        title="Something went wrong here",
        meaning="A fault of this service. It was logged with the request id.",
        remedy="Try again; if it stays, report the request id to whoever runs this service.",
    ),
    ProblemCode(
        code="region_down",
        status=503,
        title="The region is down",
        meaning="fixed_region was asked for, and no node of it can take new clients.",
        remedy="Try again later, or use preferred_region, which falls back to the nearest region that can.",
        retry_after_seconds=5,
    ),
    ProblemCode(
        code="region_saturated",
        status=503,
        title="The region is full",
        meaning="fixed_region was asked for, and every node of it is at its safe capacity.",
        remedy="Try again after Retry-After seconds, or use preferred_region, which spills to the nearest region with room.",
        retry_after_seconds=5,
    ),
    ProblemCode(
        code="fleet_unavailable",
        status=503,
        title="No relay can take new clients",
        meaning="No region has a node that is healthy, in service and below its capacity.",
        remedy="Try again after Retry-After seconds. Operators: GET /api/v1/fleet/nodes tells why for each node.",
        retry_after_seconds=5,
    ),
    ProblemCode(
        code="journal_unavailable",
        status=503,
        title="The issue cannot be recorded",
        meaning="The journal of issues cannot be written (disk full, or its bound is reached), so nothing was handed out.",
        remedy="Try again: another replica may answer. Operators: free the disk, or bring PostgreSQL back so that it drains.",
        retry_after_seconds=2,
    ),
    ProblemCode(
        code="streams_exhausted",
        status=503,
        title="Too many live streams",
        meaning="This process serves as many live streams of events as it may.",
        remedy="Try again after Retry-After seconds: another replica may have room. GET /api/v1/fleet/events has the same events.",
        retry_after_seconds=5,
    ),
    ProblemCode(
        code="store_unavailable",
        status=503,
        title="A store is away",
        meaning="This call needs PostgreSQL, or a token that this replica has not seen before has to be looked up there.",
        remedy="Try again after Retry-After seconds. Tokens in use keep getting credentials meanwhile.",
        retry_after_seconds=2,
    ),
)

PROBLEMS: Final = {problem.code: problem for problem in _LIST}
