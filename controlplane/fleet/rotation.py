"""Rotating a node's secret without refusing anybody: staged, signing, verifying, retired. Pure.

A version is staged when the node shall hold it, signs as soon as the node reports that coturn has it, and retires when
nothing that was signed with it is valid any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controlplane.fleet.eligibility import signing_version
from controlplane.fleet.intent import SETTLE
from controlplane.fleet.model import Node, NodeRecord


class VersionState(StrEnum):
    """What a secret version is for: the closed list. A version that is not wanted any more is in no list: it is retired."""

    STAGED = "staged"
    """coturn shall hold it, and has not said so yet: nothing is signed with it."""
    SIGNING = "signing"
    """New credentials are signed with it."""
    VERIFYING = "verifying"
    """Nothing new is signed with it; what was signed with it is still valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What changes now. None: it stays."""

    versions: tuple[int, ...] | None = None
    signing_since: datetime | None = None
    """Since when the newest version is known to sign."""


def state_of(version: int, node: Node, record: NodeRecord | None) -> VersionState:
    signing = signing_version(node, record)
    if signing is None or version > signing:
        return VersionState.STAGED
    return VersionState.SIGNING if version == signing else VersionState.VERIFYING


def next_step(node: Node, record: NodeRecord | None, *, expiries: Mapping[int, datetime], now: datetime) -> Step | None:
    """`expiries` says until when credentials that were signed with a version of this node are valid.

    It is asked again and again, so a version that turns out to be needed (its records arrived late) comes back.
    """
    newest = max(node.secret_versions)
    needed = tuple(sorted(v for v, until in expiries.items() if node.secret_floor <= v < newest and until > now))
    lost = tuple(version for version in needed if version not in node.secret_versions)
    if lost:
        return Step(versions=tuple(sorted({*node.secret_versions, *lost})))
    if len(node.secret_versions) == 1:
        return Step(versions=(newest, newest + 1)) if node.rotation_wanted else None
    if record is None or newest not in record.report.secret_versions:
        return None
    if node.secret_signing_since is None:
        return Step(signing_since=now)
    if needed or now < node.secret_signing_since + SETTLE:
        return None
    return Step(versions=(newest,))


def needed_until(node: Node, *, expiries: Mapping[int, datetime]) -> datetime | None:
    """When the last of the older versions is needed no more; None: there is none, or nothing was signed with it."""
    newest = max(node.secret_versions)
    return max((until for version, until in expiries.items() if version in node.secret_versions and version < newest), default=None)
