-- name: lock_revocations!
-- Waits for the inserts of records under way; later ones wait for this transaction.
SELECT pg_advisory_xact_lock(:key);

-- name: lock_denials!
-- Held until the commit: the numbers of denials become visible in their order.
SELECT pg_advisory_xact_lock(:key);

-- name: instant_to_revoke$
-- The later of PostgreSQL's clock, read when the lock is ours, and the caller's.
SELECT greatest(clock_timestamp(), :at::timestamptz);

-- name: owners_of_credentials
SELECT id, project_id FROM credentials WHERE id = ANY(:ids::uuid[]);

-- name: insert_revocations
-- One rule per value.
INSERT INTO revocations (project_id, kind, value, revoked_at, expires_at, actor_token_id)
SELECT :project_id, :kind, value, :revoked_at, :expires_at, :actor_token_id FROM unnest(:values::text[]) AS value
RETURNING id;

-- name: unapplied_revocations
-- The older ones: those of this moment are being applied by who made them. Projects are left to the leader.
SELECT id, project_id, kind, value, revoked_at FROM revocations
WHERE applied_at IS NULL AND (kind = 'project' OR revoked_at < now() - make_interval(secs => :older_seconds)) ORDER BY id LIMIT 100;

-- name: set_revocations_applied!
UPDATE revocations SET applied_at = now() WHERE id = ANY(:ids::bigint[]);

-- name: credentials_to_deny_by_id
SELECT issued_at, id FROM credentials
WHERE id = ANY(:values::text[]::uuid[]) AND project_id = :project_id AND revoked_at IS NULL
LIMIT :chunk;

-- name: credentials_to_deny_of_room
-- Those that can still matter: valid now, or shortly before (what was allocated with them may not be known yet), or in use.
SELECT issued_at, id FROM credentials
WHERE project_id = :project_id AND room = ANY(:values::text[]) AND revoked_at IS NULL
    AND issued_at > :oldest AND issued_at <= :revoked_at AND expires_at > :valid_after
UNION
SELECT c.issued_at, c.id FROM allocations a JOIN credentials c ON c.id = a.credential_id
WHERE a.project_id = :project_id AND a.room = ANY(:values::text[]) AND a.ended_at IS NULL
    AND c.project_id = :project_id AND c.issued_at <= :revoked_at AND c.revoked_at IS NULL
LIMIT :chunk;

-- name: credentials_to_deny_of_client
SELECT issued_at, id FROM credentials
WHERE project_id = :project_id AND initiator_client = ANY(:values::text[]) AND revoked_at IS NULL
    AND issued_at > :oldest AND issued_at <= :revoked_at AND expires_at > :valid_after
UNION
SELECT issued_at, id FROM credentials
WHERE project_id = :project_id AND receiver_client = ANY(:values::text[]) AND revoked_at IS NULL
    AND issued_at > :oldest AND issued_at <= :revoked_at AND expires_at > :valid_after
UNION
SELECT c.issued_at, c.id FROM allocations a JOIN credentials c ON c.id = a.credential_id
WHERE a.project_id = :project_id AND a.ended_at IS NULL
    AND (a.initiator_client = ANY(:values::text[]) OR a.receiver_client = ANY(:values::text[]))
    AND c.project_id = :project_id AND c.issued_at <= :revoked_at AND c.revoked_at IS NULL
LIMIT :chunk;

-- name: credentials_to_deny_of_project
-- All that it ever issued: another replica may have gone on for a moment after its deletion.
SELECT issued_at, id FROM credentials
WHERE project_id = :project_id AND revoked_at IS NULL
    AND issued_at > :oldest AND expires_at > :valid_after AND :revoked_at::timestamptz IS NOT NULL
UNION
SELECT c.issued_at, c.id FROM allocations a JOIN credentials c ON c.id = a.credential_id
WHERE a.project_id = :project_id AND a.ended_at IS NULL
    AND c.project_id = :project_id AND c.revoked_at IS NULL
LIMIT :chunk;

-- name: credentials_in_use_to_deny
-- Live allocations that a rule covers and no denial ends: an agent that was cut off has told of them only now.
WITH covered AS (
    SELECT a.credential_id, a.node_id FROM revocations r JOIN allocations a ON a.credential_id = r.value::uuid
    WHERE r.kind = 'credential' AND r.expires_at > now() AND a.project_id = r.project_id AND a.ended_at IS NULL
    UNION ALL
    SELECT a.credential_id, a.node_id FROM revocations r JOIN allocations a ON a.project_id = r.project_id AND a.room = r.value
    WHERE r.kind = 'room' AND r.expires_at > now() AND a.ended_at IS NULL
        AND instant_of_uuid7(a.credential_id) <= r.revoked_at
    UNION ALL
    SELECT a.credential_id, a.node_id
    FROM revocations r JOIN allocations a ON a.project_id = r.project_id AND a.initiator_client = r.value
    WHERE r.kind = 'client' AND r.expires_at > now() AND a.ended_at IS NULL
        AND instant_of_uuid7(a.credential_id) <= r.revoked_at
    UNION ALL
    SELECT a.credential_id, a.node_id
    FROM revocations r JOIN allocations a ON a.project_id = r.project_id AND a.receiver_client = r.value
    WHERE r.kind = 'client' AND r.expires_at > now() AND a.ended_at IS NULL
        AND instant_of_uuid7(a.credential_id) <= r.revoked_at
    UNION ALL
    SELECT a.credential_id, a.node_id FROM revocations r JOIN allocations a ON a.project_id = r.project_id
    WHERE r.kind = 'project' AND r.expires_at > now() AND a.ended_at IS NULL
), undenied AS (
    SELECT DISTINCT credential_id, node_id FROM covered
    WHERE NOT EXISTS (SELECT FROM denials d WHERE d.node_id = covered.node_id AND d.credential_id = covered.credential_id)
)
SELECT DISTINCT c.issued_at, c.id FROM undenied JOIN credentials c ON c.id = undenied.credential_id
WHERE undenied.node_id = ANY(c.node_ids) AND EXISTS (SELECT FROM nodes WHERE nodes.id = undenied.node_id)
LIMIT :chunk;

-- name: deny_credentials
-- At every node that they were for. The bounds keep PostgreSQL away from the partitions of other days.
WITH chosen AS (
    SELECT * FROM unnest(:issued_at::timestamptz[], :ids::uuid[]) AS chosen (issued_at, id)
), revoked AS (
    UPDATE credentials c SET revoked_at = coalesce(c.revoked_at, now())
    FROM chosen WHERE c.issued_at = chosen.issued_at AND c.id = chosen.id AND c.issued_at BETWEEN :first_at AND :last_at
    RETURNING c.id, c.project_id, c.region, c.room, c.initiator_client, c.receiver_client, c.issued_at, c.expires_at,
        c.revoked_at, c.node_ids
), denied AS (
    INSERT INTO denials (node_id, credential_id, expires_at, reason)
    SELECT nodes.id, revoked.id, revoked.expires_at, :reason FROM revoked JOIN nodes ON nodes.id = ANY(revoked.node_ids)
    ON CONFLICT DO NOTHING
)
SELECT id, project_id, region, room, initiator_client, receiver_client, issued_at, expires_at, revoked_at,
    revoked_at = now() AS is_new FROM revoked;

-- name: denials_after
SELECT number, node_id, credential_id, expires_at FROM denials WHERE number > :number ORDER BY number LIMIT :chunk;

-- name: last_denial_number$
-- At least the number of every denial that was ever committed.
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM denial_numbers;

-- name: delete_settled_denials!
-- Acknowledged by the node, expired, and ending no allocation any more; or of a node that does not return.
DELETE FROM denials d
WHERE d.denied_at < now() - make_interval(days => :forgotten_days)
    OR NOT EXISTS (SELECT FROM nodes WHERE nodes.id = d.node_id)
    OR (d.expires_at < now() - make_interval(secs => :margin_seconds)
        AND d.number <= (SELECT max(acked.number) FROM unnest(:node_ids::uuid[], :numbers::bigint[]) AS acked (node_id, number)
                         WHERE acked.node_id = d.node_id)
        AND NOT EXISTS (SELECT FROM allocations a WHERE a.credential_id = d.credential_id AND a.node_id = d.node_id
                        AND a.ended_at IS NULL));

-- name: delete_expired_revocations!
DELETE FROM revocations WHERE expires_at < now();
