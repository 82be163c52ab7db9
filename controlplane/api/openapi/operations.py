"""Every operation of the application, in one order: what the OpenAPI document, its page and the tests walk over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from litestar import Litestar

from controlplane.api.describe import Description

_PARAMETER = re.compile(r"\{(\w+):\w+\}")
_TAGS = ("credentials", "records", "tenants", "webhooks", "fleet", "agents", "service")
"""In the order of the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    method: str
    path: str
    """With parameters as {name}."""
    description: Description

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)


def operations(app: Litestar) -> list[Operation]:
    """By tag, path and method. Raises KeyError for a route that does not describe itself."""
    found = []
    for route in app.routes:
        handlers: list[Any] = getattr(route, "route_handlers", None) or [cast("Any", route).route_handler]
        for handler in handlers:
            methods = sorted(str(method) for method in getattr(handler, "http_methods", ["POST"]))
            if methods == ["OPTIONS"]:
                continue
            description: Description = handler.opt["description"]
            found += [
                Operation(method=method, path=_PARAMETER.sub(r"{\1}", route.path), description=description)
                for method in methods
                if method != "HEAD"
            ]
    return sorted(found, key=lambda each: (_TAGS.index(each.description.tag), each.path, each.method))
