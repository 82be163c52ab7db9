-- name: token_by_id^
-- A live token with what it stands for.
SELECT id, kind, sha256, scopes, expires_at, organization_id, project_id FROM tokens WHERE id = :id AND deleted_at IS NULL;

-- name: tokens_by_ids
-- The live ones among some tokens, to confirm what a replica remembers.
SELECT id, kind, sha256, scopes, expires_at, organization_id, project_id FROM tokens WHERE id = ANY(:ids) AND deleted_at IS NULL;

-- name: tokens_where
-- Every filter may be null. A page begins after the place (created_at, id). Those of operators only with `operators`.
SELECT t.id AS token_id, t.kind, t.organization_id, o.slug AS organization_slug, t.project_id, p.slug AS project_slug, t.name,
    t.scopes, t.created_at, t.created_by, t.expires_at, u.last_used_at, t.successor_id
FROM tokens t LEFT JOIN organizations o ON o.id = t.organization_id LEFT JOIN projects p ON p.id = t.project_id
    LEFT JOIN token_uses u ON u.token_id = t.id
WHERE t.deleted_at IS NULL AND (:operators::boolean OR t.kind <> 'operator')
    AND (:id::text IS NULL OR t.id = :id)
    AND (:organization_id::uuid IS NULL OR t.organization_id = :organization_id)
    AND (:project_id::uuid IS NULL OR t.project_id = :project_id)
    AND (:organization_slug::text IS NULL OR o.slug = :organization_slug)
    AND (:project_slug::text IS NULL OR p.slug = :project_slug)
    AND (:kind::text IS NULL OR t.kind = :kind)
    AND (:after_id::text IS NULL OR (t.created_at, t.id) < (:after_created_at::timestamptz, :after_id))
ORDER BY t.created_at DESC, t.id DESC LIMIT :rows::bigint;

-- name: insert_token!
INSERT INTO tokens (id, kind, organization_id, project_id, sha256, name, scopes, expires_at, created_by)
VALUES (:id, :kind, :organization_id, :project_id, :sha256, :name, :scopes, :expires_at, :created_by);

-- name: save_token!
UPDATE tokens SET name = :name, scopes = :scopes, expires_at = :expires_at, successor_id = :successor_id WHERE id = :token_id;

-- name: delete_token!
UPDATE tokens SET deleted_at = now() WHERE id = :token_id;

-- name: note_token_uses!
-- In the order of ids, so that two replicas cannot wait for each other. A token that is gone by now has no use to note.
INSERT INTO token_uses (token_id, last_used_at)
SELECT used.token_id, used.last_used_at FROM unnest(:token_ids::text[], :last_used_at::timestamptz[]) AS used (token_id, last_used_at)
JOIN tokens ON tokens.id = used.token_id ORDER BY used.token_id
ON CONFLICT (token_id) DO UPDATE SET last_used_at = greatest(token_uses.last_used_at, excluded.last_used_at);
