"""Rolls: a region restarted node after node."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0009"
down_revision = "0008"

_STATEMENTS = """
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
