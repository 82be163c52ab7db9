-- name: ask_for_rotation
-- Of one node, of a region, or of all. One that has a single version gets the next at once; the others wait for their turn.
WITH changed AS (
    UPDATE nodes SET
        secret_versions = CASE WHEN cardinality(secret_versions) = 1 THEN secret_versions || (secret_versions[1] + 1)
            ELSE secret_versions END,
        secret_staged_at = CASE WHEN cardinality(secret_versions) = 1 THEN now() ELSE secret_staged_at END,
        secret_signing_since = CASE WHEN cardinality(secret_versions) = 1 THEN NULL ELSE secret_signing_since END,
        secret_keys = CASE WHEN cardinality(secret_versions) = 1 THEN under_active_key(secret_keys, secret_versions[1] + 1)
            ELSE secret_keys END,
        rotation_wanted = cardinality(secret_versions) > 1
    WHERE (:node_id::uuid IS NULL OR id = :node_id) AND (:region::text IS NULL OR region = :region)
    RETURNING id, name, region, rotation_wanted AS queued
), told AS (
    INSERT INTO fleet_events (happened_at, kind, region, node_id, became, reason, detail, actor)
    SELECT now(), 'node.secret', region, id, CASE WHEN queued THEN 'queued' ELSE 'staged' END, 'rotate', :reason, :actor FROM changed
)
SELECT id, name, region, queued FROM changed ORDER BY name;

-- name: replace_secrets
-- At once: the versions so far are out, whoever holds a credential of theirs.
WITH changed AS (
    UPDATE nodes SET
        secret_floor = (SELECT max(version) FROM unnest(secret_versions) AS version) + 1,
        secret_versions = ARRAY[(SELECT max(version) FROM unnest(secret_versions) AS version) + 1],
        secret_staged_at = now(), secret_signing_since = NULL, rotation_wanted = false,
        secret_keys = under_active_key(secret_keys, (SELECT max(version) FROM unnest(secret_versions) AS version) + 1)
    WHERE (:node_id::uuid IS NULL OR id = :node_id) AND (:region::text IS NULL OR region = :region)
    RETURNING id, name, region, rotation_wanted AS queued
), told AS (
    INSERT INTO fleet_events (happened_at, kind, region, node_id, became, reason, detail, actor)
    SELECT now(), 'node.secret', region, id, 'replaced', 'emergency', :reason, :actor FROM changed
)
SELECT id, name, region, queued FROM changed ORDER BY name;

-- name: set_versions$
-- Unless somebody changed them meanwhile.
UPDATE nodes SET secret_versions = :versions::integer[], secret_signing_since = NULL,
    secret_staged_at = CASE WHEN :staged THEN now() ELSE secret_staged_at END,
    rotation_wanted = rotation_wanted AND NOT :staged,
    secret_keys = CASE WHEN :staged THEN under_active_key(secret_keys, (SELECT max(version) FROM unnest(:versions::integer[]) AS version))
        ELSE secret_keys END
WHERE id = :id AND secret_versions = :before::integer[] RETURNING true;

-- name: set_signing_since$
UPDATE nodes SET secret_signing_since = now()
WHERE id = :id AND secret_versions = :before::integer[] AND secret_signing_since IS NULL RETURNING true;

-- name: version_expiries
-- Of each version of these nodes, those that are needed still or were until a short time ago.
SELECT node_id, secret_version, latest_at FROM node_expiries WHERE node_id = ANY(:nodes::uuid[]) AND latest_at > now() - interval '1 hour';
