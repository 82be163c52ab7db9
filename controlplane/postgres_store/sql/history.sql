-- What nodes and regions carried and how they were, over time.

-- name: insert_node_minutes!
-- Of one minute. What another leader has written stays.
INSERT INTO node_minutes (node_id, at, ticks, reports, health, eligible_ratio, receive_bits_per_second, transmit_bits_per_second,
    receive_packets_per_second, transmit_packets_per_second, allocations, cpu_ratio, memory_ratio, utilisation,
    max_bits_per_second, max_allocations, max_cpu_ratio, max_utilisation, health_reason, intent)
SELECT each.node_id, :at::timestamptz, each.ticks, each.reports, each.health::node_health, each.eligible_ratio,
    each.receive_bits_per_second, each.transmit_bits_per_second, each.receive_packets_per_second, each.transmit_packets_per_second,
    each.allocations, each.cpu_ratio, each.memory_ratio, each.utilisation, each.max_bits_per_second, each.max_allocations,
    each.max_cpu_ratio, each.max_utilisation, each.health_reason, each.intent
FROM json_to_recordset(:batch::text::json) AS each(node_id uuid, ticks smallint, reports smallint, health text, eligible_ratio real,
    receive_bits_per_second real, transmit_bits_per_second real, receive_packets_per_second real, transmit_packets_per_second real,
    allocations real, cpu_ratio real, memory_ratio real, utilisation real, max_bits_per_second real, max_allocations real,
    max_cpu_ratio real, max_utilisation real, health_reason text, intent text)
ON CONFLICT DO NOTHING;

-- name: insert_region_minutes!
INSERT INTO region_minutes (region, at, ticks, operational_ratio, nodes, up_nodes, eligible_nodes, min_eligible_nodes,
    receive_bits_per_second, transmit_bits_per_second, receive_packets_per_second, transmit_packets_per_second, allocations,
    utilisation, max_bits_per_second, max_allocations, max_utilisation)
SELECT each.region, :at::timestamptz, each.ticks, each.operational_ratio, each.nodes, each.up_nodes, each.eligible_nodes,
    each.min_eligible_nodes, each.receive_bits_per_second, each.transmit_bits_per_second, each.receive_packets_per_second,
    each.transmit_packets_per_second, each.allocations, each.utilisation, each.max_bits_per_second, each.max_allocations,
    each.max_utilisation
FROM json_to_recordset(:batch::text::json) AS each(region text, ticks smallint, operational_ratio real, nodes real, up_nodes real,
    eligible_nodes real, min_eligible_nodes real, receive_bits_per_second real, transmit_bits_per_second real,
    receive_packets_per_second real, transmit_packets_per_second real, allocations real, utilisation real,
    max_bits_per_second real, max_allocations real, max_utilisation real)
ON CONFLICT DO NOTHING;

-- name: history_summed_up_to$
SELECT up_to_at FROM history_summed_up;

-- name: sum_up_ten_minutes!
-- Node minutes of ten minutes, as one row per node.
INSERT INTO node_ten_minutes
SELECT node_id, :from_at::timestamptz, sum(ticks), sum(reports), max(health), sum(eligible_ratio * ticks) / sum(ticks),
    sum(receive_bits_per_second * reports) / nullif(sum(reports), 0),
    sum(transmit_bits_per_second * reports) / nullif(sum(reports), 0),
    sum(receive_packets_per_second * reports) / nullif(sum(reports), 0),
    sum(transmit_packets_per_second * reports) / nullif(sum(reports), 0), sum(allocations * reports) / nullif(sum(reports), 0),
    sum(cpu_ratio * reports) / nullif(sum(reports), 0), sum(memory_ratio * reports) / nullif(sum(reports), 0),
    sum(utilisation * reports) / nullif(sum(reports), 0), max(max_bits_per_second), max(max_allocations), max(max_cpu_ratio),
    max(max_utilisation), (array_agg(health_reason ORDER BY health DESC, at DESC))[1], (array_agg(intent ORDER BY at DESC))[1]
FROM node_minutes WHERE at >= :from_at::timestamptz AND at < :from_at::timestamptz + interval '10 minutes'
GROUP BY node_id
ON CONFLICT DO NOTHING;

-- name: set_history_summed_up!
UPDATE history_summed_up SET up_to_at = :up_to_at WHERE up_to_at < :up_to_at;

-- name: node_history
-- In steps, the oldest first. `coarse`: of the sums of ten minutes, and of the minutes that are not in them yet.
WITH chosen AS (
    SELECT * FROM node_ten_minutes WHERE :coarse::boolean AND node_id = :node_id AND at >= :from_at AND at < :to_at
    UNION ALL
    SELECT * FROM node_minutes WHERE node_id = :node_id AND at < :to_at
        AND at >= CASE WHEN :coarse::boolean THEN greatest(:from_at, (SELECT up_to_at FROM history_summed_up)) ELSE :from_at END
)
SELECT date_bin(:step::interval, at, 'epoch') AS at, max(health)::text AS health,
    (array_agg(health_reason ORDER BY health DESC, at DESC))[1] AS health_reason, (array_agg(intent ORDER BY at DESC))[1] AS intent,
    sum(eligible_ratio * ticks) / sum(ticks) AS eligible_ratio,
    sum(receive_bits_per_second * reports) / nullif(sum(reports), 0) AS receive_bits_per_second,
    sum(transmit_bits_per_second * reports) / nullif(sum(reports), 0) AS transmit_bits_per_second,
    sum(receive_packets_per_second * reports) / nullif(sum(reports), 0) AS receive_packets_per_second,
    sum(transmit_packets_per_second * reports) / nullif(sum(reports), 0) AS transmit_packets_per_second,
    sum(allocations * reports) / nullif(sum(reports), 0) AS allocations,
    sum(cpu_ratio * reports) / nullif(sum(reports), 0) AS cpu_ratio,
    sum(memory_ratio * reports) / nullif(sum(reports), 0) AS memory_ratio,
    sum(utilisation * reports) / nullif(sum(reports), 0) AS utilisation, max(max_bits_per_second) AS max_bits_per_second,
    max(max_allocations) AS max_allocations, max(max_cpu_ratio) AS max_cpu_ratio, max(max_utilisation) AS max_utilisation
FROM chosen GROUP BY 1 ORDER BY 1;

-- name: region_history
SELECT date_bin(:step::interval, at, 'epoch') AS at, sum(operational_ratio * ticks) / sum(ticks) AS operational_ratio,
    sum(nodes * ticks) / sum(ticks) AS nodes, sum(up_nodes * ticks) / sum(ticks) AS up_nodes,
    sum(eligible_nodes * ticks) / sum(ticks) AS eligible_nodes, min(min_eligible_nodes) AS min_eligible_nodes,
    sum(receive_bits_per_second * ticks) / sum(ticks) AS receive_bits_per_second,
    sum(transmit_bits_per_second * ticks) / sum(ticks) AS transmit_bits_per_second,
    sum(receive_packets_per_second * ticks) / sum(ticks) AS receive_packets_per_second,
    sum(transmit_packets_per_second * ticks) / sum(ticks) AS transmit_packets_per_second,
    sum(allocations * ticks) / sum(ticks) AS allocations,
    sum(utilisation * ticks) / nullif(sum(ticks) FILTER (WHERE utilisation IS NOT NULL), 0) AS utilisation,
    max(max_bits_per_second) AS max_bits_per_second, max(max_allocations) AS max_allocations,
    max(max_utilisation) AS max_utilisation
FROM region_minutes WHERE region = :region AND at >= :from_at AND at < :to_at
GROUP BY 1 ORDER BY 1;
