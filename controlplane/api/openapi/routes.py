"""GET /openapi.json and GET /docs."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get

from controlplane.api.describe import described
from controlplane.api.error_pages import PAGE_HEADERS
from controlplane.api.openapi.document import document_of
from controlplane.api.openapi.page import make_page


@cache
def _document(app: Litestar) -> dict[str, Any]:
    return document_of(app)


@get(
    "/openapi.json",
    opt=described("openapi", tag="service", summary="This document, OpenAPI 3.1", scope=None, answer=dict[str, Any]),
)
async def show_openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(msgspec.json.encode(_document(request.app)), media_type=MediaType.JSON, headers={"cache-control": "no-cache"})


@get(
    "/docs",
    opt=described("docs", tag="service", summary="This document, for people", scope=None, answer=str, media_types=("text/html",)),
)
async def show_docs(request: Request[Any, Any, Any]) -> Response[str]:
    return Response(make_page(_document(request.app)), media_type=MediaType.HTML, headers=PAGE_HEADERS)


ROUTES = [show_openapi, show_docs]
