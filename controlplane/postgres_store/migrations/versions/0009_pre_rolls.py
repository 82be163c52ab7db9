"""Rolls: a region restarted node after node."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0009"
down_revision = "0008"

_STATEMENTS = """
-- Which start of coturn is wanted: the agent stops it and starts it anew once this is higher than what it has.
ALTER TABLE nodes ADD COLUMN coturn_generation integer NOT NULL DEFAULT 0;
CREATE TABLE rolls (
    id uuid PRIMARY KEY,
    region text NOT NULL REFERENCES regions ON UPDATE CASCADE ON DELETE CASCADE,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'stopped', 'finished')),
    reason text NOT NULL,
    max_unavailable integer NOT NULL CHECK (max_unavailable > 0),
    deadline_seconds integer NOT NULL,
    force boolean NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    started_by text NOT NULL,
    -- When it was started, or resumed last.
    running_since timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    stopped_by text NOT NULL DEFAULT '',
    stopped_because text NOT NULL DEFAULT '',
    CHECK ((state = 'running') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX rolls_one_runs ON rolls (region) WHERE state = 'running';
-- A node that was forgotten stays in the story, by its name.
CREATE TABLE roll_nodes (
    roll_id uuid NOT NULL REFERENCES rolls ON DELETE CASCADE,
    node_id uuid NOT NULL,
    name text NOT NULL,
    step text NOT NULL DEFAULT 'waiting',
    since_at timestamptz NOT NULL DEFAULT now(),
    -- nodes.intent_at as the roll left it: by it the roll knows whether somebody else wanted something since.
    intent_at timestamptz,
    generation integer,
    detail text NOT NULL DEFAULT '',
    PRIMARY KEY (roll_id, node_id)
);
CREATE TRIGGER rolls_bump AFTER INSERT OR UPDATE OR DELETE ON rolls FOR EACH STATEMENT
    EXECUTE FUNCTION bump_directory_version();
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
