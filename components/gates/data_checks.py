"""Checks on data before training: which files, classes and splits make it unfit, and what a user should know of it.

ExampleValidator stops nobody by itself, and lets an empty split and a missing class pass. So these count by class and
split. No TFX is imported here, for `./graft check` to be quick.
"""

from collections.abc import Iterable, Mapping, Sequence

from components.example_gen.reading import GONE
from components.records.ingest import IngestSummary
from components.records.quarantine import LeftOut
from schema.features import SPLITS, TEST, TRAIN
from schema.text import list_some

_SHOWN = 10  # files or classes named in a message
_FEW_TESTED = 30  # below this many test images, one of them is more than 3 points of accuracy
_FEW_TESTED_OF_A_CLASS = 5  # below this many, one of them is more than 20 points of recall
_UNEVEN = 5  # times the images of the smallest class


def check_data(
    ingest: IngestSummary, left_out: Sequence[LeftOut], classes: list[str], max_bad_fraction: float
) -> list[str]:
    """Says what makes the data unfit for training.

    Args:
        ingest: counts of ExampleGen.
        left_out: files that ExampleGen left out.
        classes: the class list of this run.
        max_bad_fraction: how many of the files may be broken, 0 to 1.
    Returns:
        The problems, each with what to do; the first group that applies, for the next may only follow from it.
    """
    return (
        _check_broken(ingest, left_out, max_bad_fraction)
        or check_classes(ingest.images_by_class, classes, left_out)
        or _check_splits(ingest, classes)
    )


def _check_broken(ingest: IngestSummary, left_out: Sequence[LeftOut], limit: float) -> list[str]:
    broken = [file for file in left_out if file.broken]
    share = len(broken) / ingest.files
    if share <= limit:
        return []
    listed = [f"  {file.path}: {file.reason}" for file in broken[:_SHOWN]]
    if len(broken) > _SHOWN:
        listed.append(f"  and {len(broken) - _SHOWN} more")
    counted = f"{len(broken)} of {ingest.files} files ({share:.1%}) are broken; max_bad_fraction allows {limit:.1%}."
    gone = sum(file.reason == GONE for file in broken)
    if gone:  # to allow it would train on what happened to be there
        way = f"{gone} of them vanished while the folder was read: run again when the folder is at rest."
    else:
        way = "Mend or remove them, or raise max_bad_fraction."
    return [f"{counted} {way}", *listed]


def check_classes(found: Iterable[str], classes: list[str], left_out: Sequence[LeftOut] = ()) -> list[str]:
    """Says which class folders are not those of the class list.

    Args:
        found: names of the classes with images.
        classes: the class list of this run.
        left_out: files that were left out, to tell an empty folder from one whose files are all broken.
    Returns:
        The problems, each with what to do.
    """
    problems = []
    unknown = sorted(set(found) - set(classes))
    if unknown:
        problems.append(
            f"unknown class: the folder {list_some(unknown, _SHOWN)} is not among the classes "
            f"{list_some(classes, _SHOWN)}. Rename or remove it, or name all classes with --classes."
        )
    for name in (c for c in classes if c not in set(found)):
        lost = sum(file.label == name for file in left_out)
        why = f"all of its {lost} files were left out" if lost else "there is no such folder with images"
        problems.append(
            f"vanished class: no image of {name!r} is left: {why}. Bring them back, or name the classes with --classes."
        )
    if not problems and len(classes) < 2:
        problems.append(f"only one class ({list_some(classes)}): a classifier needs two. Add another class folder.")
    return problems


def check_listing(counts: Mapping[str, int]) -> list[str]:
    """Says which classes are too small to be split, even if every file is a good image.

    Args:
        counts: files by class.
    Returns:
        The problem, with what to do; or nothing.
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


def find_warnings(ingest: IngestSummary) -> list[str]:
    """Returns warnings about data that is fit for training: few test images, uneven classes, odd files."""
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
    if oriented := ingest.oriented:
        carry = "image carries" if oriented == 1 else "images carry"
        warnings.append(
            f"{oriented} {carry} an EXIF orientation, which is ignored, in serving too: seen as the sensor saw it. "
            "`./graft convert` writes JPEGs upright."
        )
    return warnings


def _warn_of_few_tested(tested: dict[str, int]) -> list[str]:
    """Says how much one test image weighs, where there are few of all or of a class."""
    images, effects = sum(tested.values()), []
    if 0 < images < _FEW_TESTED:
        effects.append(f"the accuracy by {100 / images:.1f} points")
    rarest = min(tested, key=lambda c: tested[c], default="")
    if rarest and tested[rarest] < _FEW_TESTED_OF_A_CLASS:
        effects.append(f"the recall of {rarest}, which has {tested[rarest]}, by {100 / tested[rarest]:.0f} points")
    if not effects:
        return []
    return [f"few images to test ({images}): one more wrong answer lowers {' and '.join(effects)}."]


def _warn_of_uneven_classes(totals: dict[str, int]) -> list[str]:
    warnings = []
    smallest, largest = (choose(totals, key=lambda c: totals[c], default="") for choose in (min, max))
    if totals and totals[largest] > _UNEVEN * totals[smallest]:
        warnings.append(
            f"uneven classes: {largest} has {totals[largest]} images and {smallest} {totals[smallest]}; "
            f'a model may neglect the latter. class_weights = "balanced" weighs it up; more images of it are better.'
        )
    return warnings
