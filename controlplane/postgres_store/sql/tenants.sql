-- name: token_by_id^
-- A live token with what it stands for.
SELECT t.id, t.kind, t.sha256, t.scopes, t.expires_at, t.organization_id, t.project_id
FROM tokens t WHERE t.id = :id AND t.deleted_at IS NULL;

-- name: tokens_by_ids
-- The live ones among some tokens, to confirm what a replica remembers.
SELECT t.id, t.kind, t.sha256, t.scopes, t.expires_at, t.organization_id, t.project_id
FROM tokens t WHERE t.id = ANY(:ids) AND t.deleted_at IS NULL;

-- name: projects_all
-- Every project with its organization's slug: a replica keeps them in memory.
SELECT p.id, p.organization_id, o.slug AS organization_slug, p.slug, p.max_ttl_seconds, p.is_default
FROM projects p JOIN organizations o ON o.id = p.organization_id;

-- name: organization_by_slug^
SELECT id FROM organizations WHERE slug = :slug;

-- name: project_by_slug^
SELECT id FROM projects WHERE organization_id = :organization_id AND slug = :slug;

-- name: insert_organization!
INSERT INTO organizations (id, slug, name) VALUES (:id, :slug, :name);

-- name: insert_project!
-- The first project of an organization is its default.
INSERT INTO projects (id, organization_id, slug, name, is_default) VALUES (:id, :organization_id, :slug, :name,
    NOT EXISTS (SELECT FROM projects WHERE organization_id = :organization_id AND is_default));

-- name: insert_token!
INSERT INTO tokens (id, kind, organization_id, project_id, sha256, name, scopes, expires_at)
VALUES (:id, :kind, :organization_id, :project_id, :sha256, :name, :scopes, :expires_at);
