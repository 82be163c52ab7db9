"""The first organization, project and tokens: the one command that talks to the database by itself."""

from __future__ import annotations

import os
from dataclasses import dataclass

from uuid_utils.compat import uuid4

from controlplane.postgres_store.database import Database
from controlplane.postgres_store.organizations import ensure_project
from controlplane.postgres_store.tokens import NewToken, insert_tokens
from controlplane.wire.redacted import Redacted
from controlplane.wire.token_format import RANDOM_BYTES_NEEDED, make_token

PROJECT_SCOPES = ("credentials:issue", "credentials:read", "credentials:revoke", "usage:read")
ORGANIZATION_SCOPES = (*PROJECT_SCOPES, "projects:manage", "tokens:manage", "webhooks:manage")
OPERATOR_SCOPES = (*ORGANIZATION_SCOPES, "fleet:read", "fleet:operate", "tenants:manage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrapped:
    """Tokens, shown here only."""

    organization_token: Redacted
    project_token: Redacted
    operator_token: Redacted


async def bootstrap(database: Database, *, organization: str, project: str) -> Bootstrapped:
    """An organization and project of these slugs (kept where they exist) and a new token of each kind."""
    organization_id, project_id = await ensure_project(
        database, organization=organization, project=project, organization_id=uuid4(), project_id=uuid4()
    )
    made = {kind: make_token(kind, os.urandom(RANDOM_BYTES_NEEDED)) for kind in ("organization", "project", "operator")}
    scopes = {"organization": ORGANIZATION_SCOPES, "project": PROJECT_SCOPES, "operator": OPERATOR_SCOPES}
    await insert_tokens(
        database,
        [
            NewToken(
                token_id=parsed.token_id,
                kind=kind,
                sha256=parsed.sha256,
                name="bootstrap",
                created_by="bootstrap",
                scopes=scopes[kind],
                organization_id=None if kind == "operator" else organization_id,
                project_id=project_id if kind == "project" else None,
            )
            for kind, (_, parsed) in made.items()
        ],
    )
    return Bootstrapped(
        organization_token=made["organization"][0], project_token=made["project"][0], operator_token=made["operator"][0]
    )
