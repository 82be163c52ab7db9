"""What operators want of nodes: since when, by whom, and how far a drain has come. And until when each secret version is needed."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0007"
down_revision = "0006"

_STATEMENTS = """
-- What nobody could do by a call: it has no deadline.
UPDATE nodes SET intent = 'cordoned' WHERE intent = 'draining';
ALTER TABLE nodes
    ADD COLUMN intent_at timestamptz,
    ADD COLUMN intent_by text NOT NULL DEFAULT '',
    -- While it is draining, and null otherwise.
    ADD COLUMN drain_deadline_at timestamptz,
    ADD COLUMN drain_force boolean NOT NULL DEFAULT true,
    ADD COLUMN secrets_withdrawn_at timestamptz,
    ADD COLUMN drained_at timestamptz,
    ADD CHECK ((intent = 'draining') = (drain_deadline_at IS NOT NULL));
-- The latest expiry of what was signed for a node with each version, rounded up so that a busy node's row is written seldom.
CREATE TABLE node_expiries (
    node_id uuid NOT NULL,
    secret_version integer NOT NULL,
    latest_at timestamptz NOT NULL,
    PRIMARY KEY (node_id, secret_version)
);
INSERT INTO node_expiries (node_id, secret_version, latest_at)
SELECT node_id, secret_version, max(expires_at)
FROM credentials CROSS JOIN LATERAL unnest(node_ids, secret_versions) AS signed (node_id, secret_version)
WHERE expires_at > now() AND node_id IS NOT NULL AND secret_version IS NOT NULL GROUP BY node_id, secret_version;
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
