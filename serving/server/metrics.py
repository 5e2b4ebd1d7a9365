"""Request metrics, under the names of TensorFlow Serving, so that dashboards and alerts fit both servers."""

import contextlib
import time
from collections.abc import Iterator

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram

from serving.server.errors import ServingError

# Buckets of TensorFlow Serving's util.cc: from 10 microseconds by 33 steps of a factor of 1.8 to 20 minutes.
_MICROSECONDS = [10 * 1.8**step for step in range(33)]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Metrics of one server: number and latency of requests."""

    def __init__(self) -> None:
        """Registers the metrics, all at zero."""
        prometheus_client.disable_created_metrics()
        self._registry = CollectorRegistry()
        # Declared as a gauge, because the Prometheus client would append _total to the name of a counter.
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
    def record_request(self, model_name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request by model and status, and measures its latency.

        Args:
            model_name: name of a loaded model; names that clients invent would grow the metrics without limit.
            api: method, such as "Predict".
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
        """Returns the metrics page for Prometheus."""
        return prometheus_client.generate_latest(self._registry)
