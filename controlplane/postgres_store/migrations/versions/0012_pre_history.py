"""Load, health and intent of every node over time."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0012"
down_revision = "0011"

_STATEMENTS = """
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
