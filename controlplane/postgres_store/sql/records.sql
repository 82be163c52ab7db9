-- Lists of records. A filter that is NULL is none: these statements are planned for their values each time (see records.py),
-- so that branches which cannot match, and days outside of the range, are not even looked at.

-- name: credentials_page
-- One filter, :by, chooses an index that gives its rows in order; the others look at the first :scan of them. A client has two
-- columns and a credential up to two nodes: each in a branch of its own. Every row comes with the last that was looked at.
WITH range AS NOT MATERIALIZED (
    SELECT id, issued_at, expires_at, revoked_at, token_id, room, initiator_client, receiver_client,
        host(client_address) AS client_address, region, node_ids, selection, node_selection, degraded, fixed_region, preferred_region
    FROM credentials
    WHERE project_id = :project_id AND issued_at >= :from_at AND issued_at < :to_at
        AND (:before_at::timestamptz IS NULL OR (issued_at, id) < (:before_at, :before_id::uuid))
), scanned AS MATERIALIZED (
    (SELECT * FROM range WHERE :by = 'all' ORDER BY issued_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'room' AND room = :room::text ORDER BY issued_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'client' AND initiator_client = :client::text ORDER BY issued_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'client' AND receiver_client = :client AND initiator_client IS DISTINCT FROM :client
        ORDER BY issued_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'node' AND node_ids[1] = :node_id::uuid ORDER BY issued_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'node' AND node_ids[2] = :node_id ORDER BY issued_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'region' AND region = :region::text ORDER BY issued_at DESC, id DESC LIMIT :scan)
    ORDER BY issued_at DESC, id DESC LIMIT :scan
), matching AS (
    SELECT * FROM scanned
    WHERE (:room IS NULL OR room = :room) AND (:client IS NULL OR initiator_client = :client OR receiver_client = :client)
        AND (:node_id IS NULL OR node_ids[1] = :node_id OR node_ids[2] = :node_id) AND (:region IS NULL OR region = :region)
    ORDER BY issued_at DESC, id DESC LIMIT :limit
)
SELECT looked.*, matching.* FROM (
    SELECT count(*) OVER () AS looked_at, issued_at AS last_at, id AS last_id FROM scanned ORDER BY issued_at, id LIMIT 1
) AS looked LEFT JOIN matching ON true
ORDER BY issued_at DESC, id DESC;

-- name: credential_by_id^
SELECT id, issued_at, expires_at, revoked_at, token_id, room, initiator_client, receiver_client,
    host(client_address) AS client_address, region, node_ids, selection, node_selection, degraded, fixed_region, preferred_region
FROM credentials WHERE id = :id AND issued_at >= :from_at AND issued_at < :to_at AND project_id = :project_id;

-- name: allocations_page
-- As credentials_page.
WITH range AS NOT MATERIALIZED (
    SELECT id, started_at, ended_at, end_reason, credential_id, room, initiator_client, receiver_client,
        host(client_address) AS client_address, transport, region, node_id, bytes_from_client, bytes_to_client,
        packets_from_client, packets_to_client, bits_per_second, reported_at
    FROM allocations
    WHERE project_id = :project_id AND started_at >= :from_at AND started_at < :to_at
        AND (:before_at::timestamptz IS NULL OR (started_at, id) < (:before_at, :before_id::uuid))
), scanned AS MATERIALIZED (
    (SELECT * FROM range WHERE :by = 'all' ORDER BY started_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'credential' AND credential_id = :credential_id::uuid
        ORDER BY started_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'room' AND room = :room::text ORDER BY started_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'client' AND initiator_client = :client::text ORDER BY started_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'client' AND receiver_client = :client AND initiator_client IS DISTINCT FROM :client
        ORDER BY started_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'node' AND node_id = :node_id::uuid ORDER BY started_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'live' AND ended_at IS NULL ORDER BY started_at DESC, id DESC LIMIT :scan)
    UNION ALL
    (SELECT * FROM range WHERE :by = 'region' AND region = :region::text ORDER BY started_at DESC, id DESC LIMIT :scan)
    ORDER BY started_at DESC, id DESC LIMIT :scan
), matching AS (
    SELECT * FROM scanned
    WHERE (:room IS NULL OR room = :room) AND (:client IS NULL OR initiator_client = :client OR receiver_client = :client)
        AND (:node_id IS NULL OR node_id = :node_id) AND (:region IS NULL OR region = :region)
        AND (:credential_id IS NULL OR credential_id = :credential_id)
        AND (:live::boolean IS NULL OR (ended_at IS NULL) = :live)
    ORDER BY started_at DESC, id DESC LIMIT :limit
)
SELECT looked.*, matching.* FROM (
    SELECT count(*) OVER () AS looked_at, started_at AS last_at, id AS last_id FROM scanned ORDER BY started_at, id LIMIT 1
) AS looked LEFT JOIN matching ON true
ORDER BY started_at DESC, id DESC;

-- name: usage_page
SELECT at, key, credentials, allocations, bytes_from_client, bytes_to_client, seconds
FROM usage
WHERE project_id = :project_id AND bucket = :bucket AND dimension = :dimension AND at >= :from_at AND at < :to_at
    AND (:key::text IS NULL OR key = :key)
    AND (:after_at::timestamptz IS NULL OR (at, key) > (:after_at, :after_key::text))
ORDER BY at, key LIMIT :limit;
