"""Rate limits at the edge: who is counted, the 429, and the headers that tell a client where it stands."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from litestar.types import Scope

from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.postgres_store.tenants import Project

HEADERS_KEY = "rate_limit_headers"
"""In the request's state: what with_request_id adds to its answer, whatever that is."""
Headers = tuple[tuple[bytes, bytes], ...]
EXPOSED_HEADERS = ["RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]


def limit_project(services: Services, scope: Scope, project: Project) -> None:
    """Count a request for credentials. Raises ProblemError rate_limited."""
    _limit(services, scope, "project", project.project_id, project.rate_limit_per_second)


def limit_token(services: Services, scope: Scope, token_id: str) -> None:
    """Count any other request with a token. Raises ProblemError rate_limited."""
    _limit(services, scope, "token", token_id, services.settings.token_requests_per_second)


@lru_cache(maxsize=1024)
def _policy(kind: str, limit: int) -> tuple[bytes, Headers]:
    """The policy's name as a structured field, and the headers that say the same in every answer.

    Limit, Remaining and Reset as draft-ietf-httpapi-ratelimit-headers-06 and many services have them; the fields RateLimit
    and RateLimit-Policy as -10 of the draft does.
    """
    name = b'"' + kind.encode() + b'"'
    return name, ((b"ratelimit-limit", b"%d" % limit), (b"ratelimit-policy", name + b";q=%d;w=1" % limit))


def _limit(services: Services, scope: Scope, kind: str, identity: UUID | str, limit: int) -> None:
    granted, bucket = services.limiter.take(kind, identity, limit)
    remaining, wait_seconds = (bucket.remaining if granted else 0), bucket.wait_seconds
    left, wait = b"%d" % remaining, b"%d" % wait_seconds
    name, constant = _policy(kind, limit)
    scope["state"][HEADERS_KEY] = (
        *constant,
        (b"ratelimit-remaining", left),
        (b"ratelimit-reset", wait),
        (b"ratelimit", name + b";r=" + left + b";t=" + wait),
    )
    if not granted:
        services.metrics.rate_limited.labels(kind).inc()
        raise ProblemError(
            "rate_limited",
            f"The {kind} may send {limit} requests a second and has sent more. Try again in {wait_seconds} s.",
            headers=[("retry-after", str(wait_seconds))],
        )
