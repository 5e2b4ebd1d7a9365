"""Verdict of the ServingValidator."""

from typing import Literal

from serving.storage.documents import Document


class ServingVerdict(Document):
    """Outcome of a trial in a model server.

    Attributes:
        blessed: whether the model may be pushed.
        reasons: reasons against a push; empty if the model is blessed.
        server: name of the server that was started; "" if no server was started.
        images: number of images that were sent to the server.
        median_ms_grpc, median_ms_rest: median time of a request with one image, in milliseconds.
        memory_mb: resident memory of the server after all requests, in MB.
    """

    FILE = "serving_verdict.json"

    format: Literal[1] = 1
    blessed: bool
    reasons: list[str]
    server: str = ""
    images: int = 0
    median_ms_grpc: float | None = None
    median_ms_rest: float | None = None
    memory_mb: float | None = None
