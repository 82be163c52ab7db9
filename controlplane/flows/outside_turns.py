"""Whose turn it is to be tried from outside. Times are monotonic seconds."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


class Turns:
    """Each node has one turn at a time: it waits for it, or it is taken."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        """Also outdated entries, which are passed over."""

    def put(self, node_id: str, due: float) -> None:
        """Its next turn; an earlier wish for another time is void."""
        self._due[node_id] = due
        heapq.heappush(self._heap, (due, node_id))

    def hasten(self, node_ids: Iterable[str], due: float) -> None:
        """Those that wait for a later turn have it then."""
        for node_id in node_ids:
            if self._due.get(node_id, due) > due:
                self.put(node_id, due)

    def drop(self, node_id: str) -> None:
        self._due.pop(node_id, None)

    def take(self, now: float) -> str | None:
        """The node that is due for longest; it has no turn until it is put again. None: nobody is due."""
        self._pass_over()
        if not self._heap or self._heap[0][0] > now:
            return None
        _, node_id = heapq.heappop(self._heap)
        del self._due[node_id]
        return node_id

    def late_seconds(self, now: float) -> float:
        """For how long the first of those that wait is due; 0 when nobody is."""
        self._pass_over()
        return max(0.0, now - self._heap[0][0]) if self._heap else 0.0

    def _pass_over(self) -> None:
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
