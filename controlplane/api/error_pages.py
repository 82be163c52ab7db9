"""GET /docs/errors and /docs/errors/{code}: what a problem means and what to do. The pages that problem+json links to."""

from __future__ import annotations

from html import escape

from litestar import MediaType, Response, get
from litestar.params import FromPath

from controlplane.api.describe import described
from controlplane.api.problems import ProblemError
from controlplane.wire.problem import PROBLEMS, ProblemCode

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · turnfleet</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}}
code{{background:#eef1f4;padding:.1em .3em;border-radius:.2em}}a{{color:#0b5cad}}dt{{font-weight:600;margin-top:1rem}}
@media(prefers-color-scheme:dark){{body{{color:#e6e9ec;background:#14171a}}code{{background:#24292e}}a{{color:#7ab7ff}}}}</style>
</head><body>{body}</body></html>"""
PAGE_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'", "x-content-type-options": "nosniff"}


def _page(title: str, body: str) -> Response[str]:
    return Response(_PAGE.format(title=escape(title), body=body), media_type=MediaType.HTML, headers=PAGE_HEADERS)


def _entry(problem: ProblemCode) -> str:
    return (
        f"<h1>{escape(problem.title)}</h1><p><code>{problem.code}</code> · HTTP {problem.status}</p>"
        f"<dl><dt>What it means</dt><dd>{escape(problem.meaning)}</dd>"
        f"<dt>What to do</dt><dd>{escape(problem.remedy)}</dd></dl><p><a href='/docs/errors'>All problems</a></p>"
    )


@get(
    "/docs/errors",
    opt=described(
        "list_problems", tag="service", summary="Every problem, for people", scope=None, answer=str, media_types=("text/html",)
    ),
)
async def list_errors() -> Response[str]:
    rows = "".join(
        f"<li><a href='/docs/errors/{problem.code}'><code>{problem.code}</code></a> {problem.status}: {escape(problem.title)}</li>"
        for problem in PROBLEMS.values()
    )
    return _page("Problems", f"<h1>Problems</h1><p>Every problem that the API answers with.</p><ul>{rows}</ul>")


@get(
    "/docs/errors/{code:str}",
    opt=described(
        "show_problem",
        tag="service",
        summary="What a problem means and what to do",
        scope=None,
        answer=str,
        media_types=("text/html",),
    ),
)
async def show_error(code: FromPath[str]) -> Response[str]:
    problem = PROBLEMS.get(code)
    if problem is None:
        raise ProblemError("not_found", "There is no problem of that code.")
    return _page(problem.title, _entry(problem))
