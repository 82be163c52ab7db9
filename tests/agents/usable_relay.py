"""A whole agent with a real coturn, ready for clients, and what the control plane was told of their allocations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agents.settings import AgentSettings
from controlplane.wire.agent_api import AllocationReport
from tests.agents.control_plane import ControlPlane, control_plane
from tests.agents.places import eventually, make_settings
from tests.agents.test_whole_agent import running
from tests.agents.usage_clients import Holder, Sums


@asynccontextmanager
async def usable(folder: Path, **changes: object) -> AsyncIterator[tuple[ControlPlane, AgentSettings]]:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url, **changes)  # type: ignore[arg-type]
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            yield plane, settings


def of(plane: ControlPlane, holder: Holder) -> list[AllocationReport]:
    return [one for one in plane.allocations.values() if one.credential_id == holder.id]


def ended(plane: ControlPlane, holder: Holder, *, count: int = 1) -> Callable[[], bool]:
    return lambda: sum(one.ended_at is not None for one in of(plane, holder)) == count


def sums(plane: ControlPlane) -> dict[tuple[str, str], Sums]:
    return {
        key: (one.bytes_from_client, one.bytes_to_client, one.packets_from_client, one.packets_to_client)
        for key, one in plane.allocations.items()
    }
