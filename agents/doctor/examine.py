"""Runs all checks at the same time, whatever each of them does: one that raises or hangs is a finding among the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controlplane.wire.findings import Finding, warning, wrong

DEADLINE_SECONDS = 12.0
"""More than any check that asks the network gives itself, so that only a host that hangs is told of here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    work: Callable[[], list[Finding]]


def examine(checks: Sequence[Check], *, deadline_seconds: float = DEADLINE_SECONDS) -> list[Finding]:
    """The findings in the order of the checks."""
    ends_at = time.monotonic() + deadline_seconds
    results: list[list[Finding] | None] = [None] * len(checks)

    def run(index: int) -> None:
        results[index] = _findings(checks[index])

    # Daemons: a disk or a name server that hangs must not keep the program from ending.
    threads = [
        threading.Thread(target=run, args=(index,), name=f"check-{one.name}", daemon=True) for index, one in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))
    found: list[Finding] = []
    for check, result in zip(checks, results, strict=True):
        found += result if result is not None else [_hanging(check, deadline_seconds)]
    return found


def _findings(check: Check) -> list[Finding]:
    try:
        return check.work()
    except Exception as error:
        detail = f"This check itself failed ({type(error).__name__}: {error}); the others are not affected."
        return [warning(check.name, detail, "Report it with this line and the version of the agent.")]


def _hanging(check: Check, seconds: float) -> Finding:
    return wrong(
        check.name,
        f"This could not be found out within {seconds:g} s: the host does not answer.",
        "Look for a disk, a network file system or a name server that hangs.",
    )
