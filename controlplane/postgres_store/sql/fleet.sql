-- name: directory_version^
SELECT version, tenants_version, now() AS database_at FROM directory_version;

-- name: regions_all
SELECT slug, name, city, country, latitude, longitude FROM regions ORDER BY slug;

-- name: nodes_all
SELECT id, name, region, token_sha256, intent, intent_reason, intent_at, intent_by, drain_deadline_at, drain_force,
    secrets_withdrawn_at, drained_at, secret_versions, secret_staged_at, secret_signing_since, rotation_wanted, secret_floor, secret_keys, joined_at
FROM nodes;

-- name: node_by_token^
SELECT id, name, region, token_sha256, intent, intent_reason, intent_at, intent_by, drain_deadline_at, drain_force,
    secrets_withdrawn_at, drained_at, secret_versions, secret_staged_at, secret_signing_since, rotation_wanted, secret_floor, secret_keys, joined_at
FROM nodes WHERE token_sha256 = :sha256;

-- name: region_for_update^
SELECT slug, name, city, country, latitude, longitude FROM regions WHERE slug = :slug FOR UPDATE;

-- name: put_region!
INSERT INTO regions (slug, name, city, country, latitude, longitude)
VALUES (:slug, :name, :city, :country, :latitude, :longitude)
ON CONFLICT (slug) DO UPDATE SET name = excluded.name, city = excluded.city, country = excluded.country,
    latitude = excluded.latitude, longitude = excluded.longitude;

-- name: insert_join_token!
INSERT INTO join_tokens (id, sha256, region, node_name, created_by, expires_at)
VALUES (:id, :sha256, :region, :node_name, :created_by, :expires_at);

-- name: join_token_for_update^
-- Locked, so that of many parallel uses exactly one wins.
SELECT id, sha256, region, node_name, expires_at, used_at, used_nonce, node_id FROM join_tokens WHERE id = :id FOR UPDATE;

-- name: use_join_token!
UPDATE join_tokens SET used_at = now(), used_nonce = :nonce, node_id = :node_id WHERE id = :id;

-- name: insert_node!
INSERT INTO nodes (id, name, region, token_sha256, secret_keys)
VALUES (:id, :name, :region, :token_sha256, under_active_key('{}', 1));

-- name: set_node_token!
UPDATE nodes SET token_sha256 = :token_sha256 WHERE id = :id;

-- name: ensure_partitions!
SELECT ensure_partitions('credentials', :days), ensure_partitions('allocations', :days);
