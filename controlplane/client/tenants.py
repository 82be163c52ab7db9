"""Organizations and projects."""

from __future__ import annotations

from controlplane.client.call import Call, Pages, get, json_of, nothing, part
from controlplane.client.methods import Driver, Group, call, pages
from controlplane.wire.tenants_api import (
    OrganizationBody,
    OrganizationPatch,
    OrganizationView,
    ProjectBody,
    ProjectPatch,
    ProjectView,
)


class Organizations(Group[Driver]):
    """For operator tokens."""

    @pages
    @staticmethod
    def list() -> Pages[OrganizationView]:
        """Every organization."""
        return Pages(path="/organizations", item=OrganizationView)

    @call
    @staticmethod
    def create(slug: str, *, name: str) -> Call[OrganizationView]:
        """A new organization, without projects."""
        body = OrganizationBody(slug=slug, name=name)
        return Call(method="POST", path="/organizations", body=body, read=json_of(OrganizationView), repeat="limited")

    @call
    @staticmethod
    def show(slug: str) -> Call[OrganizationView]:
        """One organization."""
        return get(f"/organizations/{part(slug)}", OrganizationView)

    @call
    @staticmethod
    def update(slug: str, *, name: str) -> Call[OrganizationView]:
        """Give it another name."""
        return Call(
            method="PATCH",
            path=f"/organizations/{part(slug)}",
            body=OrganizationPatch(name=name),
            read=json_of(OrganizationView),
            repeat="refused",
        )

    @call
    @staticmethod
    def delete(slug: str) -> Call[None]:
        """Its projects and tokens go with it."""
        return Call(method="DELETE", path=f"/organizations/{part(slug)}", read=nothing, repeat="refused")


class Projects(Group[Driver]):
    """An operator token names the organization; an organization token has its own."""

    @pages
    @staticmethod
    def list(*, organization: str | None = None) -> Pages[ProjectView]:
        """The projects that the token may act in."""
        return Pages(path="/projects", item=ProjectView, query={"organization": organization})

    @call
    @staticmethod
    def create(project: ProjectBody) -> Call[ProjectView]:
        """A new project."""
        return Call(method="POST", path="/projects", body=project, read=json_of(ProjectView), repeat="limited")

    @call
    @staticmethod
    def show(slug: str, *, organization: str | None = None) -> Call[ProjectView]:
        """One project with its settings."""
        return get(f"/projects/{part(slug)}", ProjectView, {"organization": organization})

    @call
    @staticmethod
    def update(slug: str, changes: ProjectPatch, *, organization: str | None = None) -> Call[ProjectView]:
        """Change what is given; None switches a quota or a template off."""
        return Call(
            method="PATCH",
            path=f"/projects/{part(slug)}",
            query={"organization": organization},
            body=changes,
            read=json_of(ProjectView),
            repeat="refused",
        )

    @call
    @staticmethod
    def delete(slug: str, *, organization: str | None = None) -> Call[None]:
        """Its tokens end with it."""
        return Call(
            method="DELETE",
            path=f"/projects/{part(slug)}",
            query={"organization": organization},
            read=nothing,
            repeat="refused",
        )
