-- name: put_findings!
INSERT INTO node_findings (node_id, reported_at, source_address, found) VALUES (:node_id, now(), :source_address, :found)
ON CONFLICT (node_id) DO UPDATE SET reported_at = excluded.reported_at, source_address = excluded.source_address,
    found = excluded.found;

-- name: findings_of^
SELECT reported_at, host(source_address) AS source_address, found FROM node_findings WHERE node_id = :node_id;
