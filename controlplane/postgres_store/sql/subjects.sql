-- Rooms and clients. Their totals are folded by the leader; what lives now is counted in the allocations.

-- name: subjects_page
SELECT key, first_seen_at, last_seen_at, credentials, allocations, bytes_from_client, bytes_to_client, seconds
FROM subjects
WHERE project_id = :project_id AND kind = :kind
    AND (:before_at::timestamptz IS NULL OR (first_seen_at, key) < (:before_at, :before_key::text))
ORDER BY first_seen_at DESC, key DESC LIMIT :limit;

-- name: subject^
SELECT key, first_seen_at, last_seen_at, credentials, allocations, bytes_from_client, bytes_to_client, seconds
FROM subjects WHERE project_id = :project_id AND kind = :kind AND key = :key;

-- name: live_allocations
-- How many live now, per room or client. All that live are few, and an index knows them.
WITH live AS MATERIALIZED (
    SELECT room, initiator_client, receiver_client FROM allocations
    WHERE project_id = :project_id AND ended_at IS NULL AND started_at >= :from_at
)
SELECT key, count(*) AS live FROM live CROSS JOIN LATERAL (
    VALUES ('room', room), ('client', initiator_client),
        ('client', CASE WHEN receiver_client IS DISTINCT FROM initiator_client THEN receiver_client END)
) AS named (kind, key)
WHERE kind = :kind AND key = ANY(:keys::text[]) GROUP BY key;

-- name: link_templates^
SELECT room_url_template, client_url_template FROM projects WHERE id = :project_id;
