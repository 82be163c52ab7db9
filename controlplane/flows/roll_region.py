"""The leader's pass over rolls: takes the steps that are due, tries restarted relays from outside, and ends what is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from controlplane.fleet.node_state import NodeState, nodes_by_region
from controlplane.fleet.outside import ProberPlace
from controlplane.fleet.roll import End, Move, Roll, RollState, RollStep, next_moves, not_relaying
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.probe_node import NodeProbed, NodeProber, TooManyProbesError
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.rolls import end_roll, rolls_where, take_move

_AT_ONCE = 500
"""Rolls; a region has one at a time."""
_TRY_AGAIN_SECONDS = 5.0
"""After a relay did not answer from outside."""
_NO_KEY = (
    "No relay can be tried from outside: the process that runs the jobs has no master key. Give it TURNFLEET_MASTER_KEY_FILE, "
    "and resume the roll."
)

log = structlog.get_logger()


class RollKeeper:
    """Remembers only when it tried a relay last: all else is in PostgreSQL. One per term."""

    def __init__(
        self,
        database: Database,
        keeper: FleetKeeper,
        directory: Directory,
        prober: NodeProber | None,
        *,
        from_outside: bool,
        epoch: int,
    ) -> None:
        """`prober`: None without a master key to sign with. Not `from_outside`: what agents say of their own relays is enough."""
        self._database = database
        self._keeper = keeper
        self._directory = directory
        self._prober = prober
        self._from_outside = from_outside
        self._epoch = epoch
        self._tried_at: dict[tuple[str, str], float] = {}

    async def advance(self) -> None:
        """Raises DatabaseUnavailableError."""
        rolls = await rolls_where(self._database, state=RollState.RUNNING, rows=_AT_ONCE)
        # The nodes are read after the rolls: what a roll has made of them is known.
        if not rolls:
            self._tried_at.clear()
        if not rolls or not self._keeper.seeing or not await self._directory.refresh():
            return
        states = nodes_by_region(self._keeper.view.states(now=time.monotonic()))
        done = await asyncio.gather(*(self._go_on(roll, states.get(roll.region, [])) for roll in rolls), return_exceptions=True)
        await self._directory.refresh()
        for each in done:
            if isinstance(each, BaseException):
                raise each

    async def _go_on(self, roll: Roll, of_region: Sequence[NodeState]) -> None:
        if self._from_outside and self._prober is None:
            await self._end(roll, End(state=RollState.STOPPED, because=_NO_KEY))
            return
        states = {state.node.node_id: state for state in of_region}
        place = self._keeper.view.prober_place(now=time.monotonic()) if self._from_outside else None
        moves = next_moves(roll, states, now=self._directory.database_now(), place=place)
        # One after another: each locks the roll. Only relays are tried side by side, and last, for that takes seconds.
        for move in moves:
            if isinstance(move, End):
                await self._end(roll, move)
            elif not self._is_to_be_tried(move):
                await self._take(roll, move)
        restarted = [move for move in moves if isinstance(move, Move) and self._is_to_be_tried(move)]
        for tried in await asyncio.gather(*(self._tried(roll, move, states[move.node.node_id], place) for move in restarted)):
            if tried is not None:
                await self._take(roll, tried)

    def _is_to_be_tried(self, move: Move) -> bool:
        return self._from_outside and move.to is RollStep.RETURNING

    async def _take(self, roll: Roll, move: Move) -> None:
        if await take_move(self._database, roll, move, epoch=self._epoch):
            log.info("roll_step", region=roll.region, node=move.node.name, step=move.to, detail=move.detail)

    async def _tried(self, roll: Roll, move: Move, state: NodeState, place: ProberPlace | None) -> Move | None:
        """The move when the node relays from here; a failure when it does not in time; None: not yet."""
        key, now = (roll.roll_id, move.node.node_id), time.monotonic()
        if self._prober is None or now - self._tried_at.get(key, -_TRY_AGAIN_SECONDS) < _TRY_AGAIN_SECONDS:
            return None
        try:
            probed = await self._prober.probe(state.node, state.record)
        except TooManyProbesError:
            return None
        self._tried_at[key] = now
        if probed.ok:
            return move
        words = _words(probed)
        tells_nothing = probed.tells_nothing or (place is not None and place.ours)
        log.warning("roll_node_does_not_relay", region=roll.region, node=move.node.name, reason=words)
        return not_relaying(move.node, words, tells_nothing=tells_nothing, now=self._directory.database_now())

    async def _end(self, roll: Roll, end: End) -> None:
        if await end_roll(self._database, roll, end, epoch=self._epoch):
            log.info("roll_ended", region=roll.region, state=end.state, because=end.because)


def _words(probed: NodeProbed) -> str:
    failed = next((each for each in probed.listeners if not each.ok), None)
    if failed is None:
        return probed.note or "it has no listeners"
    return f"{failed.url}: {failed.words or failed.failure}"
