-- Removing what is too old, in pieces: each statement is bounded, and running it again changes nothing.

-- name: drop_oldest_partition$
-- Of credentials or allocations, one day before that day. Returns its name; NULL when there is none.
SELECT drop_oldest_partition(:parent, :before_day);

-- name: partitions_with_addresses
-- The parts of both tables that may hold records before an instant, with their size: the days before, and the rest.
SELECT child.relname AS name, pg_relation_size(child.oid) / current_setting('block_size')::integer AS blocks
FROM pg_inherits i JOIN pg_class child ON child.oid = i.inhrelid
WHERE i.inhparent IN ('credentials'::regclass, 'allocations'::regclass)
    AND (child.relname ~ '_rest$' OR right(child.relname, 8) <= to_char(:before_at::timestamptz AT TIME ZONE 'UTC', 'YYYYMMDD'))
ORDER BY right(child.relname, 8), child.relname;

-- name: forget_addresses$
-- In some blocks of one part. Returns how many records lost theirs.
SELECT forget_client_addresses(:name, :before_at::timestamptz, :first_block::bigint, :end_block::bigint);

-- name: delete_late_credentials$
WITH gone AS (
    DELETE FROM credentials_rest
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM credentials_rest WHERE issued_at < :before_at LIMIT :limit)) RETURNING 1
) SELECT count(*) FROM gone;

-- name: delete_late_allocations$
WITH gone AS (
    DELETE FROM allocations_rest
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM allocations_rest WHERE started_at < :before_at LIMIT :limit)) RETURNING 1
) SELECT count(*) FROM gone;

-- name: delete_usage$
WITH gone AS (
    DELETE FROM usage
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM usage WHERE bucket = :bucket AND at < :before_at LIMIT :limit)) RETURNING 1
) SELECT count(*) FROM gone;

-- name: delete_audit$
WITH gone AS (
    DELETE FROM audit WHERE id = ANY(ARRAY(SELECT id FROM audit WHERE at < :before_at LIMIT :limit)) RETURNING 1
) SELECT count(*) FROM gone;

-- name: blocks_of$
SELECT pg_relation_size(:name::text::regclass) / current_setting('block_size')::integer;

-- name: delete_subjects$
-- In some blocks.
WITH gone AS (
    DELETE FROM subjects WHERE last_seen_at < :before_at
        AND ctid >= format('(%s,0)', :first_block::bigint)::tid AND ctid < format('(%s,0)', :end_block::bigint)::tid RETURNING 1
) SELECT count(*) FROM gone;

-- name: delete_node_expiries_before$
-- What has expired for so long that no rotation and no drain asks for it. Also of nodes that were forgotten.
WITH gone AS (
    DELETE FROM node_expiries WHERE ctid = ANY(ARRAY(SELECT ctid FROM node_expiries WHERE latest_at < :before_at LIMIT :limit)) RETURNING 1
) SELECT count(*) FROM gone;

-- name: delete_join_tokens$
-- Nobody can join with them any more. Who made them is in the audit.
WITH gone AS (
    DELETE FROM join_tokens WHERE id = ANY(ARRAY(SELECT id FROM join_tokens WHERE expires_at < :before_at LIMIT :limit)) RETURNING 1
) SELECT count(*) FROM gone;

-- name: old_rolls
-- Those that have ended; each region's last one stays.
SELECT r.id FROM rolls r WHERE r.state <> 'running' AND r.ended_at < :before_at
    AND EXISTS (SELECT FROM rolls l WHERE l.region = r.region AND l.id > r.id)
LIMIT :limit;

-- name: delete_rolls!
DELETE FROM rolls WHERE id = ANY(:ids::uuid[]);
