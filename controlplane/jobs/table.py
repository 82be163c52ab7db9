"""Every job: what, how often, which flow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.sweep import Sweeper
from controlplane.jobs.leader import Job
from controlplane.postgres_store.credentials import ensure_partitions
from controlplane.postgres_store.database import Database

_PARTITION_DAYS_AHEAD = 7


def jobs_of_term(database: Database, keeper: FleetKeeper, epoch: int) -> list[Job]:
    """The jobs of one leader's term."""
    sweeper = Sweeper(database, keeper, epoch=epoch)

    def partitions() -> Awaitable[None]:
        return ensure_partitions(database, days=_PARTITION_DAYS_AHEAD)

    table: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
        ("sweep", 1.0, sweeper.sweep),
        ("partitions", 3600.0, partitions),
    ]
    return [Job(name=name, every_seconds=seconds, run=run) for name, seconds, run in table]
