-- name: insert_audit!
INSERT INTO audit (actor_token_id, actor_kind, address, request_id, organization_id, project_id, action, object, before, after)
VALUES (:actor_token_id, :actor_kind, :address::text::inet, :request_id, :organization_id, :project_id, :action, :object,
    :before::text::jsonb, :after::text::jsonb);

-- name: audit_where
-- Newest first; every filter may be null. An organization that was deleted is found by the slug that it had.
SELECT a.id, a.at, a.actor_token_id, a.actor_kind, host(a.address) AS address, a.request_id, o.slug AS organization_slug,
    p.slug AS project_slug, a.action, a.object, a.before::text, a.after::text
FROM audit a LEFT JOIN organizations o ON o.id = a.organization_id LEFT JOIN projects p ON p.id = a.project_id
WHERE (:organization_slug::text IS NULL OR a.organization_id IN (
        SELECT id FROM organizations WHERE slug = :organization_slug
        UNION SELECT organization_id FROM audit WHERE action = 'organization.delete' AND object = :organization_slug))
    AND (:actor_token_id::text IS NULL OR a.actor_token_id = :actor_token_id)
    AND (:action::text IS NULL OR a.action = :action)
    AND (:since::timestamptz IS NULL OR a.at >= :since)
    AND (:until::timestamptz IS NULL OR a.at < :until)
    AND (:before_id::bigint IS NULL OR a.id < :before_id)
ORDER BY a.id DESC LIMIT :rows::bigint;
