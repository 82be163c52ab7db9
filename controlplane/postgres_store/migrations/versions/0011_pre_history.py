"""Load, health and intent of every node over time."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0011"
down_revision = "0010"

_STATEMENTS = """
-- From best to worst: the largest of several is the worst.
CREATE TYPE node_health AS ENUM ('up', 'suspect', 'unknown', 'down');
-- What the leader saw of a node in a minute: it looks `ticks` times, and `reports` of them a report was fresh. Means are those of
-- the fresh reports, and null without any. One minute is inserted at a time, so `at` follows the order on the disk.
CREATE TABLE node_minutes (
    node_id uuid NOT NULL,
    at timestamptz NOT NULL,
    ticks smallint NOT NULL,
    reports smallint NOT NULL,
    health node_health NOT NULL,
    eligible_ratio real NOT NULL,
    receive_bits_per_second real,
    transmit_bits_per_second real,
    receive_packets_per_second real,
    transmit_packets_per_second real,
    allocations real,
    cpu_ratio real,
    memory_ratio real,
    utilisation real,
    max_bits_per_second real,
    max_allocations real,
    max_cpu_ratio real,
    max_utilisation real,
    health_reason text NOT NULL,
    intent text NOT NULL,
    PRIMARY KEY (node_id, at)
) PARTITION BY RANGE (at);
CREATE TABLE node_ten_minutes (LIKE node_minutes INCLUDING ALL) PARTITION BY RANGE (at);
CREATE INDEX node_minutes_at ON node_minutes USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
CREATE TABLE region_minutes (
    region text NOT NULL,
    at timestamptz NOT NULL,
    ticks smallint NOT NULL,
    operational_ratio real NOT NULL,
    nodes real NOT NULL,
    up_nodes real NOT NULL,
    eligible_nodes real NOT NULL,
    min_eligible_nodes real NOT NULL,
    receive_bits_per_second real NOT NULL,
    transmit_bits_per_second real NOT NULL,
    receive_packets_per_second real NOT NULL,
    transmit_packets_per_second real NOT NULL,
    allocations real NOT NULL,
    utilisation real,
    max_bits_per_second real NOT NULL,
    max_allocations real NOT NULL,
    max_utilisation real,
    PRIMARY KEY (region, at)
) PARTITION BY RANGE (at);
SELECT ensure_partitions('node_minutes', 7), ensure_partitions('node_ten_minutes', 7), ensure_partitions('region_minutes', 7);
-- Up to here node_minutes are summed up in node_ten_minutes.
CREATE TABLE history_summed_up (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), up_to_at timestamptz NOT NULL);
INSERT INTO history_summed_up (up_to_at) VALUES (date_bin('10 minutes', now(), 'epoch'));
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
