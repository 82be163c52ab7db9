-- name: directory_version^
SELECT version, tenants_version, now() AS database_at FROM directory_version;

-- name: regions_all
SELECT slug, name, city, country, latitude, longitude FROM regions ORDER BY slug;

-- name: nodes_all
SELECT * FROM nodes;

-- name: node_by_token^
SELECT * FROM nodes WHERE token_sha256 = :sha256;

-- name: region_for_update^
SELECT slug, name, city, country, latitude, longitude FROM regions WHERE slug = :slug FOR UPDATE;

-- name: put_region!
INSERT INTO regions (slug, name, city, country, latitude, longitude)
VALUES (:slug, :name, :city, :country, :latitude, :longitude)
ON CONFLICT (slug) DO UPDATE SET name = excluded.name, city = excluded.city, country = excluded.country,
    latitude = excluded.latitude, longitude = excluded.longitude;

-- name: insert_join_token!
INSERT INTO join_tokens (id, sha256, region, node_name, replaces, force, created_by, expires_at)
VALUES (:id, :sha256, :region, :node_name, :replaces, :force, :created_by, :expires_at);

-- name: join_token_for_update^
-- Locked, so that of many parallel uses exactly one wins.
SELECT id, sha256, region, node_name, replaces, force, created_by, expires_at, used_at, used_nonce, node_id
FROM join_tokens WHERE id = :id FOR UPDATE;

-- name: use_join_token!
UPDATE join_tokens SET used_at = now(), used_nonce = :nonce, node_id = :node_id WHERE id = :id;

-- name: insert_node!
INSERT INTO nodes (id, name, region, token_sha256, secret_keys)
VALUES (:id, :name, :region, :token_sha256, under_active_key('{}', 1));

-- name: set_node_token!
-- A successor that was offered to the old one is out, too.
UPDATE nodes SET token_sha256 = :token_sha256, token_generation = token_generation + 1, token_at = now(), token_wanted_at = NULL
WHERE id = :id;

-- name: ensure_partitions!
SELECT ensure_partitions('credentials', :days), ensure_partitions('allocations', :days), ensure_partitions('node_minutes', :days),
    ensure_partitions('node_ten_minutes', :days), ensure_partitions('region_minutes', :days);
