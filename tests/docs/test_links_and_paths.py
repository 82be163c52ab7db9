"""Links lead somewhere, and files that are named exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, ROOT, anchors, inline_code, links, page, pages, without_fences

_PATH = re.compile(r"(?:controlplane|agents|deploy|tests|docs|\.ci)/[\w./-]*")


@pytest.mark.parametrize("name", sorted(pages()))
def test_every_relative_link_leads_to_a_file_and_an_anchor_in_it(name: str) -> None:
    for link in links(page(name)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{name}: {link}"


def test_links_are_found_at_all() -> None:
    assert sum(len(links(text)) for text in pages().values()) > 50


@pytest.mark.parametrize("name", sorted(pages()))
def test_every_file_that_is_named_exists(name: str) -> None:
    named = [code for code in inline_code(without_fences(page(name))) if _PATH.fullmatch(code)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_licence_is_the_one_of_the_package() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


def test_every_picture_is_shown_on_some_page() -> None:
    shown = {link.rpartition("/")[2] for text in pages().values() for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    assert {file.name for file in (DOCS / "images").iterdir()} <= shown
