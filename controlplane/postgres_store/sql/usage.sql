-- name: credentials_of_usage
-- The records of some credentials, each looked for in the day that its id tells, with what their projects want.
SELECT c.id, c.project_id, c.room, c.initiator_client, c.receiver_client, c.node_ids,
    coalesce(p.client_address_policy, 'drop') AS client_address_policy, coalesce(p.end_at_expiry, false) AS end_at_expiry,
    p.credential_max_allocations, p.credential_max_bits_per_second
FROM unnest(:ids::uuid[], :earliest::timestamptz[], :latest::timestamptz[]) AS wanted (id, earliest, latest)
CROSS JOIN LATERAL (
    SELECT * FROM credentials WHERE credentials.id = wanted.id AND issued_at BETWEEN wanted.earliest AND wanted.latest LIMIT 1
) AS c
LEFT JOIN projects p ON p.id = c.project_id;

-- name: upsert_allocations$
-- A batch of reports as a JSON list, in the order of the key so that two of them never wait for each other in a circle.
-- Totals only grow; whether it lives is what the newest revision says, since a client may allocate anew in the same session.
-- Returns how many were news.
WITH upserted AS (
    INSERT INTO allocations AS a (started_at, id, node_id, region, coturn_boot_id, session_id, credential_id,
        credential_expires_at, project_id, room, initiator_client, receiver_client, client_address, transport,
        bytes_from_client, bytes_to_client, packets_from_client, packets_to_client, bits_per_second, ended_at, end_reason,
        revision, matched, uncounted)
    SELECT started_at, id, :node_id::uuid, :region::text, coturn_boot_id, session_id, credential_id, credential_expires_at,
        project_id, room, initiator_client, receiver_client, client_address, transport, bytes_from_client, bytes_to_client,
        packets_from_client, packets_to_client, bits_per_second, ended_at, end_reason, revision,
        CASE WHEN project_id IS NULL THEN 'pending' ELSE 'matched' END, project_id IS NOT NULL
    FROM json_to_recordset(:batch::text::json) AS told (started_at timestamptz, id uuid, coturn_boot_id text, session_id text,
        credential_id uuid, credential_expires_at timestamptz, project_id uuid, room text, initiator_client text,
        receiver_client text, client_address inet, transport text, bytes_from_client bigint, bytes_to_client bigint,
        packets_from_client bigint, packets_to_client bigint, bits_per_second bigint, ended_at timestamptz, end_reason text,
        revision bigint)
    ORDER BY started_at, id
    ON CONFLICT (started_at, id) DO UPDATE SET
        project_id = CASE WHEN a.matched = 'pending' THEN excluded.project_id ELSE a.project_id END,
        room = CASE WHEN a.matched = 'pending' THEN excluded.room ELSE a.room END,
        initiator_client = CASE WHEN a.matched = 'pending' THEN excluded.initiator_client ELSE a.initiator_client END,
        receiver_client = CASE WHEN a.matched = 'pending' THEN excluded.receiver_client ELSE a.receiver_client END,
        matched = CASE WHEN a.matched = 'pending' THEN excluded.matched ELSE a.matched END,
        uncounted = a.matched = 'matched' OR a.matched = 'pending' AND excluded.matched = 'matched',
        client_address = CASE WHEN a.matched <> 'foreign' THEN coalesce(a.client_address, excluded.client_address) END,
        credential_expires_at = coalesce(excluded.credential_expires_at, a.credential_expires_at),
        transport = coalesce(excluded.transport, a.transport),
        bytes_from_client = greatest(a.bytes_from_client, excluded.bytes_from_client),
        bytes_to_client = greatest(a.bytes_to_client, excluded.bytes_to_client),
        packets_from_client = greatest(a.packets_from_client, excluded.packets_from_client),
        packets_to_client = greatest(a.packets_to_client, excluded.packets_to_client),
        bits_per_second = excluded.bits_per_second,
        ended_at = excluded.ended_at,
        end_reason = excluded.end_reason,
        revision = excluded.revision,
        reported_at = now()
    WHERE excluded.revision > a.revision
    RETURNING 1
)
SELECT count(*) FROM upserted;

-- name: find_rows_by_key!
-- For the transaction: some rows are joined by their key to a large table that may never have been analysed.
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);

-- name: due_pending_allocations
-- Those whose credential's record may have arrived. One that is being reported waits for the next time.
SELECT started_at, id, node_id, region, credential_id, first_reported_at, now() AS asked_at
FROM allocations WHERE matched = 'pending' AND match_at <= now()
ORDER BY match_at LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: settle_allocations!
UPDATE allocations a SET matched = told.matched, uncounted = told.matched = 'matched', match_at = told.match_at,
    project_id = told.project_id, room = told.room, initiator_client = told.initiator_client,
    receiver_client = told.receiver_client
FROM json_to_recordset(:batch::text::json) AS told (started_at timestamptz, id uuid, matched text, match_at timestamptz,
    project_id uuid, room text, initiator_client text, receiver_client text)
WHERE a.started_at = told.started_at AND a.id = told.id;

-- name: count_allocations
-- What is not counted yet of some allocations becomes counted and goes to the deltas, in one statement. Minutes of a live one
-- reach until its last report. Returns how many were picked beside each of them that began or ended, or alone.
WITH picked AS MATERIALIZED (
    SELECT *, greatest(counted_seconds, extract(epoch FROM coalesce(ended_at, reported_at) - started_at)) AS seconds
    FROM allocations WHERE uncounted ORDER BY started_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
), counted AS (
    UPDATE allocations a SET uncounted = false, counted_allocations = 1, counted_bytes_from_client = p.bytes_from_client,
        counted_bytes_to_client = p.bytes_to_client, counted_seconds = p.seconds, end_told = p.end_told OR p.ended_at IS NOT NULL
    FROM picked p WHERE a.started_at = p.started_at AND a.id = p.id
), differences AS (
    INSERT INTO usage_deltas (project_id, at, dimension, key, first_at, last_at, allocations, bytes_from_client,
        bytes_to_client, seconds)
    SELECT project_id, date_trunc('hour', reported_at, 'UTC'), dimension, key, min(started_at),
        max(coalesce(ended_at, reported_at)), sum(1 - counted_allocations),
        bounded_sum(sum(bytes_from_client - counted_bytes_from_client), 0),
        bounded_sum(sum(bytes_to_client - counted_bytes_to_client), 0), sum(seconds - counted_seconds)
    FROM picked CROSS JOIN LATERAL (
        VALUES ('project', ''), ('room', room), ('client', initiator_client),
            ('client', CASE WHEN receiver_client IS DISTINCT FROM initiator_client THEN receiver_client END),
            ('region', region), ('node', node_id::text)
    ) AS named (dimension, key)
    WHERE key IS NOT NULL
    GROUP BY 1, 2, 3, 4
)
SELECT total.picked, news.*
FROM (SELECT count(*) AS picked FROM picked) AS total
LEFT JOIN (
    SELECT id, project_id, region, node_id, credential_id, room, initiator_client, receiver_client, transport, started_at,
        ended_at, end_reason, bytes_from_client, bytes_to_client, counted_allocations = 0 AS is_new,
        ended_at IS NOT NULL AND NOT end_told AS is_newly_ended
    FROM picked
) AS news ON news.is_new OR news.is_newly_ended
ORDER BY news.started_at, news.id;

-- name: fold_deltas$
-- Some deltas become sums, and are gone. Returns how many.
WITH gone AS MATERIALIZED (
    DELETE FROM usage_deltas WHERE id = ANY(ARRAY(SELECT id FROM usage_deltas ORDER BY id LIMIT :limit)) RETURNING *
), summed AS (
    INSERT INTO usage AS u (project_id, bucket, dimension, at, key, credentials, allocations, bytes_from_client,
        bytes_to_client, seconds)
    SELECT project_id, bucket, dimension, date_trunc(bucket, at, 'UTC'), key, sum(credentials), sum(allocations),
        bounded_sum(sum(bytes_from_client), 0), bounded_sum(sum(bytes_to_client), 0), sum(seconds)
    FROM gone CROSS JOIN (VALUES ('hour'), ('day')) AS buckets (bucket)
    GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (project_id, bucket, dimension, at, key) DO UPDATE SET
        credentials = u.credentials + excluded.credentials,
        allocations = u.allocations + excluded.allocations,
        bytes_from_client = bounded_sum(u.bytes_from_client, excluded.bytes_from_client),
        bytes_to_client = bounded_sum(u.bytes_to_client, excluded.bytes_to_client),
        seconds = u.seconds + excluded.seconds
), seen AS (
    INSERT INTO subjects AS s (project_id, kind, key, first_seen_at, last_seen_at, credentials, allocations, bytes_from_client,
        bytes_to_client, seconds)
    SELECT project_id, dimension, key, min(first_at), max(last_at), sum(credentials), sum(allocations),
        bounded_sum(sum(bytes_from_client), 0), bounded_sum(sum(bytes_to_client), 0), sum(seconds)
    FROM gone WHERE dimension IN ('room', 'client')
    GROUP BY 1, 2, 3
    ON CONFLICT (project_id, kind, key) DO UPDATE SET
        first_seen_at = least(s.first_seen_at, excluded.first_seen_at),
        last_seen_at = greatest(s.last_seen_at, excluded.last_seen_at),
        credentials = s.credentials + excluded.credentials,
        allocations = s.allocations + excluded.allocations,
        bytes_from_client = bounded_sum(s.bytes_from_client, excluded.bytes_from_client),
        bytes_to_client = bounded_sum(s.bytes_to_client, excluded.bytes_to_client),
        seconds = s.seconds + excluded.seconds
)
SELECT count(*) FROM gone;

-- name: projects_that_listen
-- Which of some projects have a webhook that wants to hear of allocations.
SELECT DISTINCT project_id FROM webhooks
WHERE project_id = ANY(:project_ids::uuid[]) AND inactive_because IS NULL
    AND events && ARRAY['allocation.started', 'allocation.ended'];

-- name: waiting_allocations^
-- Counted up to a bound, so that a long queue costs no more than a short one.
SELECT (SELECT count(*) FROM (SELECT FROM allocations WHERE matched = 'pending' LIMIT :limit) AS p) AS pending,
    (SELECT count(*) FROM (SELECT FROM allocations WHERE uncounted LIMIT :limit) AS u) AS uncounted;
