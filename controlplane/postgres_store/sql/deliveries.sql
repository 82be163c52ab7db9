-- name: due_webhooks
-- Those with something to send now, the longest waiting first.
SELECT webhooks.* FROM webhooks
CROSS JOIN LATERAL (
    SELECT next_attempt_at FROM webhook_deliveries
    WHERE webhook_id = webhooks.id AND state = 'pending' AND next_attempt_at <= now()
    ORDER BY next_attempt_at LIMIT 1
) AS oldest
WHERE inactive_because IS NULL AND (rests_until IS NULL OR rests_until <= now())
    AND NOT webhooks.id = ANY (:busy::uuid[]) AND NOT project_id = ANY (:busy_projects::uuid[])
ORDER BY oldest.next_attempt_at LIMIT :most;

-- name: claim_deliveries
-- For so long nobody else sends them; afterwards they are due again.
UPDATE webhook_deliveries SET next_attempt_at = now() + make_interval(secs => :lease_seconds), claimed_epoch = :epoch
WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook_id AND state = 'pending' AND next_attempt_at <= now()
    ORDER BY next_attempt_at, created_at LIMIT :most FOR UPDATE SKIP LOCKED
)
RETURNING id, event_id, type, body, attempts, created_at;

-- name: release_deliveries!
-- They were claimed and not sent.
UPDATE webhook_deliveries SET next_attempt_at = now()
WHERE id = ANY (:ids::uuid[]) AND state = 'pending' AND claimed_epoch = :epoch;

-- name: end_attempt$
-- What became of an attempt; nothing when another term has taken the delivery over.
UPDATE webhook_deliveries SET state = :state, body = CASE WHEN :state = 'pending' THEN body ELSE '' END,
    attempts = attempts + 1, last_attempt_at = now(), last_status = :status, last_error = :error,
    next_attempt_at = now() + make_interval(secs => :delay_seconds)
WHERE id = :id AND state = 'pending' AND claimed_epoch = :epoch
RETURNING true;

-- name: webhook_took!
-- Written only when it was failing: most deliveries change nothing of their webhook.
UPDATE webhooks SET failures = 0, failing_since = NULL, rests_until = NULL WHERE id = :id AND failures > 0;

-- name: webhook_failed!
UPDATE webhooks SET failures = failures + 1, failing_since = coalesce(failing_since, now()),
    rests_until = now() + make_interval(secs => :rest_seconds)
WHERE id = :id;

-- name: switch_webhook_off^
-- Whose it is; nothing when it was off already.
UPDATE webhooks SET inactive_because = :because FROM projects
WHERE webhooks.id = :id AND inactive_because IS NULL AND projects.id = webhooks.project_id
RETURNING projects.organization_id, projects.id AS project_id;

-- name: give_up_pending!
UPDATE webhook_deliveries SET state = 'given_up', body = '', last_error = :error WHERE webhook_id = :webhook_id AND state = 'pending';

-- name: forget_old_secrets!
UPDATE webhooks SET sealed_old_secret = NULL, old_secret_until = NULL WHERE old_secret_until < now();

-- name: webhook_ids
SELECT id FROM webhooks;

-- name: drop_overflow$
-- The oldest beyond the bound are given up; how many.
WITH dropped AS (
    UPDATE webhook_deliveries SET state = 'given_up', body = '', last_error = :error
    WHERE id IN (
        SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook_id AND state = 'pending'
        ORDER BY created_at DESC, id DESC OFFSET :keep LIMIT :most
    )
    RETURNING 1
)
SELECT count(*) FROM dropped;

-- name: prune_deliveries$
-- Ended ones that are old, or beyond the newest of their webhook; how many.
WITH pruned AS (
    DELETE FROM webhook_deliveries WHERE id IN (
        SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook_id AND state <> 'pending' AND created_at < greatest(
            now() - make_interval(days => :days),
            (SELECT created_at FROM webhook_deliveries WHERE webhook_id = :webhook_id
                ORDER BY created_at DESC, id DESC OFFSET :keep LIMIT 1)
        ) ORDER BY created_at LIMIT :most
    )
    RETURNING 1
)
SELECT count(*) FROM pruned;
