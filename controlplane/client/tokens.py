"""Tokens: make, change, rotate and end them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import UNSET, UnsetType

from controlplane.client.call import Call, Pages, get, json_of, nothing, part
from controlplane.client.methods import Driver, Group, call, pages
from controlplane.wire.tenants_api import (
    NewTokenView,
    RotateBody,
    Scope,
    TokenBody,
    TokenKind,
    TokenPatch,
    TokenView,
)

_Scopes = list[Scope]


class Tokens(Group[Driver]):
    @pages
    @staticmethod
    def list(*, organization: str | None = None, project: str | None = None, kind: TokenKind | None = None) -> Pages[TokenView]:
        """The tokens that this one may manage, never what they are."""
        return Pages(path="/tokens", item=TokenView, query={"organization": organization, "project": project, "kind": kind})

    @call
    @staticmethod
    def create(
        name: str,
        scopes: Sequence[Scope],
        *,
        kind: TokenKind = "project",
        expires_at: datetime | None = None,
        organization: str | UnsetType = UNSET,
        project: str | UnsetType = UNSET,
    ) -> Call[NewTokenView]:
        """A new token; `token` in the answer is shown here only. It cannot have a scope that this one lacks."""
        return Call(
            method="POST",
            path="/tokens",
            body=TokenBody(
                kind=kind, name=name, scopes=[*scopes], expires_at=expires_at, organization=organization, project=project
            ),
            read=json_of(NewTokenView),
            repeat="limited",
        )

    @call
    @staticmethod
    def show(token_id: str) -> Call[TokenView]:
        """One token: its scopes, when it was used last, when it expires."""
        return get(f"/tokens/{part(token_id)}", TokenView)

    @call
    @staticmethod
    def update(
        token_id: str,
        *,
        name: str | UnsetType = UNSET,
        scopes: Sequence[Scope] | UnsetType = UNSET,
        expires_at: datetime | UnsetType | None = UNSET,
    ) -> Call[TokenView]:
        """Change what is given; `expires_at=None`: it never expires."""
        wanted: _Scopes | UnsetType = UNSET if isinstance(scopes, UnsetType) else [*scopes]
        return Call(
            method="PATCH",
            path=f"/tokens/{part(token_id)}",
            body=TokenPatch(name=name, scopes=wanted, expires_at=expires_at),
            read=json_of(TokenView),
            repeat="refused",
        )

    @call
    @staticmethod
    def rotate(token_id: str, *, overlap_seconds: int = 86_400) -> Call[NewTokenView]:
        """A successor, good at once; the old one works until the overlap ends."""
        return Call(
            method="POST",
            path=f"/tokens/{part(token_id)}/rotate",
            body=RotateBody(overlap_seconds=overlap_seconds),
            read=json_of(NewTokenView),
            repeat="limited",
        )

    @call
    @staticmethod
    def delete(token_id: str) -> Call[None]:
        """It is refused everywhere within a second."""
        return Call(method="DELETE", path=f"/tokens/{part(token_id)}", read=nothing, repeat="refused")
