"""Verdict of the ServingValidator."""

from typing import Literal

from serving.storage.documents import Document


class ServingVerdict(Document):
    """Outcome of a trial in a model server.

    Attributes:
        blessed: whether the model may be pushed.
        reasons: why not.
        server: name of the server that was started; "" if none was.
        images: number of images that were asked.
        median_ms_grpc, median_ms_rest: milliseconds of a request with one image.
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
