-- name: webhooks_of_project
SELECT * FROM webhooks WHERE project_id = :project_id AND (:after::uuid IS NULL OR id > :after::uuid) ORDER BY id LIMIT :most;

-- name: webhook_of_project^
SELECT * FROM webhooks WHERE project_id = :project_id AND id = :id;

-- name: lock_webhook_of_project^
SELECT * FROM webhooks WHERE project_id = :project_id AND id = :id FOR NO KEY UPDATE;

-- name: lock_webhook$
-- Before its deliveries, in every transaction that changes both: in one order nobody waits for each other.
SELECT true FROM webhooks WHERE id = :id FOR NO KEY UPDATE;

-- name: lock_project$
-- Held until the end of the transaction, so that two who count its webhooks do so one after the other.
SELECT true FROM projects WHERE id = :id FOR NO KEY UPDATE;

-- name: count_webhooks$
SELECT count(*) FROM webhooks WHERE project_id = :project_id;

-- name: insert_webhook^
INSERT INTO webhooks (id, project_id, url, name, events, sealed_secret)
VALUES (:id, :project_id, :url, :name, :events::text[], :sealed_secret)
RETURNING *;

-- name: update_webhook^
-- Another address, or switching on, starts with a clean slate.
UPDATE webhooks SET url = :url, name = :name, events = :events::text[], inactive_because = :inactive_because,
    failures = CASE WHEN :afresh THEN 0 ELSE failures END,
    failing_since = CASE WHEN :afresh THEN NULL ELSE failing_since END,
    rests_until = CASE WHEN :afresh THEN NULL ELSE rests_until END
WHERE id = :id
RETURNING *;

-- name: rotate_webhook_secret!
UPDATE webhooks SET sealed_old_secret = sealed_secret, old_secret_until = :old_secret_until, sealed_secret = :sealed_secret
WHERE id = :id;

-- name: delete_webhook!
DELETE FROM webhooks WHERE id = :id;

-- name: deliveries_of_webhook
SELECT id, event_id, type, state, attempts, created_at, next_attempt_at, last_attempt_at, last_status, last_error
FROM webhook_deliveries
WHERE webhook_id = :webhook_id AND (:state::text IS NULL OR state = :state::text)
    AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at::timestamptz, :before_id::uuid))
ORDER BY created_at DESC, id DESC LIMIT :most;
