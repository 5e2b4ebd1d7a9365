"""Choice of the one file to keep among several files with the same bytes.

Without it, copies of one image could stand in the training split and in the test split. An image under two labels has
no use for training, so none of its files is kept.
"""

import dataclasses
from collections.abc import Iterable

from components.images.formats import UPRIGHT
from schema.features import SPLITS

CONTRADICTION = "the same image is labelled"


@dataclasses.dataclass(frozen=True)
class Record:
    """Record of one file of the data folder.

    Attributes:
        path, label, span, split: as in `layout.ImageFile`.
        size: size in bytes.
        digest: hex sha256 of the bytes; "" if the file could not be read.
        problem: reason why the file is left out; "" if the file is kept.
        broken: whether the file is no readable image; False for a good image that is left out.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        width, height: size in pixels; of the upright image, unless the orientation is ignored; 0 for a broken file.
        brightness: mean pixel value over a grid of pixels and all channels, 0 to 255.
    """

    path: str
    label: str
    span: str
    split: str
    size: int
    digest: str = ""
    problem: str = ""
    broken: bool = False
    orientation: int = UPRIGHT
    width: int = 0
    height: int = 0
    brightness: float = 0.0


def resolve_duplicates(records: Iterable[Record]) -> list[Record]:
    """Keeps one of the records that share a digest, and gives the others a problem.

    Across spans the newest label wins, because it is a correction of the older ones. Two labels within the newest span
    are a contradiction: no record is kept. Across ready-made splits the record nearest to the test split is kept, so
    that no test image is a training image.

    Args:
        records: good records, all with the same digest.
    Returns:
        The same records in the order of their paths, all but one (or all) with a problem.
    """
    ordered = sorted(records, key=lambda r: r.path)
    newest = max(r.span for r in ordered)
    labels = sorted({r.label for r in ordered if r.span == newest})
    if len(labels) > 1:
        return [_left_out(r, f"{CONTRADICTION} {' and '.join(labels)}") for r in ordered]
    kept = max(
        (r for r in ordered if r.span == newest),
        key=lambda r: SPLITS.index(r.split) if r.split else 0,
    )
    return [r if r is kept else _left_out(r, _reason(r, kept)) for r in ordered]


def _reason(record: Record, kept: Record) -> str:
    if record.label == kept.label:
        return f"duplicate of {kept.path}"
    return f"labelled {kept.label} since, by {kept.path}"


def _left_out(record: Record, problem: str) -> Record:
    return dataclasses.replace(record, problem=problem)
