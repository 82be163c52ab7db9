"""A model of organizations, projects and tokens beside the real API: after any calls both agree about who may do what."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.running_api import RunningApi

_TENANT_SCOPES = ["credentials:issue", "usage:read", "projects:manage", "tokens:manage"]
_OPERATOR_SCOPES = ["fleet:read", "tenants:manage"]
_KINDS = ["project", "organization", "operator"]
_MAY_MAKE = {"project": _KINDS[:1], "organization": _KINDS[:2], "operator": _KINDS}
_NOBODY = "nobody"
_examples = count(1)

scopes = st.sets(st.sampled_from(_TENANT_SCOPES), min_size=1)
any_scopes = st.sets(st.sampled_from(_TENANT_SCOPES + _OPERATOR_SCOPES), min_size=1)


@dataclass(slots=True, kw_only=True)
class ModelToken:
    token_id: str
    secret: str
    kind: str
    organization: str | None
    project: str | None
    scopes: set[str]
    lives: bool = True
    """It authenticates."""
    stored: bool = True
    """It is listed: also one that has expired is, until it is deleted."""
    rotated: bool = False


class Tenants(RuleBasedStateMachine):
    """Every rule makes one call, says by the model what has to come, and follows in the model when it was done."""

    client: ClassVar[httpx.Client]
    operator_token: ClassVar[str]

    @initialize()
    def begin(self) -> None:
        self.prefix = f"m{next(_examples)}-"
        self.numbers = count(1)
        self.projects: dict[str, list[str]] = {}
        """Organization → its projects."""
        self.defaults: dict[str, str | None] = {}
        every = {*_TENANT_SCOPES, *_OPERATOR_SCOPES}
        first = ModelToken(
            token_id=self.operator_token[4:16],
            secret=self.operator_token,
            kind="operator",
            organization=None,
            project=None,
            scopes=every,
        )
        self.operator = first
        self.tokens = [first]
        self.make_organization()
        organization = next(iter(self.projects))
        self._create_project(first, organization, organization, first_of=True)
        self._create_token(first, "organization", organization, None, set(_TENANT_SCOPES))
        self._create_token(first, "project", organization, self.projects[organization][0], set(_TENANT_SCOPES))

    def call(self, actor: ModelToken, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {actor.secret}", **request.pop("headers", {})}
        answer = self.client.request(method, f"/api/v1{path}", headers=headers, **request)
        assert answer.status_code < 500, answer.text
        return answer

    def refusal(self, actor: ModelToken, scope: str) -> int | None:
        """What every call with a token begins with."""
        if not actor.lives:
            return 401
        return None if scope in actor.scopes else 403

    def draw_token(self, data: st.DataObject, *, but_first: bool = False) -> ModelToken:
        return data.draw(st.sampled_from(self.tokens[1:] if but_first else self.tokens))

    def reaches(self, actor: ModelToken, organization: str | None, project: str | None) -> bool:
        """Whether the actor may see what belongs to these."""
        if actor.kind == "operator":
            return organization is not None or "tenants:manage" in actor.scopes
        return organization == actor.organization and (actor.project is None or project == actor.project)

    def expect(self, answer: httpx.Response, status: int) -> bool:
        """True when it was done."""
        assert answer.status_code == status, f"the model says {status}: {answer.request.method} {answer.request.url} {answer.text}"
        return answer.is_success

    # Organizations

    @precondition(lambda self: len(self.projects) < 3)
    @rule()
    def make_organization(self) -> None:
        slug = f"{self.prefix}{next(self.numbers)}"
        if self.expect(self.call(self.operator, "POST", "/organizations", json={"slug": slug, "name": slug}), 201):
            self.projects[slug], self.defaults[slug] = [], None

    @precondition(lambda self: len(self.projects) > 1)
    @rule(data=st.data())
    def delete_organization(self, data: st.DataObject) -> None:
        actor, slug = self.draw_token(data), data.draw(st.sampled_from(sorted(self.projects)))
        if self.expect(self.call(actor, "DELETE", f"/organizations/{slug}"), self.refusal(actor, "tenants:manage") or 204):
            del self.projects[slug], self.defaults[slug]
            self.end(lambda token: token.organization == slug)

    def end(self, which: Any) -> None:
        for token in self.tokens:
            if which(token):
                token.lives = token.stored = False

    # Projects

    @rule(data=st.data())
    def make_project(self, data: st.DataObject) -> None:
        actor = self.draw_token(data)
        organization = data.draw(st.sampled_from([None, _NOBODY, *sorted(self.projects)]))
        self._create_project(actor, organization, organization or actor.organization)

    def _create_project(self, actor: ModelToken, named: str | None, meant: str | None, *, first_of: bool = False) -> None:
        slug = f"p{next(self.numbers)}"
        body = {"slug": slug, "name": slug} | ({} if named is None else {"organization": named})
        expected = self.refusal(actor, "projects:manage")
        if expected is None and named is None and actor.kind == "operator":
            expected = 422
        if expected is None and actor.kind == "project":
            expected = 403
        if expected is None:
            expected = 201 if meant in self.projects and self.reaches(actor, meant, None) else 404
        if self.expect(self.call(actor, "POST", "/projects", json=body), expected) and meant is not None:
            self.projects[meant].append(slug)
            self.defaults[meant] = self.defaults[meant] or slug

    def draw_project(self, data: st.DataObject) -> tuple[str, str]:
        known = sorted((organization, slug) for organization, slugs in self.projects.items() for slug in slugs)
        return data.draw(st.sampled_from([*known, (min(self.projects), _NOBODY)]))

    @rule(data=st.data(), is_default=st.booleans())
    def patch_project(self, data: st.DataObject, is_default: bool) -> None:
        actor, (organization, slug) = self.draw_token(data), self.draw_project(data)
        expected = self.refusal(actor, "projects:manage")
        if expected is None and actor.kind == "project":
            expected = 403
        if expected is None:
            expected = 200 if slug in self.projects[organization] and self.reaches(actor, organization, slug) else 404
        params = {"organization": organization}
        if self.expect(self.call(actor, "PATCH", f"/projects/{slug}", params=params, json={"is_default": is_default}), expected):
            if is_default:
                self.defaults[organization] = slug
            elif self.defaults[organization] == slug:
                self.defaults[organization] = None

    @rule(data=st.data())
    def delete_project(self, data: st.DataObject) -> None:
        actor, (organization, slug) = self.draw_token(data), self.draw_project(data)
        expected = self.refusal(actor, "projects:manage")
        if expected is None and actor.kind == "project":
            expected = 403
        if expected is None:
            expected = 204 if slug in self.projects[organization] and self.reaches(actor, organization, slug) else 404
        if self.expect(self.call(actor, "DELETE", f"/projects/{slug}", params={"organization": organization}), expected):
            self.projects[organization].remove(slug)
            if self.defaults[organization] == slug:
                self.defaults[organization] = None
            self.end(lambda token: (token.organization, token.project) == (organization, slug))

    # Tokens

    @rule(data=st.data(), kind=st.sampled_from(_KINDS), wanted=any_scopes)
    def make_token(self, data: st.DataObject, kind: str, wanted: set[str]) -> None:
        actor = self.draw_token(data)
        organization = data.draw(st.sampled_from([None, _NOBODY, *sorted(self.projects)]))
        slugs = self.projects.get(organization or actor.organization or "", [])
        project = data.draw(st.sampled_from([None, _NOBODY, *slugs]))
        self._create_token(actor, kind, organization, project, wanted)

    def _create_token(self, actor: ModelToken, kind: str, organization: str | None, project: str | None, wanted: set[str]) -> None:
        body: dict[str, Any] = {"kind": kind, "name": "x", "scopes": sorted(wanted)}
        body |= {} if organization is None else {"organization": organization}
        body |= {} if project is None else {"project": project}
        answer = self.call(actor, "POST", "/tokens", json=body)
        expected, owner = self.may_make(actor, kind, organization, project, wanted)
        if self.expect(answer, expected):
            self.remember(answer.json(), kind, owner, wanted)

    def remember(self, made: dict[str, Any], kind: str, owner: tuple[str | None, str | None], granted: set[str]) -> None:
        assert (made["kind"], made["organization"], made["project"], set(made["scopes"])) == (kind, *owner, granted)
        self.tokens.append(
            ModelToken(
                token_id=made["id"], secret=made["token"], kind=kind, organization=owner[0], project=owner[1], scopes=set(granted)
            )
        )

    def may_make(
        self, actor: ModelToken, kind: str, organization: str | None, project: str | None, wanted: set[str]
    ) -> tuple[int, tuple[str | None, str | None]]:
        """(status, whose the token is)."""
        nobody = (None, None)
        if (refused := self.refusal(actor, "tokens:manage")) is not None:
            return refused, nobody
        if (organization is not None) if kind == "operator" else (organization is None and actor.kind == "operator"):
            return 422, nobody
        if (project is not None and kind != "project") or (wanted & set(_OPERATOR_SCOPES) and kind != "operator"):
            return 422, nobody
        if not self.may_grant(actor, kind, wanted):
            return 403, nobody
        if kind == "operator":
            return 201, nobody
        meant = organization or actor.organization
        if kind == "organization":
            return (201, (meant, None)) if meant in self.projects and self.reaches(actor, meant, None) else (404, nobody)
        if project is None:
            own = actor.kind == "project" and organization is None
            return (201, (actor.organization, actor.project)) if own else (422, nobody)
        known = meant is not None and project in self.projects.get(meant, []) and self.reaches(actor, meant, project)
        return (201, (meant, project)) if known else (404, nobody)

    def may_grant(self, actor: ModelToken, kind: str, granted: set[str]) -> bool:
        if kind == "operator" and "tenants:manage" not in actor.scopes:
            return False
        return kind in _MAY_MAKE[actor.kind] and granted <= actor.scopes

    def of_others(self, actor: ModelToken, target: ModelToken) -> int | None:
        """What a call about a token begins with."""
        refused = self.refusal(actor, "tokens:manage")
        if refused is None and not (target.stored and self.reaches(actor, target.organization, target.project)):
            refused = 404
        return refused

    @rule(data=st.data(), wanted=any_scopes)
    def patch_token(self, data: st.DataObject, wanted: set[str]) -> None:
        actor, target = self.draw_token(data), self.draw_token(data, but_first=True)
        expected = self.of_others(actor, target)
        if expected is None and wanted & set(_OPERATOR_SCOPES) and target.kind != "operator":
            expected = 422
        if expected is None:
            expected = 200 if self.may_grant(actor, target.kind, wanted) else 403
        if self.expect(self.call(actor, "PATCH", f"/tokens/{target.token_id}", json={"scopes": sorted(wanted)}), expected):
            target.scopes = set(wanted)

    @rule(data=st.data(), overlap_seconds=st.sampled_from([0, 3600]))
    def rotate_token(self, data: st.DataObject, overlap_seconds: int) -> None:
        actor, target = self.draw_token(data), self.draw_token(data, but_first=True)
        expected = self.of_others(actor, target)
        if expected is None and not self.may_grant(actor, target.kind, target.scopes):
            expected = 403
        if expected is None:
            expected = 409 if target.rotated else 201
        answer = self.call(actor, "POST", f"/tokens/{target.token_id}/rotate", json={"overlap_seconds": overlap_seconds})
        if self.expect(answer, expected):
            target.rotated = True
            target.lives = overlap_seconds > 0
            self.remember(answer.json(), target.kind, (target.organization, target.project), target.scopes)

    @rule(data=st.data())
    def delete_token(self, data: st.DataObject) -> None:
        actor, target = self.draw_token(data), self.draw_token(data, but_first=True)
        if self.expect(self.call(actor, "DELETE", f"/tokens/{target.token_id}"), self.of_others(actor, target) or 204):
            target.lives = target.stored = False

    # What everybody sees

    @rule(data=st.data())
    def list_projects(self, data: st.DataObject) -> None:
        actor, organization = self.draw_token(data), data.draw(st.sampled_from(sorted(self.projects)))
        answer = self.call(actor, "GET", "/projects", params={"organization": organization, "limit": 500})
        if self.expect(answer, self.refusal(actor, "projects:manage") or 200):
            assert [(each["slug"], each["is_default"]) for each in answer.json()["items"]] == [
                (slug, slug == self.defaults[organization])
                for slug in sorted(self.projects[organization])
                if self.reaches(actor, organization, slug)
            ]

    @rule(data=st.data())
    def list_tokens(self, data: st.DataObject) -> None:
        actor = self.draw_token(data)
        answer = self.call(actor, "GET", "/tokens", params={"limit": 500})
        if self.expect(answer, self.refusal(actor, "tokens:manage") or 200):
            seen = {each["id"]: set(each["scopes"]) for each in answer.json()["items"]}
            for token in self.tokens[1:]:
                if token.stored and self.reaches(actor, token.organization, token.project):
                    assert seen.pop(token.token_id) == token.scopes
                else:
                    assert token.token_id not in seen
            assert actor.kind == "operator" or not seen  # an operator sees other examples' too

    @rule(data=st.data())
    def issue(self, data: st.DataObject) -> None:
        actor = self.draw_token(data)
        organization, slug = self.draw_project(data)
        name = data.draw(st.sampled_from([None, slug if actor.kind == "organization" else f"{organization}/{slug}"]))
        expected = self.refusal(actor, "credentials:issue")
        if expected is None and actor.kind == "organization":
            of_mine = self.projects[actor.organization or ""]
            missing = self.defaults[actor.organization or ""] is None
            expected = (422 if missing else 200) if name is None else (200 if name in of_mine else 404)
        elif expected is None and actor.kind == "operator":
            expected = 422 if name is None else (200 if slug in self.projects[organization] else 404)
        answer = self.call(actor, "POST", "/credentials/ice", headers={} if name is None else {"x-project": name})
        self.expect(answer, expected or 200)


async def test_the_model_and_the_api_agree(api: RunningApi) -> None:
    Tenants.operator_token = api.tokens["operator_token"]
    with httpx.Client(base_url=api.url, timeout=10, trust_env=False) as client:
        Tenants.client = client
        await asyncio.to_thread(
            run_state_machine_as_test,
            Tenants,
            settings=settings(
                max_examples=10,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
