"""Restarting a region's relays one after another: what is done next, and when it is better to stop. Pure.

Each node is drained, restarted, looked at while nobody is sent there, and given back. What somebody else wants of it comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from controlplane.fleet.model import Health, HealthReason, Ineligibility, Intent
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.outside import ProberPlace
from controlplane.fleet.words import some_of

DRAIN_SLACK = timedelta(seconds=60)
"""After a drain's deadline: the agent is told, ends what is left, and reports that nothing is."""
RESTART_WITHIN = timedelta(seconds=420)
"""The operator's own program may take 300 s of it (agents/coturn/before_restart.py), coturn's end 15 s."""
VERIFY_WITHIN = timedelta(seconds=120)
"""A coturn is probed and has sent two good reports some 10 s after its start; the rest is for what mends itself."""
SERVES = timedelta(seconds=3)
"""So long a node serves before the next is drained: every replica knows within 1.25 s that it may be selected again."""
WAIT_AT_MOST = timedelta(minutes=10)
"""For nodes that are out of service for another reason: then somebody has to look."""
FULL_UTILISATION = 1.0
"""Of what refusing is decided by: a node this full cannot take what another one leaves."""

_PLACE_AT_FAULT = (
    "Most of the fleet fails from outside, which is taken for a fault of the network of the host that runs the jobs: "
    "a restarted relay could not be tried from there."
)
_SILENT = {HealthReason.LEASE_EXPIRED, HealthReason.NEVER_REPORTED, HealthReason.GOODBYE}


class RollState(StrEnum):
    """What a roll is doing: the closed list."""

    RUNNING = "running"
    STOPPED = "stopped"
    """By an operator, or by itself because something went wrong: it goes on when somebody resumes it."""
    FINISHED = "finished"


class RollStep(StrEnum):
    """How far a node has come: the closed list."""

    WAITING = "waiting"
    DRAINING = "draining"
    RESTARTING = "restarting"
    """Nobody is left: the agent stops coturn and starts it anew."""
    VERIFYING = "verifying"
    """Cordoned, with its secrets: it has to relay before anybody is sent there."""
    RETURNING = "returning"
    """Given back: it has to be in service for a moment before the next one is drained."""
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


OVER = frozenset({RollStep.DONE, RollStep.SKIPPED, RollStep.FAILED})
UNDER_WAY = frozenset(RollStep) - OVER - {RollStep.WAITING}


@dataclass(frozen=True, slots=True, kw_only=True)
class RollNode:
    """One node of a roll, as far as it has come. Instants are PostgreSQL's."""

    node_id: str
    name: str
    step: RollStep = RollStep.WAITING
    since_at: datetime
    """When the step began."""
    intent_at: datetime | None = None
    """The node's, as the roll left it; None: it has not touched it."""
    generation: int | None = None
    """The start of coturn that was asked for."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    roll_id: str
    region: str
    state: RollState = RollState.RUNNING
    reason: str = ""
    max_unavailable: int = 1
    deadline_seconds: int
    """Of each drain."""
    force: bool = True
    started_at: datetime
    started_by: str
    running_since: datetime
    """When it was started, or resumed last."""
    ended_at: datetime | None = None
    stopped_by: str = ""
    """The id of a token; `system`: by itself."""
    stopped_because: str = ""
    nodes: tuple[RollNode, ...] = ()

    @property
    def intent_reason(self) -> str:
        """What its nodes are drained and cordoned for."""
        return f"rolling restart of {self.region}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A node goes on to its next step. To RETURNING only when it relays, tried from outside."""

    node: RollNode
    to: RollStep
    detail: str = ""
    reported_generation: int = 0
    """What the node's agent has: the next one has to be higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Nothing is under way any more."""

    state: RollState
    because: str = ""


def next_moves(roll: Roll, states: Mapping[str, NodeState], *, now: datetime, place: ProberPlace | None = None) -> list[Move | End]:
    """`states` are of all nodes of the region, by id. A node that failed lets the others that are under way come to their end.

    `place`: how the place fares that nodes are tried from; None: they are not, or not lately.
    """
    under_way = [each for each in roll.nodes if each.step in UNDER_WAY]
    moves: list[Move | End] = [
        move for each in under_way if (move := _go_on(roll, each, states.get(each.node_id), now)) is not None
    ]
    failed = next((each for each in roll.nodes if each.step is RollStep.FAILED), None)
    if failed is not None:
        return moves if under_way else [End(state=RollState.STOPPED, because=f"{failed.name}: {failed.detail}")]
    waiting = [each for each in roll.nodes if each.step is RollStep.WAITING]
    if not waiting and not under_way:
        return [End(state=RollState.FINISHED)]
    begun = [] if _cannot_be_tried(place) else list(_begin(roll, waiting, states))
    if waiting and not under_way and not begun and now >= _stuck_since(roll) + WAIT_AT_MOST:
        return [
            End(
                state=RollState.STOPPED,
                because=f"It waited for {WAIT_AT_MOST.seconds // 60} minutes. {waits_for(roll, states, place=place)}",
            )
        ]
    return [*moves, *begun]


def waits_for(roll: Roll, states: Mapping[str, NodeState], *, place: ProberPlace | None = None) -> str:
    """Why nothing is under way, in words; empty: that is not so, or nothing should be."""
    waiting = [each for each in roll.nodes if each.step is RollStep.WAITING]
    busy = any(each.step in UNDER_WAY for each in roll.nodes)
    if roll.state is not RollState.RUNNING or not waiting or busy:
        return ""
    if _cannot_be_tried(place):
        return _PLACE_AT_FAULT
    if any(_begin(roll, waiting, states)):
        return ""
    out = [f"{states[each].node.name} ({_why_out(states[each])})" for each in _out_of_service(states)]
    if len(out) >= roll.max_unavailable:
        return f"At most {roll.max_unavailable} may be out of service, and these are: {some_of(out)}."
    silent = [each.name for each in waiting if each.node_id in states and _is_silent(states[each.node_id])]
    return f"These do not report, so that nobody is there to restart anything: {some_of(silent)}." if silent else ""


def _cannot_be_tried(place: ProberPlace | None) -> bool:
    """Then a restarted relay would be taken for one that does not relay."""
    return place is not None and place.ours


def not_relaying(node: RollNode, words: str, *, tells_nothing: bool, now: datetime) -> Move | None:
    """After it was tried from outside in vain: once more, or not any more. `tells_nothing`: by the fault of who tried it."""
    if now < node.since_at + VERIFY_WITHIN + (WAIT_AT_MOST if tells_nothing else timedelta()):
        return None
    if tells_nothing:
        return Move(
            node=node, to=RollStep.FAILED, detail=f"It was restarted, and could not be tried: {clean(words)}. It is left cordoned."
        )
    return Move(node=node, to=RollStep.FAILED, detail=f"It was restarted, and does not relay: {clean(words)}. It is left cordoned.")


def clean(text: str) -> str:
    """What an agent says, as it can be stored and shown."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text).rstrip(". ")


def _begin(roll: Roll, waiting: Iterable[RollNode], states: Mapping[str, NodeState]) -> Iterator[Move]:
    """As many as may be out of service together. Those that are out already may in any case: nobody loses by it."""
    under_way = {each.node_id for each in roll.nodes if each.step in UNDER_WAY and each.node_id in states}
    out = {*_out_of_service(states), *under_way}
    for node in sorted(waiting, key=lambda each: each.name):
        state = states.get(node.node_id)
        if state is None:
            yield Move(node=node, to=RollStep.SKIPPED, detail="It was forgotten.")
        elif len(out | {node.node_id}) > roll.max_unavailable:
            continue
        elif state.node.intent is not Intent.ACTIVE and not _is_ours(roll, node, state):
            yield Move(node=node, to=RollStep.SKIPPED, detail=f"It was {_intent_said(state)} before, and is left so.")
        elif not _is_silent(state):
            out.add(node.node_id)
            yield Move(node=node, to=RollStep.DRAINING)


def _go_on(roll: Roll, node: RollNode, state: NodeState | None, now: datetime) -> Move | None:
    if state is None:
        return Move(node=node, to=RollStep.SKIPPED, detail="It was forgotten.")
    if not _is_ours(roll, node, state):
        return _failed(node, f"Somebody else has made it {_intent_said(state)} meanwhile: it is left so.")
    step = {
        RollStep.DRAINING: _drained,
        RollStep.RESTARTING: _restarted,
        RollStep.VERIFYING: _verified,
        RollStep.RETURNING: _returned,
    }[node.step]
    return step(node, state, now)


def _drained(node: RollNode, state: NodeState, now: datetime) -> Move | None:
    drain = state.node.drain
    if drain is None:
        return None
    if drain.drained_at is not None:
        reported = 0 if state.record is None else state.record.report.coturn_generation
        return Move(node=node, to=RollStep.RESTARTING, reported_generation=reported)
    if now < drain.deadline_at + DRAIN_SLACK or not (drain.force or _is_silent(state)):
        return None
    return _failed(node, f"It is not empty a minute after its deadline: {_health_said(state)}. It is left draining.")


def _restarted(node: RollNode, state: NodeState, now: datetime) -> Move | None:
    report = None if state.record is None else state.record.report
    if report is not None and node.generation is not None and report.coturn_generation >= node.generation:
        if report.coturn_failure:
            return _failed(node, f"{clean(report.coturn_failure)}. It is left draining.")
        return Move(node=node, to=RollStep.VERIFYING)
    if now < node.since_at + RESTART_WITHIN:
        return None
    said = f"Its agent has not restarted coturn within {RESTART_WITHIN.seconds // 60} minutes: {_health_said(state)}"
    return _failed(node, f"{said}. An agent of an older release does not know how. It is left draining.")


def _verified(node: RollNode, state: NodeState, now: datetime) -> Move | None:
    if state.verdict.health is Health.UP and set(state.ineligibility) <= {Ineligibility.CORDONED, Ineligibility.SATURATED}:
        return Move(node=node, to=RollStep.RETURNING)
    if now < node.since_at + VERIFY_WITHIN:
        return None
    return _failed(node, f"It was restarted, and is not well: {_health_said(state)}. It is left cordoned.")


def _returned(node: RollNode, state: NodeState, now: datetime) -> Move | None:
    if now >= node.since_at + SERVES and not is_out_of_service(state):
        return Move(node=node, to=RollStep.DONE)
    if now < node.since_at + VERIFY_WITHIN:
        return None
    return _failed(node, f"It was given back, and is not in service: {_why_out(state)}.")


def is_out_of_service(state: NodeState) -> bool:
    """Whether it could not take what another node leaves. A busy CPU alone does not count: it is the whole host's, and passes."""
    return (
        state.verdict.health is not Health.UP
        or bool(set(state.ineligibility) - {Ineligibility.SATURATED})
        or state.refusing_utilisation >= FULL_UTILISATION
    )


def _out_of_service(states: Mapping[str, NodeState]) -> list[str]:
    return sorted((each for each, state in states.items() if is_out_of_service(state)), key=lambda each: states[each].node.name)


def _is_ours(roll: Roll, node: RollNode, state: NodeState) -> bool:
    """Whether the node is as the roll left it. Every call of an operator changes one of the two."""
    return state.node.intent_at == node.intent_at and state.node.intent_reason == roll.intent_reason


def _is_silent(state: NodeState) -> bool:
    return state.verdict.reason in _SILENT


def _stuck_since(roll: Roll) -> datetime:
    return max([roll.running_since, *(each.since_at for each in roll.nodes)])


def _failed(node: RollNode, detail: str) -> Move:
    return Move(node=node, to=RollStep.FAILED, detail=detail)


def _intent_said(state: NodeState) -> str:
    reason = state.node.intent_reason
    return state.node.intent.value + (f" ({clean(reason)})" if reason else "")


def _health_said(state: NodeState) -> str:
    verdict = state.verdict
    return f"{verdict.health}, {verdict.reason}" + (f" ({clean(verdict.detail)})" if verdict.detail else "")


def _why_out(state: NodeState) -> str:
    if state.verdict.health is not Health.UP:
        return _health_said(state)
    return ", ".join(state.ineligibility) or "full"
