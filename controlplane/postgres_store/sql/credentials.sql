-- name: insert_credentials!
-- A batch of issues as a JSON list. Sending a batch again changes nothing.
INSERT INTO credentials (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions, selection, degraded,
    initiator_client, receiver_client, room, client_address, fixed_region, preferred_region)
SELECT issued_at, credential_id, project_id, token_id, expires_at, region, node_ids, secret_versions, selection, degraded,
    initiator_client, receiver_client, room, client_address, fixed_region, preferred_region
FROM json_to_recordset(:batch::json) AS batch (issued_at timestamptz, credential_id uuid, project_id uuid, token_id text,
    expires_at timestamptz, region text, node_ids uuid[], secret_versions integer[], selection text, degraded boolean,
    initiator_client text, receiver_client text, room text, client_address inet, fixed_region text, preferred_region text)
ON CONFLICT (issued_at, id) DO NOTHING;
