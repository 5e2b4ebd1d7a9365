"""Checks of files, classes and splits before the training, and warnings about data that is fit.

ExampleValidator stops no run by itself, and reports neither an empty split nor a missing class. So these checks count
images by class and split. This module imports neither TFX nor TensorFlow: a run applies it before their slow imports.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence

from components.proportions import count_images, count_needed
from components.records.ingest import IngestSummary
from components.records.quarantine import GONE, LeftOut
from schema.features import SPLITS, TEST, TRAIN
from schema.shares import write_percent
from schema.text import list_some

_SHOWN = 10  # files or classes named in a message
_FEW_TESTED = 30  # with fewer test images, one image is more than 3 points of accuracy
_FEW_TESTED_OF_A_CLASS = 5  # with fewer test images of a class, one image is more than 20 points of recall
_UNEVEN = 5  # ratio of the largest class to the smallest above which a warning is given


def check_data(
    ingest: IngestSummary,
    left_out: Sequence[LeftOut],
    classes: list[str],
    max_bad_fraction: float,
    min_accuracy: float | None,
) -> list[str]:
    """Finds the problems that make the data unfit for training.

    Args:
        ingest: counts of ExampleGen.
        left_out: files that ExampleGen left out.
        classes: class list of this run.
        max_bad_fraction: share of the files that may be broken, 0 to 1.
        min_accuracy: accuracy that the user asks for, 0 to 1; None for one better than chance.
    Returns:
        Problems, each with a remedy: those of the broken files, or else of the classes, or else of the splits, or else
        of the number of test images. An earlier group may cause the later ones.
    """
    return (
        _check_broken(ingest, left_out, max_bad_fraction)
        or check_classes(ingest.images_by_class, classes, left_out)
        or _check_splits(ingest, classes)
        or (check_testable(ingest) if min_accuracy is None else [])
    )


def _check_broken(ingest: IngestSummary, left_out: Sequence[LeftOut], limit: float) -> list[str]:
    broken = [file for file in left_out if file.broken]
    share = len(broken) / ingest.files
    if share <= limit:
        return []
    listed = [f"  {file.path}: {file.reason}" for file in broken[:_SHOWN]]
    if len(broken) > _SHOWN:
        listed.append(f"  and {len(broken) - _SHOWN} more")
    allowed = f"max_bad_fraction allows {write_percent(limit)}"
    counted = f"{len(broken)} of {ingest.files} files ({write_percent(share)}) are broken; {allowed}."
    gone = sum(file.reason == GONE for file in broken)
    if gone:  # a higher max_bad_fraction would train on the files that happened to be there
        way = f"{gone} of them vanished while the folder was read: run again when the folder is at rest."
    else:
        way = "Mend or remove them, or raise max_bad_fraction."
    return [f"{counted} {way}", *listed]


def check_classes(found: Iterable[str], classes: list[str], left_out: Sequence[LeftOut] = ()) -> list[str]:
    """Finds class folders that the class list lacks, and classes without a folder.

    Args:
        found: names of the classes with images.
        classes: class list of this run.
        left_out: files that were left out; they tell an empty folder from one whose files are all broken.
    Returns:
        Problems, each with a remedy.
    """
    problems = []
    unknown = sorted(set(found) - set(classes))
    if unknown:
        problems.append(
            f"unknown class: the folder {list_some(unknown, _SHOWN)} is not among the classes "
            f"{list_some(classes, _SHOWN)}. Rename or remove it, or name all classes with --classes."
        )
    gone = [c for c in classes if c not in set(found)]
    lost = collections.Counter(file.label for file in left_out)
    reasons = [([name], f"all of its {lost[name]} files were left out") for name in gone if lost[name]]
    if absent := [name for name in gone if not lost[name]]:
        reasons.append((absent, "there is no such folder with images"))
    for names, why in reasons:
        problems.append(
            f"vanished class: no image of {list_some(list(map(repr, names)), _SHOWN)} is left: {why}. "
            "Bring them back, or name the classes with --classes."
        )
    if not problems and len(classes) < 2:
        problems.append(f"only one class ({list_some(classes)}): a classifier needs two. Add another class folder.")
    return problems


def check_listing(counts: Mapping[str, int]) -> list[str]:
    """Finds the classes that are too small for three splits, even if every file is a good image.

    Args:
        counts: number of files by class.
    Returns:
        The problem with a remedy, or an empty list.
    """
    small = [f"{label} ({count})" for label, count in counts.items() if count < len(SPLITS)]
    if not small:
        return []
    return [
        f"fewer than {len(SPLITS)} images in the class {list_some(small, _SHOWN)}: one each is needed to train, "
        "validate and test. Add images of it, or remove its folder."
    ]


def _check_splits(ingest: IngestSummary, classes: list[str]) -> list[str]:
    counts, totals = ingest.counts, ingest.images_by_class
    if small := check_listing({c: totals[c] for c in classes}):
        return small
    problems = [
        f"the split {split!r} is empty. Add images, or set other split_ratios."
        for split in SPLITS
        if not sum(counts[split].values())
    ]
    untrained = [c for c in classes if not counts[TRAIN].get(c)]
    if untrained and not problems:
        problems.append(f"no training image of the class {list_some(untrained, _SHOWN)}. Add images to it.")
    return problems


def check_testable(ingest: IngestSummary) -> list[str]:
    """Checks that the verdict on a flawless model would be "better than chance", so that no training is in vain.

    Returns:
        The problem with a remedy, or an empty list.
    """
    majority, tested = ingest.majority, ingest.images_by_split[TEST]
    if count_needed(majority.share, tested) is not None:
        return []
    needed = count_images(majority.share)
    if needed is None:
        return [
            f"the test images ({tested}) are all of the class {majority.label}: on them, no model is better than "
            "chance. Add images of the other classes, or set --min-accuracy."
        ]
    return [
        f"too few test images ({tested}) to show that a model is better than chance: {majority.share:.3f} of "
        f"{majority.among} images are of the class {majority.label}, and a flawless model needs {needed} test images "
        f"for a 95 % interval above that. Add images, until {needed} or more are tested, or set --min-accuracy."
    ]


def find_warnings(ingest: IngestSummary, orientation: str = "exif") -> list[str]:
    """Returns warnings about data that is fit for training: few test images, uneven classes, odd files.

    Args:
        ingest: counts of the images.
        orientation: "ignore" if the EXIF orientation is not applied; else "exif".
    """
    counts, totals = ingest.counts, ingest.images_by_class
    warnings = [*_warn_of_few_tested(counts[TEST]), *_warn_of_uneven_classes(totals)]
    for split in SPLITS[1:]:
        absent = [c for c in totals if not counts[split].get(c)]
        if absent:
            warnings.append(f"no {split} image of the class {list_some(absent, _SHOWN)}.")
    if ingest.contradictions:
        warnings.append(
            f"{ingest.contradictions} files were left out because the same image stands in two classes: "
            "keep it in the right one."
        )
    if ingest.oriented and orientation == "ignore":
        have = "image has" if ingest.oriented == 1 else "images have"
        warnings.append(
            f"{ingest.oriented} {have} an EXIF orientation, which is ignored, in serving too: seen as the sensor saw "
            'it. orientation = "exif" turns such images upright.'
        )
    return warnings


def _warn_of_few_tested(tested: dict[str, int]) -> list[str]:
    """Warns of few test images, of all or of one class, and gives the effect of one wrong answer in points."""
    images, effects = sum(tested.values()), []
    if 0 < images < _FEW_TESTED:
        effects.append(f"the accuracy by {_count_points(images)} points")
    rarest = min(tested, key=lambda c: tested[c], default="")
    if rarest and tested[rarest] < _FEW_TESTED_OF_A_CLASS:
        effects.append(f"the recall of {rarest}, which has {tested[rarest]}, by {_count_points(tested[rarest])} points")
    if not effects:
        return []
    return [f"few images to test ({images}): one more wrong answer lowers {' and '.join(effects)}."]


def _count_points(images: int) -> str:
    """Returns the percentage points of one image, with at most one decimal: "25", "11.1"."""
    return f"{round(100 / images, 1):g}"


def _warn_of_uneven_classes(totals: dict[str, int]) -> list[str]:
    warnings = []
    smallest, largest = (choose(totals, key=lambda c: totals[c], default="") for choose in (min, max))
    if totals and totals[largest] > _UNEVEN * totals[smallest]:
        warnings.append(
            f"uneven classes: {largest} has {totals[largest]} images and {smallest} {totals[smallest]}; "
            f'a model may neglect the latter. class_weights = "balanced" weighs it up; more images of it are better.'
        )
    return warnings
