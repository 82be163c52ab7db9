-- name: take_leadership$
-- A new term: every later write of an older term is refused by its epoch.
UPDATE leader SET epoch = epoch + 1 RETURNING epoch;

-- name: insert_events!
-- Only while `epoch` is still the newest term.
INSERT INTO fleet_events (happened_at, kind, region, node_id, was, became, reason, detail)
SELECT batch.* FROM unnest(:happened_at::timestamptz[], :kind::text[], :region::text[], :node_id::uuid[], :was::text[],
    :became::text[], :reason::text[], :detail::text[]) AS batch
WHERE EXISTS (SELECT FROM leader WHERE leader.epoch = :epoch FOR SHARE);

-- name: last_health
-- The health that each node's last event told, so that a new leader goes on where the last one stopped.
SELECT DISTINCT ON (node_id) node_id, became FROM fleet_events WHERE kind = 'node.health' ORDER BY node_id, id DESC;
