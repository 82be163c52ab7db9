-- name: insert_credentials!
-- A batch of issues, one array per column. Sending a batch again changes nothing.
INSERT INTO credentials (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions, selection, degraded,
    initiator_client, receiver_client, room, client_address, fixed_region, preferred_region)
SELECT issued_at, id, project_id, token_id, expires_at, region,
    string_to_array(node_ids, ',')::uuid[], string_to_array(secret_versions, ',')::integer[], selection, degraded,
    initiator_client, receiver_client, room, client_address, fixed_region, preferred_region
FROM unnest(:issued_at::timestamptz[], :id::uuid[], :project_id::uuid[], :token_id::text[], :expires_at::timestamptz[],
    :region::text[], :node_ids::text[], :secret_versions::text[], :selection::text[], :degraded::boolean[],
    :initiator_client::text[], :receiver_client::text[], :room::text[], :client_address::inet[], :fixed_region::text[],
    :preferred_region::text[])
    AS batch (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions, selection, degraded,
    initiator_client, receiver_client, room, client_address, fixed_region, preferred_region)
ON CONFLICT (issued_at, id) DO NOTHING;
