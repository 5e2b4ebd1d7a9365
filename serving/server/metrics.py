"""What is counted, under TensorFlow Serving's names, so that dashboards and alerts fit both."""

import contextlib
import time
from collections.abc import Iterator

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram

from serving.server.errors import ServingError

# As in TensorFlow Serving's util.cc: 10 microseconds, and 33 steps of a factor of 1.8, to 20 minutes.
_MICROSECONDS = [10 * 1.8**step for step in range(33)]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        """Begins at zero."""
        prometheus_client.disable_created_metrics()
        self._registry = CollectorRegistry()
        # A gauge only in the type that Prometheus is told: its client would append _total to the name of a counter.
        self._requests = Gauge(
            ":tensorflow:serving:request_count",
            "The total number of requests.",
            ["model_name", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for TensorFlow Serving request.",
            ["model_name", "API", "entrypoint"],
            buckets=_MICROSECONDS,
            registry=self._registry,
        )

    @contextlib.contextmanager
    def counted(self, model_name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts and times a request, by how it ends.

        Args:
            model_name: of a model that is served; what a client makes up would grow the metrics without bound.
            api: such as "Predict".
            entrypoint: "GRPC" or "REST".
        """
        start, status = time.monotonic(), "OK"
        try:
            yield
        except ServingError as error:
            status = error.code.name
            raise
        except Exception:
            status = "INTERNAL"
            raise
        finally:
            self._requests.labels(model_name, status).inc()
            self._latency.labels(model_name, api, entrypoint).observe((time.monotonic() - start) * 1e6)

    def render(self) -> bytes:
        """The page that Prometheus reads."""
        return prometheus_client.generate_latest(self._registry)
