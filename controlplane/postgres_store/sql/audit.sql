-- name: insert_audit!
INSERT INTO audit (actor_token_id, actor_kind, address, request_id, organization_id, project_id, action, object, before, after)
VALUES (:actor_token_id, :actor_kind, :address::text::inet, :request_id, :organization_id, :project_id, :action, :object,
    :before::text::jsonb, :after::text::jsonb);
