"""Compares two runs: images, configuration, code, libraries, metrics, predictions."""

from components.records.comparison import ChangedValue, ComparedMetric, ComparedRun, Comparison, Flip, Neighbour
from components.records.evaluation import EvaluationSummary
from components.records.image_list import ListedImage
from pipeline.compare import data, nearest, paired
from pipeline.compare.paired import PairedAnswer
from pipeline.compare.sides import Side
from pipeline.report.changes import compare_code, compare_settings
from pipeline.workspace.workspace import Workspace

NewImages = list[tuple[ListedImage, str | None]]  # new training images with their classes in A
MOST_FLIPS = 20  # listed images with different predicted classes
_MOST_NEAREST = 3  # neighbours of each of them


def compare(workspace: Workspace, before: Side, now: Side) -> Comparison:
    """Compares two runs; says in `notes` what is missing or incomplete.

    Args:
        workspace: workspace of both runs.
        before: run that was named first, A.
        now: run that was named second, B.
    """
    notes = [*before.problems, *(problem for problem in now.problems if problem not in before.problems)]
    pairs = paired.pair_answers(before, now)
    flips = paired.sort_flips(pairs or [])
    new = data.find_new_training_images(before, now)
    listed = _list_flips(workspace, now, flips[:MOST_FLIPS], new or [], notes)
    notes += _describe_missing(before, now, pairs)
    components, inputs = compare_code(now.resolved, before.resolved)
    digests = [(side.resolved.model_extra or {}).get("code_digests") for side in (before, now)]
    return Comparison(
        before=_describe_side(before),
        now=_describe_side(now),
        data=data.compare_images(before, now),
        configuration=[
            ChangedValue(name=change.name, before=change.before, now=change.now)
            for change in compare_settings(now.config, before.config)
        ],
        code=components if all(digests) else None,
        inputs=inputs,
        libraries=_compare_libraries(before, now),
        metrics=_compare_metrics(before, now),
        test=paired.count_pairs(pairs) if pairs else None,
        flips=listed,
        more_flips=max(0, len(flips) - MOST_FLIPS),
        new_training_images=None if new is None else len(new),
        notes=notes,
    )


def _describe_side(side: Side) -> ComparedRun:
    evaluation = side.evaluation
    return ComparedRun(
        name=side.name,
        run_id=side.run_id,
        version=side.version,
        begun=side.begun,
        outcome=side.outcome,
        images=sum(sum(counts.values()) for counts in side.counts.values()) if side.counts else None,
        accuracy=evaluation.accuracy if evaluation else None,
        accuracy_interval=evaluation.accuracy_interval if evaluation else None,
        test_images=evaluation.images if evaluation else None,
    )


def _list_flips(
    workspace: Workspace, now: Side, flips: list[PairedAnswer], new: NewImages, notes: list[str]
) -> list[Flip]:
    """Finds the nearest new training images of each flip; adds the reason to `notes` if they are unknown."""
    if not new or not flips:
        return [_describe_flip(pair, []) for pair in flips]
    rows, reason = nearest.open_embeddings(workspace, now.manifest)
    if rows is None:
        notes.append(reason)
        return [_describe_flip(pair, []) for pair in flips]
    found, missing = nearest.find_nearest(rows, [pair.digest for pair in flips], new, _MOST_NEAREST)
    if missing:
        notes.append(
            f"{missing:,} of {len(new):,} new training images have no stored embedding any more, "
            "so they are not among the nearest."
        )
    listed = [_describe_flip(pair, near) for pair, near in zip(flips, found, strict=True)]
    lost = sum(not flip.nearest for flip in listed) if missing < len(new) else 0
    if lost:
        notes.append(
            f"{lost:,} of {len(flips):,} listed test images have no stored embedding any more, "
            "so their nearest images are unknown."
        )
    return listed


def _describe_missing(before: Side, now: Side, pairs: list[PairedAnswer] | None) -> list[str]:
    """Returns sentences on images and predictions that are unknown, apart from damaged files."""
    notes = []
    unlisted = [side for side in (before, now) if side.images is None and side.run_id]
    if unlisted:
        names = " and ".join(side.name for side in unlisted)
        notes.append(f"There is no list of the images of {names}, so only the numbers of images are compared.")
    silent = [side for side in (before, now) if side.predictions is None and side.run_id]
    if silent:
        names = " and ".join(side.name for side in silent)
        notes.append(f"There are no predictions of each image of {names}, so no image is compared.")
    if pairs is not None and not pairs:
        notes.append("The two runs have no test image in common, so their accuracies are not comparable.")
    return notes


def _describe_flip(pair: PairedAnswer, near: list[Neighbour]) -> Flip:
    return Flip(
        path=pair.path,
        digest=pair.digest,
        label=pair.label,
        before=pair.before,
        before_probability=pair.before_probability,
        now=pair.now,
        now_probability=pair.now_probability,
        nearest=near,
    )


def _compare_libraries(before: Side, now: Side) -> list[ChangedValue] | None:
    """Returns the versions that differ; None if a run has not recorded its versions."""
    old, new = (side.manifest.libraries if side.manifest else None for side in (before, now))
    if old is None or new is None:
        return None
    names = [*new, *(name for name in old if name not in new)]
    return [
        ChangedValue(name=name, before=old.get(name, ""), now=new.get(name, ""))
        for name in names
        if old.get(name) != new.get(name)
    ]


def _compare_metrics(before: Side, now: Side) -> list[ComparedMetric]:
    """Returns the metrics of both runs by name; omits a metric that neither run has."""
    old, new = _list_metrics(before), _list_metrics(now)
    return [
        ComparedMetric(name=name, before=old.get(name), now=new.get(name))
        for name in {**old, **new}
        if old.get(name) is not None or new.get(name) is not None
    ]


def _list_metrics(side: Side) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {}
    if side.evaluation:
        metrics |= {"accuracy on test": side.evaluation.accuracy, "accuracy needed": side.evaluation.min_accuracy}
        metrics |= _list_recalls(side.evaluation)
    if side.manifest and side.manifest.serving:
        serving = side.manifest.serving
        metrics |= {"median latency, ms (gRPC)": serving.median_ms_grpc, "memory, MB": serving.memory_mb}
    if side.manifest:
        metrics["time of the run, s"] = side.manifest.run_seconds
    return metrics


def _list_recalls(evaluation: EvaluationSummary) -> dict[str, float | None]:
    return {f"recall of “{name}”": metrics.recall for name, metrics in evaluation.classes.items()}
