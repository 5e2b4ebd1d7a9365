"""Numbers of an ingest: files by what became of them, and images by split and class."""

from typing import Literal

from serving.storage.documents import Document


class IngestSummary(Document):
    """Counts of ExampleGen; `quarantine.jsonl` beside it names the files that were left out.

    Attributes:
        files: number of image files in the window.
        broken: files that no decoder of TensorFlow reads, or that exceed a limit.
        contradictions: files left out because the same image stands in two classes.
        left_out: readable files left out, the contradictions among them.
        ignored: files and folders that were passed over, by kind and name; see `example_gen.ignored`.
        oriented: kept images with an EXIF orientation other than upright.
        salt: of the split.
        window_end: last day of the window as it was asked for, or "".
        fingerprint: digest of the names, sizes and times of the files.
        spans: date folders with a kept image, sorted.
        counts: kept images by split and class.
    """

    FILE = "ingest.json"

    format: Literal[1] = 1
    files: int
    broken: int
    contradictions: int
    left_out: int
    ignored: dict[str, dict[str, int]]
    oriented: int
    salt: int
    window_end: str
    fingerprint: str
    spans: list[str]
    counts: dict[str, dict[str, int]]
