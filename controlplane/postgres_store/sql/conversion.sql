-- name: conversion_counts
-- What became of the credentials that were issued in that time, by project.
WITH issued AS (
    SELECT id, project_id FROM credentials WHERE issued_at > :since AND issued_at <= :until
), used AS (
    SELECT a.credential_id, count(*) AS allocations, sum(a.bytes_from_client + a.bytes_to_client) AS bytes
    FROM allocations a JOIN issued ON issued.id = a.credential_id
    -- By the node's clock, which may be behind.
    WHERE a.started_at > :since - interval '1 minute' AND a.matched = 'matched'
    GROUP BY a.credential_id
)
SELECT
    issued.project_id,
    count(*) AS issued,
    count(*) FILTER (WHERE used.bytes >= :relayed_bytes) AS relayed,
    count(used.credential_id) AS used,
    coalesce(sum(used.allocations), 0)::bigint AS allocations
FROM issued LEFT JOIN used ON used.credential_id = issued.id
GROUP BY issued.project_id;

-- name: relaying_rates^
-- Of the sessions that relay now and were heard of a moment ago.
SELECT count(*) AS sessions, coalesce(sum(least(bits_per_second, :fastest)), 0)::double precision AS bits_per_second
FROM allocations
WHERE ended_at IS NULL AND matched = 'matched' AND bits_per_second >= :slowest AND reported_at > now() - interval '1 minute'
    AND started_at > now() - interval '1 day';
