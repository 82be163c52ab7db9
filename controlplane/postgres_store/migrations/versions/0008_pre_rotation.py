"""Secret versions: since when the newest is wanted and signs, and below which none may come back."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0008"
down_revision = "0007"

_STATEMENTS = """
ALTER TABLE nodes
    ADD COLUMN secret_staged_at timestamptz,
    ADD COLUMN secret_signing_since timestamptz,
    -- A rotation that was asked for while another one goes on.
    ADD COLUMN rotation_wanted boolean NOT NULL DEFAULT false,
    -- After an emergency: older ones are not to be trusted, whoever still needs them.
    ADD COLUMN secret_floor integer NOT NULL DEFAULT 1;
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
