"""Figures about the service, in the format of Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_WEIGHT = 0.05  # of the last file in the mean


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
        self._lost = Gauge(
            "genrescope_lost_decoders",
            "Decoder processes that crashed or were stopped.",
            registry=self._registry,
        )
        self._working = Gauge(
            "genrescope_uploads",
            "Uploads and conversions in progress, waiting ones too.",
            registry=self._registry,
        )
        self._lock = threading.Lock()
        self._mean: float | None = None

    def answered(self, status: int) -> None:
        """Count a response."""
        self._requests.labels(str(status)).inc()

    def worked(self, seconds: float) -> None:
        """Count a file that was worked on to its end, and the time spent on it."""
        self._work.observe(seconds)
        with self._lock:
            mean = seconds if self._mean is None else self._mean
            self._mean = mean + _WEIGHT * (seconds - mean)

    def count_lost_decoders(self, count: Callable[[], float]) -> None:
        """Take the number of lost decoder processes from a function."""
        self._lost.set_function(count)

    def working(self, count: int) -> None:
        """Note how many uploads and conversions are in progress."""
        self._working.set(count)

    @property
    def mean_seconds(self) -> float:
        """Time that workers spent on a file, mostly of the last fifty; one second before any."""
        return 1.0 if self._mean is None else self._mean

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self._registry)
