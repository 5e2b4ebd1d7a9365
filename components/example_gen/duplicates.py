"""Which of several files with the same bytes is kept.

Exact duplicates would sit in training and test at once; one image under two labels teaches nothing.
"""

import dataclasses
from collections.abc import Iterable

from schema.features import SPLITS

CONTRADICTION = "the same image is labelled"


@dataclasses.dataclass(frozen=True)
class Record:
    """What ExampleGen learns of one file.

    Attributes:
        path, label, span, split: as in `layout.ImageFile`.
        size: in bytes.
        digest: hex sha256 of the bytes; "" where the file could not be read.
        problem: why the file is not used; "" for a good one.
        broken: whether it is no readable image, rather than a good one left out.
        oriented: whether it carries an EXIF orientation, which is ignored.
        width, height: in pixels; 0 of a broken one.
        brightness: mean grey level over all pixels and channels, 0 to 255.
    """

    path: str
    label: str
    span: str
    split: str
    size: int
    digest: str = ""
    problem: str = ""
    broken: bool = False
    oriented: bool = False
    width: int = 0
    height: int = 0
    brightness: float = 0.0


def resolve_duplicates(records: Iterable[Record]) -> list[Record]:
    """Keeps one of the records that share a digest and says of the others why not.

    Across spans the newest label wins (somebody corrected it). Within the newest span, two labels are a
    contradiction: none is kept. Between ready-made splits the one nearest to the test set is kept, so that
    nothing that is tested was trained on.

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
