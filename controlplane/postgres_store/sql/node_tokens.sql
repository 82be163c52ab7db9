-- name: want_node_token$
-- Whether nobody had asked for it before.
UPDATE nodes SET token_wanted_at = now() WHERE id = :id AND token_wanted_at IS NULL RETURNING true;

-- name: want_old_node_token$
-- The same, unless the token is another one by now than was decided on.
UPDATE nodes SET token_wanted_at = now()
WHERE id = :id AND token_wanted_at IS NULL AND token_generation = :generation RETURNING true;

-- name: take_node_token$
-- Its node has used the successor: from now on it is the only one. Of many at the same time one does it.
UPDATE nodes SET token_sha256 = :sha256, token_generation = :generation, token_at = now(), token_wanted_at = NULL
WHERE id = :id AND token_generation = :generation - 1 AND token_wanted_at IS NOT NULL RETURNING true;
