"""Prometheus metrics of the process: requests by route template, and the age of what is served."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.state import ServingState

# Set before prometheus_client is imported, it makes metrics add up over processes.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class RequestMetrics:
    """Counts and times requests. Where several processes serve one port, each writes its counts to a shared folder."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter("http_requests", "Requests answered.", ["method", "route", "status"], registry=registry)
        seconds = Histogram(
            "http_request_duration_seconds",
            "Time from request to last byte of the answer.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "http_requests_in_flight", "Requests being answered.", registry=registry, multiprocess_mode="livesum"
        )
        self.shed = Counter("http_requests_shed", "Requests refused because of load.", ["reason"], registry=registry)
        # Looking a child up by its labels costs more than counting, and there are few.
        self._count = cache(requests.labels)
        self._time = cache(seconds.labels)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._time(method, route).observe(seconds)
        self._count(method, route, status).inc()


class SnapshotMetrics(Collector):
    """Reads the served state when it is asked, so that the numbers are never older than the question."""

    def __init__(self, state: ServingState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        """The metrics of the current snapshot; versions and ages are absent while there is none."""
        snapshot = self.state.snapshot
        yield GaugeMetricFamily(
            "lakehouse_ready",
            "1 when forecasts can be answered.",
            int(bool(snapshot and snapshot.predictions)),
        )
        yield CounterMetricFamily(
            "lakehouse_refresh_failures", "Looks at the lake that failed.", self.state.failed_refreshes
        )
        yield CounterMetricFamily(
            "lakehouse_swaps", "Times that other versions began to serve, the first included.", self.state.swaps
        )
        if snapshot is None:
            return
        yield GaugeMetricFamily(
            "lakehouse_snapshot_version", "Version of the predictions table that is served.", snapshot.version
        )
        models = InfoMetricFamily("lakehouse_model", "Versions whose forecasts are served.", labels=["model"])
        for model, versions in snapshot.served_versions().items():
            for version in sorted(versions):
                models.add_metric([model], {"version": version})
        yield models
        as_of = GaugeMetricFamily(
            "lakehouse_forecast_as_of_timestamp_seconds", "Newest session with a forecast.", labels=["target"]
        )
        age = GaugeMetricFamily(
            "lakehouse_forecast_age_seconds",
            "Time since the newest session with a forecast.",
            labels=["target"],
        )
        now = datetime.now(UTC)
        for target, session in snapshot.newest().items():
            as_of.add_metric([target], session.timestamp())
            age.add_metric([target], (now - session).total_seconds())
        yield from (as_of, age)


def build_metrics(state: ServingState) -> tuple[CollectorRegistry, RequestMetrics]:
    """What `/metrics` shows, and where requests are counted."""
    shown = CollectorRegistry()
    shown.register(SnapshotMetrics(state))
    if FOLDER in os.environ:
        MultiProcessCollector(shown)
        return shown, RequestMetrics(CollectorRegistry())
    ProcessCollector(registry=shown)
    return shown, RequestMetrics(shown)
