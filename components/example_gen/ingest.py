"""Decision on each file of an ingest: kept or left out, and its split. This module reads and writes no file."""

import collections
import dataclasses
import heapq
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from components.example_gen.duplicates import CONTRADICTION, Record, resolve_duplicates
from components.example_gen.layout import Listing, find_missing_splits
from components.example_gen.splits import assign_split, choose_salt, count_splits
from components.images.formats import UPRIGHT
from components.records.image_figures import QUANTILES, ExampleImage, ImageFigures
from components.records.image_list import ListedImage
from components.records.ingest import IngestSummary
from components.records.quarantine import LeftOut
from schema.features import TRAIN

_EXAMPLES = 4  # example images a class


@dataclasses.dataclass(frozen=True)
class Ingest:
    """Decision on all files of a window.

    Attributes:
        listing: files as they were listed.
        records: one record per file, in the order of the paths; a record with a problem is left out.
        splits: split of each kept image, by path.
        salt: salt of the split.
    """

    listing: Listing
    records: list[Record]
    splits: dict[str, str]
    salt: int

    @property
    def kept(self) -> list[Record]:
        """Records of the kept images."""
        return [record for record in self.records if not record.problem]


def decide(listing: Listing, records: Iterable[Record], ratios: Mapping[str, float], salt: str = "") -> Ingest:
    """Leaves duplicates out and assigns the other good images to splits.

    Args:
        listing: files as they were listed.
        records: record of each file.
        ratios: shares of train, val and test.
        salt: salt of the split; "" to choose the salt with `choose_salt`.
    """
    decided = sorted(_resolve_all(records), key=lambda r: r.path)
    good = [record for record in decided if not record.problem]
    drawn = _find_ratios_to_draw(ratios, listing.split_folders)
    to_draw = {r.path for r in good if r.split in ("", TRAIN)}
    chosen = int(salt) if salt else choose_salt(((r.label, r.digest) for r in good if r.path in to_draw), drawn)
    splits = {r.path: assign_split(r.digest, chosen, drawn) if r.path in to_draw else r.split for r in good}
    return Ingest(listing, decided, splits, chosen)


def summarize(ingest: Ingest) -> IngestSummary:
    """Counts the files that were kept, left out or broken, and the kept images by split and class."""
    records, kept = ingest.records, ingest.kept
    return IngestSummary(
        files=len(records),
        broken=sum(r.broken for r in records),
        contradictions=sum(r.problem.startswith(CONTRADICTION) for r in records),
        left_out=sum(bool(r.problem) and not r.broken for r in records),
        ignored={kind: dict(counts) for kind, counts in ingest.listing.ignored.items()},
        oriented=sum(r.orientation != UPRIGHT for r in kept),
        salt=ingest.salt,
        window_end=ingest.listing.window_end,
        fingerprint=ingest.listing.fingerprint,
        spans=sorted({r.span for r in kept if r.span}),
        counts=count_splits((ingest.splits[r.path], r.label) for r in kept),
    )


def measure_images(ingest: Ingest) -> ImageFigures:
    """Measures the kept images by day, size and brightness, and chooses examples of each class."""
    days: dict[str, dict[str, int]] = {}
    by_label: dict[str, list[Record]] = collections.defaultdict(list)
    for record in ingest.kept:
        by_label[record.label].append(record)
        if record.span:
            counts = days.setdefault(record.span, {})
            counts[record.label] = counts.get(record.label, 0) + 1
    return ImageFigures(
        days=dict(sorted(days.items())),
        width=_find_quantiles(r.width for r in ingest.kept),
        height=_find_quantiles(r.height for r in ingest.kept),
        bytes=_find_quantiles(r.size for r in ingest.kept),
        brightness=_find_quantiles(r.brightness for r in ingest.kept),
        examples={label: _choose_examples(by_label[label]) for label in sorted(by_label)},
    )


def list_images(ingest: Ingest) -> list[ListedImage]:
    """Lists the kept images, in the order of their paths."""
    return [
        ListedImage(ingest.splits[r.path], r.digest, r.path, r.label, r.width, r.height, r.brightness, r.orientation)
        for r in ingest.kept
    ]


def _find_quantiles(values: Iterable[float]) -> list[float]:
    array = np.fromiter(values, np.float64)
    return [float(np.quantile(array, share)) for share in QUANTILES] if len(array) else []


def _choose_examples(records: list[Record]) -> list[ExampleImage]:
    chosen = heapq.nsmallest(_EXAMPLES, records, key=lambda r: r.digest)
    return [ExampleImage(path=r.path, digest=r.digest) for r in chosen]


def list_left_out(ingest: Ingest) -> list[LeftOut]:
    """Lists the left-out files, in the order of their paths."""
    return [LeftOut(path=r.path, label=r.label, reason=r.problem, broken=r.broken) for r in ingest.records if r.problem]


def _find_ratios_to_draw(ratios: Mapping[str, float], split_folders: tuple[str, ...]) -> Mapping[str, float]:
    """Returns the shares of the splits to draw: all three, or `train` and those that are not ready-made."""
    if not split_folders:
        return ratios
    return {s: ratios[s] for s in (TRAIN, *find_missing_splits(split_folders))}


def _resolve_all(records: Iterable[Record]) -> Iterator[Record]:
    """Yields the same records; of the good records that share a digest, at most one stays without a problem."""
    by_digest: dict[str, list[Record]] = collections.defaultdict(list)
    for record in records:
        if record.broken:
            yield record
        else:
            by_digest[record.digest].append(record)
    for group in by_digest.values():
        yield from resolve_duplicates(group)
