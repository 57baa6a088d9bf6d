"""Figures about the service, in the format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "genrescope_requests", "Requests by status.", ["status"], registry=self._registry
        )
        self._work = Histogram(
            "genrescope_work_seconds",
            "Time that workers spent on a file.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=self._registry,
        )
        self._restarts = Counter(
            "genrescope_worker_restarts", "Workers that were replaced.", registry=self._registry
        )
        self._uploads = Gauge(
            "genrescope_uploads", "Uploads in progress, waiting ones too.", registry=self._registry
        )
        self._seconds, self._files = 0.0, 0

    def answered(self, status: int) -> None:
        """Count a response."""
        self._requests.labels(str(status)).inc()

    def worked(self, seconds: float) -> None:
        """Count a file and the time spent on it."""
        self._work.observe(seconds)
        self._seconds += seconds
        self._files += 1

    def restarted(self) -> None:
        """Count a worker that was replaced."""
        self._restarts.inc()

    def uploading(self, count: int) -> None:
        """Note how many uploads are in progress."""
        self._uploads.set(count)

    @property
    def mean_seconds(self) -> float:
        """Mean time that workers spent on a file; one second before the first."""
        return self._seconds / self._files if self._files else 1.0

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self._registry)
