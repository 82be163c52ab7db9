"""Every metric of the control plane, in one place. Labels are bounded: regions, reasons and codes, never users."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server

from controlplane import __version__


class Metrics:
    """One registry per process. Counters that are hot are children looked up once."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, which nothing here reads
        self.registry = CollectorRegistry()
        self.build_info = Gauge("turnfleet_build_info", "Always 1, with the version.", ["version"], registry=self.registry)
        self.build_info.labels(__version__).set(1)
        self.issues = Counter(
            "turnfleet_credentials_issued_total",
            "Credentials handed out, by region and by why that region.",
            ["region", "selection"],
            registry=self.registry,
        )
        self.issues_of = cache(self.issues.labels)
        self.refusals = Counter(
            "turnfleet_credentials_refused_total",
            "Requests for credentials that got none, by problem code.",
            ["code"],
            registry=self.registry,
        )
        self.issue_seconds = Histogram(
            "turnfleet_issue_seconds",
            "Time from a whole request for credentials to its answer.",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0),
            registry=self.registry,
        )
        self.rate_limited = Counter(
            "turnfleet_rate_limited_total",
            "Requests answered 429 for a rate limit, by what is limited.",
            ["limit"],
            registry=self.registry,
        )
        self.heartbeats = Counter(
            "turnfleet_heartbeats_total", "Heartbeats taken in, by outcome.", ["outcome"], registry=self.registry
        )
        self.allocation_reports = Counter(
            "turnfleet_allocation_reports_total",
            "Allocations in the usage reports of nodes, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.allocations_counted = Counter(
            "turnfleet_allocations_counted_total",
            "Allocations of which something new was added to the usage.",
            registry=self.registry,
        )
        self.allocations_waiting = Gauge(
            "turnfleet_allocations_waiting",
            "Allocations that wait for their credential's record, or for being counted.",
            ["state"],
            registry=self.registry,
        )
        self.nodes = Gauge("turnfleet_nodes", "Nodes by region and health.", ["region", "health"], registry=self.registry)
        self.eligible_nodes = Gauge(
            "turnfleet_eligible_nodes", "Nodes that take new credentials, by region.", ["region"], registry=self.registry
        )
        self.region_utilisation = Gauge(
            "turnfleet_region_utilisation_ratio",
            "How full the nodes of a region are with traffic, by their safe capacity.",
            ["region"],
            registry=self.registry,
        )
        self.rolls_stopped = Gauge(
            "turnfleet_rolls_stopped",
            "1 for a region whose newest roll stopped by itself, and nobody has looked at it.",
            ["region"],
            registry=self.registry,
        )
        self.unready = Gauge("turnfleet_unready", "1 while this process cannot issue.", registry=self.registry)
        self.redis_unreachable = Gauge(
            "turnfleet_redis_unreachable", "1 while Redis does not answer this process.", registry=self.registry
        )
        self.database_unreachable = Gauge(
            "turnfleet_database_unreachable", "1 while PostgreSQL does not answer this process.", registry=self.registry
        )
        self.view_age_seconds = Gauge(
            "turnfleet_view_age_seconds", "Time since the fleet was last read from Redis.", registry=self.registry
        )
        self.view_held = Gauge(
            "turnfleet_view_held", "1 while silence removes no node, because it is our own fault.", registry=self.registry
        )
        self.placements_alone = Gauge(
            "turnfleet_placements_alone", "1 while placements cannot be shared with other replicas.", registry=self.registry
        )
        self.journal_backlog_bytes = Gauge(
            "turnfleet_journal_backlog_bytes", "Journalled and not yet in PostgreSQL.", registry=self.registry
        )
        self.journal_max_bytes = Gauge(
            "turnfleet_journal_max_bytes", "How much the journal of this process may hold.", registry=self.registry
        )
        self.journal_shipped = Counter("turnfleet_journal_shipped_total", "Records shipped to PostgreSQL.", registry=self.registry)
        self.journal_rejected = Counter(
            "turnfleet_journal_rejected_total", "Records that PostgreSQL will never take.", registry=self.registry
        )
        self.webhook_deliveries = Counter(
            "turnfleet_webhook_deliveries_total",
            "Attempts to deliver an event to a webhook, by outcome; and deliveries dropped because too many waited.",
            ["outcome"],
            registry=self.registry,
        )
        self.event_streams = Gauge(
            "turnfleet_event_streams", "Live streams of fleet events that this process serves.", registry=self.registry
        )
        self.leading = Gauge("turnfleet_jobs_leading", "1 while this process runs the jobs.", registry=self.registry)
        self.job_runs = Counter(
            "turnfleet_job_runs_total", "Runs of jobs, by job and outcome.", ["job_name", "outcome"], registry=self.registry
        )
        self.outside_probes = Counter(
            "turnfleet_outside_probes_total",
            "Nodes tried from outside by this process, by what came of it.",
            ["result"],
            registry=self.registry,
        )
        self.outside_failures = Counter(
            "turnfleet_outside_failures_total",
            "Listeners that did not relay when they were tried from outside, by transport and failure.",
            ["transport", "failure"],
            registry=self.registry,
        )
        self.outside_probe_seconds = Histogram(
            "turnfleet_outside_probe_seconds",
            "Time to try all listeners of a node from outside.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
            registry=self.registry,
        )
        self.outside_late_seconds = Gauge(
            "turnfleet_outside_late_seconds",
            "For how long the node that waits longest is due to be tried from outside.",
            registry=self.registry,
        )
        self.outside_down = Gauge(
            "turnfleet_outside_down_nodes",
            "Nodes that are down by what was seen from outside, by standing.",
            ["standing"],
            registry=self.registry,
        )
        self.outside_place_at_fault = Gauge(
            "turnfleet_outside_place_at_fault",
            "1 while most nodes fail from outside, so that the leader's own network is blamed and nobody is condemned.",
            registry=self.registry,
        )
        self.outside_permitting = Gauge(
            "turnfleet_outside_permitting_nodes",
            "Nodes that permitted a peer which no client may reach, when they were last asked.",
            registry=self.registry,
        )
        self.geoip_build_seconds = Gauge(
            "turnfleet_geoip_build_timestamp_seconds", "When the oldest GeoIP file in use was built.", registry=self.registry
        )

    def forget_outside(self) -> None:
        """With the end of a term: what was true then is another process' to say."""
        self.outside_down.clear()
        for gauge in (self.outside_late_seconds, self.outside_place_at_fault, self.outside_permitting):
            gauge.set(0)

    def serve(self, host: str, port: int) -> None:
        """Answer scrapes in a thread of their own, away from the requests' event loop. Raises OSError."""
        start_http_server(port, host, registry=self.registry)
