-- name: node_for_update^
SELECT * FROM nodes WHERE id = :id FOR UPDATE;

-- name: set_intent!
-- A drain that goes on keeps how far it has come; one that begins, or anything else, starts at its beginning.
UPDATE nodes SET intent = :intent, intent_reason = :reason, intent_by = :by,
    intent_at = CASE WHEN intent = :intent THEN intent_at ELSE now() END,
    drain_deadline_at = CASE WHEN :intent = 'draining' THEN now() + make_interval(secs => :deadline_seconds) END,
    drain_force = :force,
    secrets_withdrawn_at = CASE WHEN intent = :intent THEN secrets_withdrawn_at END,
    drained_at = CASE WHEN intent = :intent THEN drained_at END
WHERE id = :id;

-- name: insert_node_event!
INSERT INTO fleet_events (happened_at, kind, region, node_id, was, became, reason, detail, actor)
VALUES (now(), :kind, :region, :node_id, :was, :became, :reason, :detail, :actor);

-- name: insert_forgotten_event!
-- With its name, which nobody else knows any more.
INSERT INTO fleet_events (happened_at, kind, region, node_id, node_name, reason, detail, actor)
VALUES (now(), 'node.forgotten', :region, :node_id, :name, :reason, :name, :actor);

-- name: latest_expiries
-- Of each of these nodes, over all secret versions.
SELECT node_id, max(latest_at) AS latest_at FROM node_expiries WHERE node_id = ANY(:nodes::uuid[]) GROUP BY node_id;

-- name: withdraw_secrets$
-- Unless it was undrained meanwhile, or its drain is another one now than was decided on.
UPDATE nodes SET secrets_withdrawn_at = now()
WHERE id = :id AND intent_at = :since_at AND drain_deadline_at = :deadline_at AND secrets_withdrawn_at IS NULL RETURNING true;

-- name: restore_secrets$
UPDATE nodes SET secrets_withdrawn_at = NULL
WHERE id = :id AND intent_at = :since_at AND drain_deadline_at = :deadline_at AND drained_at IS NULL RETURNING true;

-- name: set_drained$
UPDATE nodes SET drained_at = now()
WHERE id = :id AND intent_at = :since_at AND secrets_withdrawn_at = :withdrawn_at AND drained_at IS NULL RETURNING true;

-- name: delete_node!
DELETE FROM nodes WHERE id = :id;

-- name: delete_node_expiries!
DELETE FROM node_expiries WHERE node_id = :id;
