"""Indexes that serve the lists of records."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0004"
down_revision = "0003"

_STATEMENTS = """
CREATE INDEX credentials_of_project ON credentials (project_id, issued_at DESC, id DESC);
CREATE INDEX credentials_of_room ON credentials (project_id, room, issued_at DESC, id DESC) WHERE room IS NOT NULL;
CREATE INDEX credentials_of_initiator ON credentials (project_id, initiator_client, issued_at DESC, id DESC)
    WHERE initiator_client IS NOT NULL;
CREATE INDEX credentials_of_receiver ON credentials (project_id, receiver_client, issued_at DESC, id DESC)
    WHERE receiver_client IS NOT NULL;
CREATE INDEX allocations_of_project ON allocations (project_id, started_at DESC, id DESC);
CREATE INDEX allocations_of_room ON allocations (project_id, room, started_at DESC, id DESC) WHERE room IS NOT NULL;
CREATE INDEX allocations_of_initiator ON allocations (project_id, initiator_client, started_at DESC, id DESC)
    WHERE initiator_client IS NOT NULL;
CREATE INDEX allocations_of_receiver ON allocations (project_id, receiver_client, started_at DESC, id DESC)
    WHERE receiver_client IS NOT NULL;
CREATE INDEX allocations_of_credential ON allocations (credential_id) WHERE credential_id IS NOT NULL;
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
