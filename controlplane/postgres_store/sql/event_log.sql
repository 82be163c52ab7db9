-- name: events_where
-- Newest first; every filter may be null.
SELECT e.id, e.happened_at, e.kind, e.region, e.node_id, e.node_name AS node, e.was, e.became, e.reason, e.detail, e.actor
FROM fleet_events e
WHERE (:node_id::uuid IS NULL OR e.node_id = :node_id)
    AND (:node_name::text IS NULL OR e.node_name = :node_name)
    AND (:region::text IS NULL OR e.region = :region)
    AND (:kind::text IS NULL OR e.kind = :kind)
    AND (:since::timestamptz IS NULL OR e.happened_at >= :since)
    AND (:until::timestamptz IS NULL OR e.happened_at < :until)
    AND (:before_id::bigint IS NULL OR e.id < :before_id)
ORDER BY e.id DESC LIMIT :rows::bigint;

-- name: events_after
-- Oldest first.
SELECT e.id, e.happened_at, e.kind, e.region, e.node_id, e.node_name AS node, e.was, e.became, e.reason, e.detail, e.actor
FROM fleet_events e WHERE e.id > :after_id ORDER BY e.id LIMIT :rows::bigint;

-- name: event_log_place^
-- Where the log ends, up to where it has gaps, and how many events lie after one: at most `rows` are counted.
SELECT greatest((SELECT max(id) FROM fleet_events), up_to_id) AS newest_id, up_to_id AS forgotten_id,
    (SELECT count(*) FROM (SELECT FROM fleet_events WHERE id > :after_id::bigint LIMIT :rows::bigint) AS later) AS later
FROM fleet_events_forgotten;

-- name: delete_events$
-- What each node and region was last told to be stays, however old: the next leader goes on from there.
WITH gone AS (
    DELETE FROM fleet_events WHERE id = ANY(ARRAY(
        SELECT e.id FROM fleet_events e WHERE e.happened_at < :before_at
            AND (e.kind <> 'node.health' OR NOT EXISTS (SELECT FROM nodes n WHERE n.id = e.node_id) OR EXISTS (
                SELECT FROM fleet_events l WHERE l.node_id = e.node_id AND l.kind = e.kind AND l.id > e.id))
            AND (e.kind <> 'region.state' OR NOT EXISTS (SELECT FROM regions r WHERE r.slug = e.region) OR EXISTS (
                SELECT FROM fleet_events l WHERE l.region = e.region AND l.kind = e.kind AND l.id > e.id))
        LIMIT :limit)) RETURNING id
), noted AS (
    UPDATE fleet_events_forgotten SET up_to_id = greatest(up_to_id, (SELECT max(id) FROM gone)) WHERE EXISTS (SELECT FROM gone)
) SELECT count(*) FROM gone;
