-- name: insert_roll!
INSERT INTO rolls (id, region, reason, max_unavailable, deadline_seconds, force, started_by)
VALUES (:id, :region, :reason, :max_unavailable, :deadline_seconds, :force, :started_by);

-- name: insert_roll_nodes$
-- Those that the region has now; how many.
WITH made AS (
    INSERT INTO roll_nodes (roll_id, node_id, name) SELECT :roll_id, id, name FROM nodes WHERE region = :region RETURNING 1
)
SELECT count(*) FROM made;

-- name: roll_by_id^
SELECT id, region, state, reason, max_unavailable, deadline_seconds, force, started_at, started_by, running_since, ended_at,
    stopped_by, stopped_because
FROM rolls WHERE id = :id;

-- name: roll_for_update^
-- Locked, so that of a step and a stop one comes after the other.
SELECT id, region, state, reason, max_unavailable, deadline_seconds, force, started_at, started_by, running_since, ended_at,
    stopped_by, stopped_because
FROM rolls WHERE id = :id FOR UPDATE;

-- name: rolls_where
-- The newest first, those older than `before`. A filter that is null is none.
SELECT id, region, state, reason, max_unavailable, deadline_seconds, force, started_at, started_by, running_since, ended_at,
    stopped_by, stopped_because
FROM rolls
WHERE (:region::text IS NULL OR region = :region) AND (:state::text IS NULL OR state = :state)
    AND (:before::uuid IS NULL OR id < :before)
ORDER BY id DESC LIMIT :rows;

-- name: roll_nodes_of
SELECT roll_id, node_id, name, step, since_at, intent_at, generation, detail FROM roll_nodes
WHERE roll_id = ANY(:rolls::uuid[]) ORDER BY name;

-- name: newest_rolls_stopped_by_themselves
-- Of each region's newest roll, if it is one: nobody has looked at it since.
SELECT id, region, stopped_because FROM (SELECT DISTINCT ON (region) * FROM rolls ORDER BY region, id DESC) AS newest
WHERE state = 'stopped' AND stopped_by = 'system' ORDER BY region;

-- name: is_newest_roll$
SELECT NOT EXISTS (SELECT FROM rolls WHERE region = :region AND id > :id);

-- name: take_roll_step$
-- Unless it has gone on already.
UPDATE roll_nodes SET step = :step, since_at = now(), detail = :detail, intent_at = coalesce(:intent_at, intent_at),
    generation = coalesce(:generation, generation)
WHERE roll_id = :roll_id AND node_id = :node_id AND step = :was AND since_at = :since_at RETURNING true;

-- name: raise_coturn_generation$
-- Above what its agent has, too: a database that was restored may know of less.
UPDATE nodes SET coturn_generation = least(greatest(coturn_generation, :reported)::bigint + 1, 2147483647) WHERE id = :id
RETURNING coturn_generation;

-- name: end_roll!
UPDATE rolls SET state = :state, ended_at = coalesce(ended_at, now()), stopped_by = :stopped_by, stopped_because = :because WHERE id = :id;

-- name: resume_roll!
UPDATE rolls SET state = 'running', running_since = now(), ended_at = NULL, stopped_by = '', stopped_because = '' WHERE id = :id;

-- name: resume_roll_nodes!
-- What is as the roll left it goes on; what failed, or is somebody else's by now, begins anew.
UPDATE roll_nodes SET since_at = now(), detail = '', step = CASE WHEN step <> 'failed' AND EXISTS (
        SELECT FROM nodes WHERE nodes.id = node_id AND nodes.intent_at = roll_nodes.intent_at AND nodes.intent_reason = :intent_reason
    ) THEN step ELSE 'waiting' END
WHERE roll_id = :roll_id AND step IN ('draining', 'restarting', 'verifying', 'returning', 'failed');

-- name: insert_roll_event!
INSERT INTO fleet_events (happened_at, kind, region, node_id, was, became, reason, detail, actor)
VALUES (now(), :kind, :region, :node_id, :was, :became, '', :detail, :actor);
