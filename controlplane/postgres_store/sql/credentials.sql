-- name: await_revocations!
-- Shared by all who insert records: whoever revokes waits for the inserts under way, and the later ones see the rule.
SELECT pg_advisory_xact_lock_shared(:key);

-- name: insert_credentials
-- A batch of issues as a JSON list. Sending a batch again changes nothing: only what was really inserted is counted. Returns
-- those that were revoked before their record arrived.
WITH batch AS (
    SELECT * FROM json_to_recordset(:batch::json) AS batch (issued_at timestamptz, credential_id uuid, project_id uuid,
        token_id text, expires_at timestamptz, region text, node_ids uuid[], secret_versions integer[], selection text,
        degraded boolean, initiator_client text, receiver_client text, room text, client_address inet, fixed_region text,
        preferred_region text, node_selection text)
), inserted AS (
    INSERT INTO credentials (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions, selection,
        degraded, initiator_client, receiver_client, room, client_address, fixed_region, preferred_region,
        node_selection)
    SELECT issued_at, credential_id, project_id, token_id, expires_at, region, node_ids, secret_versions, selection, degraded,
        initiator_client, receiver_client, room, client_address, fixed_region, preferred_region, node_selection
    FROM batch
    ON CONFLICT (issued_at, id) DO NOTHING
    RETURNING issued_at, id, project_id, region, node_ids, initiator_client, receiver_client, room
), counted AS (
    INSERT INTO usage_deltas (project_id, at, dimension, key, first_at, last_at, credentials)
    SELECT project_id, date_trunc('hour', issued_at, 'UTC'), dimension, key, min(issued_at), max(issued_at), count(*)
    FROM inserted CROSS JOIN LATERAL (
        VALUES ('project', ''), ('room', room), ('client', initiator_client),
            ('client', CASE WHEN receiver_client IS DISTINCT FROM initiator_client THEN receiver_client END), ('region', region)
        UNION ALL SELECT 'node', node_id::text FROM unnest(node_ids) AS node_id
    ) AS named (dimension, key)
    WHERE key IS NOT NULL
    GROUP BY 1, 2, 3, 4
)
SELECT DISTINCT i.issued_at, i.id
FROM inserted i CROSS JOIN LATERAL (
    VALUES ('credential', i.id::text), ('room', i.room), ('client', i.initiator_client), ('client', i.receiver_client),
        ('project', '')
) AS named (kind, value)
JOIN revocations r ON r.project_id = i.project_id AND r.kind = named.kind AND r.value = named.value
WHERE r.expires_at > now() AND (r.kind IN ('credential', 'project') OR r.revoked_at >= i.issued_at);

-- name: note_expiries!
-- Until when each node must hold the secret that these were signed with, to the next quarter of a minute: a row that would not
-- move is not touched. In order, so that two batches never wait for each other.
INSERT INTO node_expiries (node_id, secret_version, latest_at)
SELECT batch.node_id, batch.secret_version, batch.latest_at
FROM (
    SELECT node_id, secret_version, to_timestamp(ceil(extract(epoch FROM max(expires_at)) / 15) * 15) AS latest_at
    FROM json_to_recordset(:batch::json) AS issue (expires_at timestamptz, node_ids uuid[], secret_versions integer[])
    CROSS JOIN LATERAL unnest(node_ids, secret_versions) AS signed (node_id, secret_version)
    WHERE node_id IS NOT NULL AND secret_version IS NOT NULL
    GROUP BY node_id, secret_version
) AS batch
LEFT JOIN node_expiries known USING (node_id, secret_version)
WHERE known.latest_at IS NULL OR known.latest_at < batch.latest_at
ORDER BY batch.node_id, batch.secret_version
ON CONFLICT (node_id, secret_version) DO UPDATE SET latest_at = greatest(node_expiries.latest_at, excluded.latest_at);
