-- name: lock_tenants$
-- Held to the end of the transaction: changes of tenants happen one after another. Every one of them bumps this row anyway, and
-- two that took it in the middle could wait for each other.
SELECT tenants_version FROM directory_version FOR UPDATE;

-- name: projects_where
-- Every filter may be null. A page begins after the place (slug of the organization, slug); rows null: all.
SELECT p.id AS project_id, p.organization_id, o.slug AS organization_slug, p.slug, p.name, p.max_ttl_seconds,
    p.rate_limit_per_second, p.room_url_template, p.client_url_template, p.is_default, p.end_at_expiry, p.client_address_policy,
    p.max_allocations, p.max_bits_per_second, p.credential_max_allocations, p.credential_max_bits_per_second, p.created_at
FROM projects p JOIN organizations o ON o.id = p.organization_id
WHERE (:organization_id::uuid IS NULL OR p.organization_id = :organization_id)
    AND (:project_id::uuid IS NULL OR p.id = :project_id)
    AND (:organization_slug::text IS NULL OR o.slug = :organization_slug)
    AND (:slug::text IS NULL OR p.slug = :slug)
    AND (:after_slug::text IS NULL OR (o.slug, p.slug) > (:after_organization::text, :after_slug))
ORDER BY o.slug, p.slug LIMIT :rows::bigint;

-- name: save_project!
UPDATE projects SET name = :name, max_ttl_seconds = :max_ttl_seconds, rate_limit_per_second = :rate_limit_per_second,
    room_url_template = :room_url_template, client_url_template = :client_url_template, is_default = :is_default,
    end_at_expiry = :end_at_expiry, client_address_policy = :client_address_policy, max_allocations = :max_allocations,
    max_bits_per_second = :max_bits_per_second, credential_max_allocations = :credential_max_allocations,
    credential_max_bits_per_second = :credential_max_bits_per_second
WHERE id = :project_id;

-- name: delete_project!
-- Its tokens go with it.
DELETE FROM projects WHERE id = :project_id;

-- name: organizations_where
-- Both filters may be null: one slug, or the slugs after one.
SELECT o.id AS organization_id, o.slug, o.name, o.created_at,
    (SELECT count(*) FROM projects p WHERE p.organization_id = o.id) AS projects
FROM organizations o
WHERE (:slug::text IS NULL OR o.slug = :slug) AND (:after_slug::text IS NULL OR o.slug > :after_slug)
ORDER BY o.slug LIMIT :rows::bigint;

-- name: rename_organization!
UPDATE organizations SET name = :name WHERE id = :organization_id;

-- name: delete_organization!
-- Its projects and tokens go with it.
DELETE FROM organizations WHERE id = :organization_id;

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
