-- name: insert_outbox!
INSERT INTO outbox (event_id, project_id, type, happened_at, data)
VALUES (:event_id, :project_id, :type, :happened_at, :data::text::jsonb);
