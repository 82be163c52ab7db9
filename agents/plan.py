"""What to do: the control plane's wish and the node's state in, ordered actions out. Pure; applied once, the next plan is empty.

There are no orders in between: a wish that was missed is in the next reply again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from controlplane.wire.agent_api import DenialsDelta, HeartbeatReply, Intent
from controlplane.wire.redacted import Redacted

SHORTEST_INTERVAL_SECONDS = 0.1
LONGEST_INTERVAL_SECONDS = 300.0
"""Bounds of what is taken as an interval, whatever a reply says: neither a flood nor silence by mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalState:
    """What the node is set to now."""

    realm: str
    intent: Intent | None
    """None: nobody said yet in this run of the agent."""
    interval_seconds: float
    secrets: Mapping[int, Redacted]
    """What coturn's database holds, by version."""
    coturn_wanted: bool
    wanted_at: float = 0.0
    """Of the newest wish so far, Unix seconds."""
    ending: bool = False
    """Whether every live allocation is ended."""
    coturn_generation: int = 0
    """The newest start of coturn that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetInterval:
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRealm:
    """coturn has to start anew: its realm is in its configuration."""

    realm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSecrets:
    """The database shall hold these and no others. None at all withdraws them, which is how a drain ends."""

    realm: str
    secrets: Mapping[int, Redacted]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetIntent:
    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCoturn:
    """Only once the secrets are in the database: with an empty one every client would get 401."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartCoturn:
    """coturn has to start anew, with the program and the files that are on the host then."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeDenials:
    """Credentials that may relay nothing more."""

    delta: DenialsDelta


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepTo:
    """From now on wishes that are older than this are not followed."""

    wanted_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAllocations:
    """Every live allocation, and those that still come, until it is not wanted any more."""

    wanted: bool


Action = SetInterval | ChangeRealm | WriteSecrets | SetIntent | StartCoturn | RestartCoturn | TakeDenials | EndAllocations | KeepTo


def plan(reply: HeartbeatReply, state: LocalState) -> list[Action]:
    """What is denied first: nothing that fails may keep it from holding. Then the realm, for the secrets are kept under it."""
    actions: list[Action] = [TakeDenials(delta=reply.denied)] if reply.denied is not None else []
    interval = min(LONGEST_INTERVAL_SECONDS, max(SHORTEST_INTERVAL_SECONDS, reply.interval_seconds))
    if interval != state.interval_seconds:
        actions.append(SetInterval(seconds=interval))
    if reply.wanted_at:
        if reply.wanted_at < state.wanted_at:
            return actions
        if reply.wanted_at > state.wanted_at:
            actions.append(KeepTo(wanted_at=reply.wanted_at))
    realm_changes = reply.realm != state.realm
    if realm_changes:
        actions.append(ChangeRealm(realm=reply.realm))
    wanted = wanted_secrets(reply, state)
    if wanted is not None and (realm_changes or dict(wanted) != dict(state.secrets)):
        actions.append(WriteSecrets(realm=reply.realm, secrets=wanted))
    if reply.intent != state.intent:
        actions.append(SetIntent(intent=reply.intent))
    if reply.end_allocations != state.ending:
        actions.append(EndAllocations(wanted=reply.end_allocations))
    if reply.coturn_generation > state.coturn_generation:
        actions.append(RestartCoturn(generation=reply.coturn_generation))
    will_hold = state.secrets if wanted is None else wanted
    if not state.coturn_wanted and (will_hold or not reply.secret_versions):
        actions.append(StartCoturn())
    return actions


def wanted_secrets(reply: HeartbeatReply, state: LocalState) -> Mapping[int, Redacted] | None:
    """The wanted versions with their secrets; None when one of them is not known to us.

    Then nothing is touched: half of the wanted set would lock out clients, and the next heartbeat shows what is missing.
    """
    told = {one.version: Redacted(one.secret) for one in reply.secrets or []}
    known = {**state.secrets, **told}
    if any(version not in known for version in reply.secret_versions):
        # The realm alone may still have to move what is there.
        return dict(state.secrets) if reply.realm != state.realm else None
    return {version: known[version] for version in sorted(reply.secret_versions)}


def applied(state: LocalState, action: Action) -> LocalState:
    """The state after an action that went well."""
    match action:
        case SetInterval(seconds=seconds):
            return replace(state, interval_seconds=seconds)
        case ChangeRealm(realm=realm):
            return replace(state, realm=realm)
        case WriteSecrets(secrets=secrets):
            return replace(state, secrets=secrets)
        case SetIntent(intent=intent):
            return replace(state, intent=intent)
        case StartCoturn():
            return replace(state, coturn_wanted=True)
        case RestartCoturn(generation=generation):
            return replace(state, coturn_generation=generation)
        case EndAllocations(wanted=wanted):
            return replace(state, ending=wanted)
        case KeepTo(wanted_at=wanted_at):
            return replace(state, wanted_at=wanted_at)
        case TakeDenials():
            return state
        case _:
            assert_never(action)
