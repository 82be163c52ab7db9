-- name: end_silent_transactions!
-- Transactions of our own in which the client has said nothing for so long: they hold what a new leader needs.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND wait_event = 'ClientRead'
    AND xact_start IS NOT NULL AND state_change < now() - make_interval(secs => :silent_seconds);

-- name: take_leadership$
-- A new term: every later write of an older term is refused by its epoch.
UPDATE leader SET epoch = epoch + 1 RETURNING epoch;

-- name: hold_epoch$
-- Whether `epoch` is the newest term; if so, no newer one begins before the end of this transaction.
SELECT true FROM leader WHERE epoch = :epoch FOR SHARE;

-- name: insert_events!
INSERT INTO fleet_events (happened_at, kind, region, node_id, was, became, reason, detail)
SELECT batch.* FROM unnest(:happened_at::timestamptz[], :kind::text[], :region::text[], :node_id::uuid[], :was::text[],
    :became::text[], :reason::text[], :detail::text[]) AS batch;

-- name: last_health
-- The health that each node's last event told, so that a new leader goes on where the last one stopped.
SELECT DISTINCT ON (node_id) node_id, became FROM fleet_events WHERE kind = 'node.health' ORDER BY node_id, id DESC;

-- name: last_region_states
-- The same for regions: up or down.
SELECT DISTINCT ON (region) region, became FROM fleet_events WHERE kind = 'region.state' ORDER BY region, id DESC;
