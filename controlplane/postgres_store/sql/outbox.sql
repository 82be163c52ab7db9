-- name: insert_outbox!
-- Nothing where nobody wants to be told.
INSERT INTO outbox (event_id, project_id, type, body)
SELECT :event_id, :project_id, :type, :body
WHERE EXISTS (
    SELECT FROM webhooks
    WHERE inactive_because IS NULL AND :type = ANY (events) AND (:project_id::uuid IS NULL OR project_id = :project_id::uuid)
);

-- name: insert_outbox_many!
-- As above, for many events of projects.
INSERT INTO outbox (event_id, project_id, type, body)
SELECT event_id, project_id, :type, body
FROM unnest(:event_ids::uuid[], :project_ids::uuid[], :bodies::text[]) AS event (event_id, project_id, body)
WHERE EXISTS (
    SELECT FROM webhooks
    WHERE inactive_because IS NULL AND :type = ANY (webhooks.events) AND webhooks.project_id = event.project_id
);

-- name: expand_outbox$
-- One delivery per event and webhook that wants it; how many events were taken.
WITH taken AS (
    DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING event_id, project_id, type, body
), made AS (
    INSERT INTO webhook_deliveries (webhook_id, event_id, type, body)
    SELECT webhooks.id, taken.event_id, taken.type, taken.body
    FROM taken
    JOIN webhooks ON webhooks.inactive_because IS NULL AND taken.type = ANY (webhooks.events)
        AND (taken.project_id IS NULL OR taken.project_id = webhooks.project_id)
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM taken;
