"""Who asks: a bearer token, checked against PostgreSQL once and then from memory.

A token that was confirmed keeps working while PostgreSQL is away, for at most ten minutes: the price is that a deletion in
that time is not seen. A token that was never seen cannot be judged then, and is answered 503, not 401.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from controlplane.flows.directory import Directory
from controlplane.flows.token_uses import TokenUses
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.tenants import Project, Token, token_by_id, tokens_by_ids
from controlplane.wire.token_format import parse_token

STALE_SECONDS = 600.0
_REMEMBERED = 100_000
_REFUSALS_REMEMBERED = 10_000
_REFUSAL_SECONDS = 5.0
"""A wrong token that is tried again and again asks PostgreSQL once in this time."""


class AuthenticationError(Exception):
    """No token, or none that is valid."""


class AuthenticationUnavailableError(Exception):
    """The token is not known here, and PostgreSQL cannot be asked."""


class ProjectRequiredError(Exception):
    """The token acts in several projects and none was named."""


class ProjectUnknownError(Exception):
    """There is no such project for this token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, and what for."""

    token: Token

    @property
    def token_id(self) -> str:
        return self.token.token_id

    def may(self, scope: str) -> bool:
        return scope in self.token.scopes


class Authenticator:
    """The in-memory cache of tokens. One per replica; `confirm()` is called when the version of the tenants moved."""

    def __init__(self, database: Database, lookups: Database, directory: Directory, uses: TokenUses) -> None:
        """`lookups` is asked about tokens that strangers send: a pool of its own, so that they cannot use up `database`."""
        self._database = database
        self._lookups = lookups
        self._directory = directory
        self._uses = uses
        self._known: dict[bytes, Principal] = {}
        self._checked_at: dict[bytes, float] = {}
        self._refused: dict[bytes, float] = {}
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._confirmations = 0

    async def authenticate(self, bearer: str | None) -> Principal:
        """The principal of a bearer token. Raises AuthenticationError or AuthenticationUnavailableError."""
        if not bearer:
            raise AuthenticationError("Send your API token as: Authorization: Bearer TOKEN.")
        try:
            digest = hashlib.sha256(bearer.encode("ascii")).digest()
        except UnicodeEncodeError:
            raise AuthenticationError("The API token is malformed.") from None
        principal = self._known.get(digest)
        if principal is None or not self._fresh(digest):
            principal = await self._ask(bearer, digest)
        expires_at = principal.token.expires_at
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise AuthenticationError("The API token has expired.")
        self._uses.note(principal.token.token_id)
        return principal

    def still_may(self, principal: Principal, scope: str) -> bool:
        """Whether one that was authenticated would be now, as far as it is known here: a deletion is within a second of it."""
        known = self._known.get(principal.token.sha256)
        if known is None:  # deleted, or forgotten among very many: whoever asks again with the token is told which
            return False
        expires_at = known.token.expires_at
        return known.may(scope) and (expires_at is None or expires_at > datetime.now(UTC))

    def _fresh(self, digest: bytes) -> bool:
        return time.monotonic() - max(self._checked_at[digest], self._directory.confirmed_at) <= STALE_SECONDS

    async def _ask(self, bearer: str, digest: bytes) -> Principal:
        parsed = parse_token(bearer)
        if parsed is None or parsed.kind not in {"project", "organization", "operator"}:
            raise AuthenticationError("The API token is malformed: check that it was copied whole.")
        if self._refused.get(digest, 0.0) > time.monotonic():
            raise AuthenticationError("The API token is unknown or was deleted.")
        # Requests that arrive together ask once. The task is shared, so a caller that goes away must not cancel it.
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(self._look_up(parsed.token_id, digest), name="token-lookup")
            self._asking[digest] = task
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        try:
            principal = await asyncio.shield(task)
        except DatabaseUnavailableError as error:
            raise AuthenticationUnavailableError("The token cannot be checked now; try again shortly.") from error
        if principal is None:
            raise AuthenticationError("The API token is unknown or was deleted.")
        return principal

    async def _look_up(self, token_id: str, digest: bytes) -> Principal | None:
        while True:
            now = time.monotonic()
            confirmations = self._confirmations
            token = await token_by_id(self._lookups, token_id)
            if token is not None and token.project_id is not None and token.project_id not in self._directory.projects:
                # Both were made a moment ago, through another replica. Nobody may meet the token before its project.
                await self._directory.refresh()
            if confirmations == self._confirmations:
                break
            # Something changed while this was asked: the answer may be older than the change, and nobody would confirm it.
        if token is None or not hmac.compare_digest(token.sha256, digest):
            if len(self._refused) >= _REFUSALS_REMEMBERED:
                self._refused.clear()
            self._refused[digest] = now + _REFUSAL_SECONDS
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._checked_at.clear()
        self._known[digest] = Principal(token=token)
        self._checked_at[digest] = now
        return self._known.get(digest)

    async def confirm(self) -> None:
        """Ask for all remembered tokens anew: what was deleted or changed takes effect. Raises DatabaseUnavailableError."""
        self._confirmations += 1
        self._refused.clear()
        if not self._known:
            return
        asked = time.monotonic()
        remembered = {digest: principal.token_id for digest, principal in self._known.items()}
        live = await tokens_by_ids(self._database, list(remembered.values()))
        # What was looked up since was asked for after the change that this is about: it is right already.
        for digest in remembered.keys() & self._known.keys():
            token = live.get(remembered[digest])
            if token is None or not hmac.compare_digest(token.sha256, digest):
                del self._known[digest]
                del self._checked_at[digest]
            else:
                self._known[digest] = Principal(token=token)
                self._checked_at[digest] = asked

    def project_of(self, principal: Principal, named: str | None) -> Project:
        """The project that the request acts in. Raises ProjectRequiredError or ProjectUnknownError.

        A project token acts in its own, whatever is named. An organization token names a slug or acts in the default
        project; an operator token names ORGANIZATION/SLUG.
        """
        token, directory = principal.token, self._directory
        if token.kind == "project" and token.project_id is not None:
            project = directory.projects.get(token.project_id)
            if project is None:
                raise ProjectUnknownError("The token's project no longer exists.")
            return project
        if token.organization_id is not None:
            found = directory.project(token.organization_id, named)
            if found is None and named is None:
                raise ProjectRequiredError("Name the project: X-Project: SLUG. The organization has no default project.")
        else:
            organization, slash, slug = (named or "").partition("/")
            if not slash:
                raise ProjectRequiredError("An operator names the project as X-Project: ORGANIZATION/SLUG.")
            found = directory.project_of_slugs(organization, slug)
        if found is None:
            raise ProjectUnknownError("There is no such project.")
        return found
