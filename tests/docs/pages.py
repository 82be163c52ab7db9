"""The pages as data: their text, tables, headings, code and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table, with the markup of its cells."""

    heading: str
    cells: tuple[str, ...]

    @property
    def first_words(self) -> list[str]:
        """What is in backticks in the first cell."""
        return inline_code(self.cells[0])


@cache
def pages() -> dict[str, str]:
    """Path from the root → text, of every page for people."""
    files = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


def page(name: str) -> str:
    return pages()[name]


def without_fences(text: str) -> str:
    return _FENCE.sub("", text)


def fenced(text: str, *languages: str) -> list[str]:
    """The blocks of code in these languages; of all without any."""
    return [body for language, body in _FENCE.findall(text) if not languages or language in languages]


def inline_code(text: str) -> list[str]:
    return _INLINE.findall(text)


def headings(text: str) -> list[str]:
    return [words.strip() for _, words in _HEADING.findall(without_fences(text))]


def section(text: str, heading: str) -> str:
    """What stands under one heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", without_fences(text), re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no heading {heading!r}"
    return found.group(1)


def links(text: str) -> list[str]:
    return _LINK.findall(without_fences(text))


def anchors(text: str) -> set[str]:
    """The anchors that a repository host makes of the headings."""
    made: set[str] = set()
    for heading in headings(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in made:
            number += 1
        made.add(anchor)
    return made


def rows(text: str, *, under: str | None = None) -> list[Row]:
    """Every line of every table, or of those under one heading; without the lines of column names."""
    found = [row for row in _rows(without_fences(text)) if under is None or row.heading == under]
    assert found, f"there is no table under {under!r}"
    return found


def _rows(text: str) -> Iterator[Row]:
    heading = ""
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        if line.startswith("|") and not following.startswith("|---") and not line.startswith("|---"):
            yield Row(heading=heading, cells=tuple(cell.strip() for cell in line.strip("|").split("|")))


def is_documented(name: str, text: str) -> bool:
    """Whether `name` stands in backticks, alone or as one word of several."""
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code) for code in inline_code(without_fences(text)))
