"""Findings as text: a table for people, JSON for programs. Both are plain ASCII, whatever the terminal takes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from controlplane.wire.findings import Finding


def as_table(found: Sequence[Finding]) -> str:
    width = max((len(one.name) for one in found), default=0)
    lines = []
    for one in found:
        lines.append(f"{one.state:<7}  {one.name:<{width}}  {_plain(one.detail)}")
        if one.remedy:
            lines.append(f"{'':<7}  {'':<{width}}  {_plain(one.remedy)}")
    counts = {state: sum(one.state == state for one in found) for state in ("ok", "warning", "wrong")}
    lines.append("")
    lines.append(", ".join(f"{number} {state}" for state, number in counts.items()) + ".")
    return "\n".join(lines) + "\n"


def as_json(found: Sequence[Finding]) -> str:
    return json.dumps(msgspec.to_builtins(found), indent=2) + "\n"


def _plain(text: str) -> str:
    """Certificates, name servers and other programs have a say in these texts, and none in the terminal."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return shown.encode("ascii", "backslashreplace").decode()
