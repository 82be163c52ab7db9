"""Node tokens that follow one another, and what a node was found to be."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0011"
down_revision = "0010"

_STATEMENTS = """
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
