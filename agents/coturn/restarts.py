"""Restarts of coturn that the control plane wants: a number that only grows, kept on disk, so that each is done once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from agents.coturn import before_restart
from agents.files import write_atomically
from agents.settings import PREFIX, AgentSettings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_MOST_CHARACTERS = 200
"""Of a sentence in a heartbeat (ShortText)."""
_ATTACHED = (
    f"Another supervisor runs coturn on this host ({PREFIX}COTURN=attached), and the agent cannot restart it: "
    "do it there, with the node drained by hand."
)


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    node_id: str
    generation: int
    failure: str | None = None


class Restarts:
    """What was asked for, and what was done. The numbers are one node's: those of another one on this disk do not count."""

    def __init__(self, settings: AgentSettings, *, node_id: str) -> None:
        self._file = settings.state_dir / "coturn-generation.json"
        self._output = settings.state_dir / "before-restart.log"
        self._program = settings.before_restart
        self._attached = settings.coturn == "attached"
        self._node_id = node_id
        kept = _read(self._file, node_id)
        self._wanted = kept.generation
        self.done = kept.generation
        """The newest that coturn was stopped for."""
        self.failure = kept.failure
        """What went wrong with it, in a sentence."""

    @property
    def due(self) -> bool:
        return self._wanted > self.done

    def ask(self, generation: int) -> None:
        self._wanted = max(self._wanted, generation)
        if self.due:
            log.info("coturn_restart_asked", reason="the control plane wants it", generation=generation)
        if self.due and self._attached:
            self._note(self._wanted, _ATTACHED)

    async def prepare(self) -> None:
        """With coturn stopped: runs the operator's program, if there is one. coturn is started again whatever comes of it."""
        generation = self._wanted  # what is asked for meanwhile is another restart
        failure = None if self._program is None else await before_restart.run(self._program, self._output)
        self._note(generation, None if failure is None else f"{PREFIX}BEFORE_RESTART: {failure}")

    def _note(self, generation: int, failure: str | None) -> None:
        if failure is not None:
            log.error("coturn_restart_failed", reason=failure, output=str(self._output))
        self.done = generation
        self.failure = failure if failure is None or len(failure) <= _MOST_CHARACTERS else f"{failure[: _MOST_CHARACTERS - 1]}…"
        kept = _Kept(node_id=self._node_id, generation=self.done, failure=self.failure)
        try:
            write_atomically(self._file, msgspec.json.encode(kept), mode=0o600)
        except OSError as error:
            # After a restart of the agent it may be done once more. It is asked of drained nodes alone: nobody loses a call.
            log.warning("coturn_generation_not_kept", path=str(self._file), reason=error.strerror)


def _read(path: Path, node_id: str) -> _Kept:
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        return _Kept(node_id=node_id, generation=0)
    return kept if kept.node_id == node_id else _Kept(node_id=node_id, generation=0)
