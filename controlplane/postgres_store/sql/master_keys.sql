-- name: lock_master_keys!
-- One after another: who agrees is counted once.
SELECT pg_advisory_xact_lock(x'6B657973'::int);

-- name: announce_keys!
WITH gone AS (DELETE FROM key_holders WHERE seen_at < now() - interval '1 hour')
INSERT INTO key_holders (process_id, current_key, known_keys, seen_at) VALUES (:process_id, :current, :known::text[], now())
ON CONFLICT (process_id) DO UPDATE SET seen_at = now();

-- name: leave_keys!
DELETE FROM key_holders WHERE process_id = :process_id;

-- name: key_in_use$
SELECT key_id FROM master_keys ORDER BY number DESC LIMIT 1;

-- name: use_key$
-- When every process that was seen lately has it as its current key, and the one so far, too.
INSERT INTO master_keys (key_id)
SELECT :key WHERE NOT EXISTS (
    SELECT FROM key_holders
    WHERE seen_at > now() - make_interval(secs => :seconds) AND (current_key <> :key OR NOT known_keys @> ARRAY[:so_far::text])
)
RETURNING true;

-- name: use_key_regardless!
INSERT INTO master_keys (key_id) VALUES (:key);

-- name: want_other_node_tokens!
-- Those that were derived from the key before: whoever has it could make them.
UPDATE nodes SET token_wanted_at = now() WHERE token_generation > 0 AND token_wanted_at IS NULL;

-- name: tell_key_change!
INSERT INTO fleet_events (happened_at, kind, was, became, reason, detail)
VALUES (now(), 'fleet.master_key', :was, :became, '', 'What is made from now on comes from the new one.');

-- name: name_key!
-- Of nodes that a process joined which knew no keys yet.
UPDATE nodes SET secret_keys = ARRAY['1:' || :key] WHERE secret_keys = '{}';

-- name: master_key_status^
SELECT key_id, adopted_at,
    (SELECT count(*) FROM webhooks
        WHERE encode(substr(sealed_secret, 1, 4), 'hex') <> key_id OR encode(substr(sealed_old_secret, 1, 4), 'hex') <> key_id) AS webhooks,
    (SELECT count(*) FROM key_holders WHERE seen_at > now() - make_interval(secs => :seconds) AND current_key = key_id) AS with_it,
    (SELECT count(*) FROM key_holders WHERE seen_at > now() - make_interval(secs => :seconds) AND current_key <> key_id) AS with_another
FROM master_keys ORDER BY number DESC LIMIT 1;

-- name: webhooks_sealed_otherwise
-- With one of these keys, and not with the one in use; those after an id.
SELECT id, sealed_secret, sealed_old_secret FROM webhooks
WHERE id > :after AND (
    encode(substr(sealed_secret, 1, 4), 'hex') = ANY(:others::text[])
    OR encode(substr(sealed_old_secret, 1, 4), 'hex') = ANY(:others::text[]))
ORDER BY id LIMIT :most;

-- name: seal_webhook_again!
-- Unless it was rotated meanwhile.
UPDATE webhooks SET sealed_secret = :sealed, sealed_old_secret = :sealed_old
WHERE id = :id AND sealed_secret = :before AND sealed_old_secret IS NOT DISTINCT FROM :before_old;
