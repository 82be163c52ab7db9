-- name: quota_uses
-- Every project that has a quota, or was at one, with what it uses now. Allocations that are being ended count no more
-- against the number that is to be ended. Those of nodes that are down are not known to live: a relay that never returns
-- leaves them behind without an end.
SELECT p.id, p.max_allocations, p.max_bits_per_second, q.project_id IS NOT NULL AS was_reached,
    coalesce(live.allocations, 0) AS allocations, coalesce(live.undenied, 0) AS undenied,
    coalesce(live.bits_per_second, 0) AS bits_per_second
FROM projects p
LEFT JOIN quotas_reached q ON q.project_id = p.id
LEFT JOIN LATERAL (
    SELECT count(*) AS allocations, sum(a.bits_per_second)::bigint AS bits_per_second,
        count(*) FILTER (WHERE d.node_id IS NULL) AS undenied
    FROM allocations a LEFT JOIN denials d ON d.node_id = a.node_id AND d.credential_id = a.credential_id
    WHERE a.project_id = p.id AND a.ended_at IS NULL AND NOT a.node_id = ANY(:down_nodes::uuid[])
        AND EXISTS (SELECT FROM nodes WHERE nodes.id = a.node_id) AND a.started_at > now() - make_interval(days => :days)
) AS live ON true
WHERE p.max_allocations IS NOT NULL OR p.max_bits_per_second IS NOT NULL OR q.project_id IS NOT NULL;

-- name: insert_quota_reached$
-- NULL when it was told before.
INSERT INTO quotas_reached (project_id) SELECT id FROM projects WHERE id = :project_id
ON CONFLICT DO NOTHING RETURNING project_id;

-- name: delete_quotas_reached!
DELETE FROM quotas_reached WHERE project_id = ANY(:project_ids::uuid[]);

-- name: newest_credentials_in_use
-- The credentials of a project's newest live allocations that nothing ends yet.
SELECT DISTINCT c.issued_at, c.id FROM (
    SELECT a.credential_id FROM allocations a
    WHERE a.project_id = :project_id AND a.ended_at IS NULL AND NOT a.node_id = ANY(:down_nodes::uuid[])
        AND EXISTS (SELECT FROM nodes WHERE nodes.id = a.node_id) AND a.started_at > now() - make_interval(days => :days)
        AND NOT EXISTS (SELECT FROM denials d WHERE d.node_id = a.node_id AND d.credential_id = a.credential_id)
    ORDER BY a.started_at DESC, a.id DESC LIMIT :excess
) AS newest JOIN credentials c ON c.id = newest.credential_id;
