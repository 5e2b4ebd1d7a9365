"""Counts of an ingest: kept, left-out and broken files, and kept images by split and class."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from schema.features import TEST
from serving.storage.documents import Document


@dataclasses.dataclass(frozen=True)
class Majority:
    """Largest class, which a model that always gives one answer predicts right.

    Attributes:
        label: name of the class.
        share: its share of the images, 0 to 1.
        among: "test", or "all" for the images of all splits.
    """

    label: str
    share: float
    among: str


class IngestSummary(Document):
    """Counts of ExampleGen; `quarantine.jsonl` beside it lists the files that were left out.

    Attributes:
        files: number of image files in the window.
        broken: number of files that no decoder of TensorFlow reads, or that exceed a limit.
        contradictions: number of files left out because the same image stands in two classes.
        left_out: number of readable files left out, including the contradictions.
        ignored: number of ignored files and folders by kind and name; see `example_gen.ignored`.
        oriented: number of kept images with an EXIF orientation other than upright.
        salt: salt of the split.
        window_end: last day of the window as the user set it, or "".
        fingerprint: digest of the names, sizes and times of the files.
        spans: date folders with a kept image, sorted.
        counts: number of kept images by split and class.
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

    @classmethod
    def upgrade(cls, value: dict[str, Any], found: int) -> dict[str, Any]:
        """Turns the number of ignored files of 0.2.0 into counts by kind and name."""
        number = value.get("ignored")
        ignored = {"file": {"others": number}} if number else {}
        return value | {"ignored": ignored} if type(number) is int else value

    @property
    def images_by_split(self) -> dict[str, int]:
        """Number of kept images by split."""
        return {split: sum(by_label.values()) for split, by_label in self.counts.items()}

    @property
    def images_by_class(self) -> dict[str, int]:
        """Number of kept images by class, over all splits, in the order of the names."""
        labels = sorted({label for by_label in self.counts.values() for label in by_label})
        return {label: sum(by_label.get(label, 0) for by_label in self.counts.values()) for label in labels}

    @property
    def majority(self) -> Majority:
        """Largest class of all images or of the test images, where its share is larger.

        The share among the few test images varies by chance. But a constant answer has just that accuracy, and must
        not pass.

        Raises:
            ValueError: if there is no image.
        """
        found = [_find_majority(self.images_by_class, "all"), _find_majority(self.counts.get(TEST, {}), "test")]
        return max((majority for majority in found if majority), key=lambda majority: majority.share)


def _find_majority(counts: dict[str, int], among: str) -> Majority | None:
    """Returns the largest class, the first by name if several are; None without images."""
    if not any(counts.values()):
        return None
    label = min(counts, key=lambda name: (-counts[name], name))
    return Majority(label, counts[label] / sum(counts.values()), among)


def find_newest_day(spans: Iterable[str]) -> str:
    """Returns the newest of the date folders with a kept image, or ""; the window may end on a later day."""
    return max(spans, default="")
