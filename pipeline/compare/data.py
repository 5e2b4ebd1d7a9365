"""Compares the images of two runs by their bytes."""

import collections
import itertools
from collections.abc import Mapping

from components.records.comparison import ChangedClass, ChangedImage, DataDifference
from components.records.image_list import ListedImage
from pipeline.compare.sides import Side
from schema.features import TRAIN

_MOST = 20  # listed images of each kind


def compare_images(before: Side, now: Side) -> DataDifference:
    """Finds the images that were added, removed, relabelled or moved to another split."""
    listed = before.images is not None and now.images is not None
    old, new = ({image.digest: image for image in side.images or [] if listed} for side in (before, now))
    both = [(old[digest], image) for digest, image in new.items() if digest in old]
    added = [image for digest, image in new.items() if digest not in old]
    removed = [image for digest, image in old.items() if digest not in new]
    relabelled = [(was, image) for was, image in both if was.label != image.label]
    return DataDifference(
        listed=listed,
        added=len(added),
        removed=len(removed),
        relabelled=len(relabelled),
        moved=sum(was.split != image.split for was, image in both),
        classes=_count_classes(before, now, added, removed, relabelled),
        some_added=[_describe(image) for image in _spread(added)],
        some_removed=[_describe(image) for image in _spread(removed)],
        some_relabelled=[_describe(image, was.label) for was, image in relabelled[:_MOST]],
    )


def find_new_training_images(before: Side, now: Side) -> list[tuple[ListedImage, str | None]] | None:
    """Finds the training images of B that A did not train on, or that have another class in B.

    Returns:
        Each image with its class in A, which is None for an image that A did not train on. None if a run has no list
        of its images.
    """
    if before.images is None or now.images is None:
        return None
    old = {image.digest: image.label for image in before.images if image.split == TRAIN}
    return [
        (image, old.get(image.digest))
        for image in now.images
        if image.split == TRAIN and old.get(image.digest) != image.label
    ]


def _describe(image: ListedImage, before: str | None = None) -> ChangedImage:
    return ChangedImage(path=image.path, digest=image.digest, label=image.label, label_before=before, split=image.split)


def _spread(images: list[ListedImage]) -> list[ListedImage]:
    """Chooses images of the classes in turn, so that the first few have each class."""
    by_label: dict[str, list[ListedImage]] = collections.defaultdict(list)
    for image in sorted(images, key=lambda image: image.path):
        by_label[image.label].append(image)
    turns = itertools.zip_longest(*(by_label[label] for label in sorted(by_label)))
    return list(itertools.islice((image for turn in turns for image in turn if image), _MOST))


def _count_classes(
    before: Side,
    now: Side,
    added: list[ListedImage],
    removed: list[ListedImage],
    relabelled: list[tuple[ListedImage, ListedImage]],
) -> list[ChangedClass]:
    """Counts by class, with the largest difference first; omits classes without a difference."""
    old, new = _sum_by_class(before.counts), _sum_by_class(now.counts)
    counted = [
        collections.Counter(labels)
        for labels in (
            (image.label for image in added),
            (image.label for image in removed),
            (image.label for _, image in relabelled),
            (was.label for was, _ in relabelled),
        )
    ]
    names = sorted({*old, *new, *(name for counts in counted for name in counts)})
    rows = []
    for name in names:
        came, went, gained, lost = (counts[name] for counts in counted)
        rows.append(
            ChangedClass(
                name=name,
                before=old.get(name, 0) if old else None,
                now=new.get(name, 0) if new else None,
                added=came,
                removed=went,
                gained=gained,
                lost=lost,
            )
        )
    changed = [row for row in rows if _measure(row)]
    return sorted(changed, key=_measure, reverse=True)


def _measure(row: ChangedClass) -> int:
    """Returns the number of changed images of a class; 0 without a difference."""
    difference = abs(row.now - row.before) if row.now is not None and row.before is not None else 0
    return max(difference, row.added + row.removed + row.gained + row.lost)


def _sum_by_class(counts: Mapping[str, Mapping[str, int]]) -> collections.Counter[str]:
    totals: collections.Counter[str] = collections.Counter()
    for by_class in counts.values():
        totals.update(by_class)
    return totals
