"""Node tokens that follow one another, and what a node was found to be."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0010"
down_revision = "0009"

_STATEMENTS = """
ALTER TABLE nodes
    -- Of the node's token: 0 is the one that it joined with, every later one is derived from the master key.
    ADD COLUMN token_generation integer NOT NULL DEFAULT 0,
    ADD COLUMN token_at timestamptz NOT NULL DEFAULT now(),
    -- While the next one is offered, until the node has used it.
    ADD COLUMN token_wanted_at timestamptz;
UPDATE nodes SET token_at = joined_at;
ALTER TABLE join_tokens
    -- The node whose name and place the new one takes. Null again when that was forgotten meanwhile.
    ADD COLUMN replaces uuid REFERENCES nodes ON DELETE SET NULL,
    ADD COLUMN force boolean NOT NULL DEFAULT false;
-- A table of its own: it changes seldom and is large, and a change of nodes makes every replica read them all anew.
CREATE TABLE node_findings (
    node_id uuid PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    reported_at timestamptz NOT NULL,
    source_address inet,
    found jsonb NOT NULL
);
-- What a node was called when it happened: it may be forgotten, and another one may have its name.
ALTER TABLE fleet_events ADD COLUMN node_name text;
UPDATE fleet_events SET node_name = nodes.name FROM nodes WHERE nodes.id = fleet_events.node_id;
CREATE INDEX fleet_events_of_node_name ON fleet_events (node_name, id DESC);
CREATE FUNCTION name_node_of_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The second is for what is told of a node a moment after it was forgotten.
    NEW.node_name := coalesce((SELECT name FROM nodes WHERE id = NEW.node_id),
        (SELECT node_name FROM fleet_events WHERE node_id = NEW.node_id ORDER BY id DESC LIMIT 1));
    RETURN NEW;
END $$;
CREATE TRIGGER fleet_events_named BEFORE INSERT ON fleet_events FOR EACH ROW
    WHEN (NEW.node_id IS NOT NULL AND NEW.node_name IS NULL) EXECUTE FUNCTION name_node_of_event();
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
