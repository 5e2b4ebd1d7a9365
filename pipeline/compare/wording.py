"""Sentences on a comparison, for the terminal and the page."""

from collections.abc import Callable

from components.records.comparison import ComparedMetric, ComparedRun, Comparison, PairedTest
from pipeline.report.formats import write_duration
from schema.text import write_counted

_LEVEL = 0.05  # p-value below which a difference is called more than chance
# Shown names and texts of the metrics with a unit. JSON has the unit in the name and the bare number.
_WITH_UNIT: dict[str, tuple[str, Callable[[float], str]]] = {
    "median latency, ms (gRPC)": ("median latency (gRPC)", "{:,.1f} ms".format),
    "memory, MB": ("memory", "{:,.0f} MB".format),
    "time of the run, s": ("time of the run", write_duration),
}


def describe_run(run: ComparedRun) -> str:
    """Names a run with its id, its start and its outcome."""
    begun = run.begun.replace("T", " ")[:16] + " UTC" if run.begun else ""
    name = f"{run.name} (run {run.run_id})" if run.version is not None and run.run_id else run.name
    return ", ".join(filter(None, [name, f"begun {begun}" if begun else "", run.outcome]))


def describe_accuracy(run: ComparedRun) -> str:
    """Returns the accuracy of a run with its interval and its number of images."""
    if run.accuracy is None:
        return "no model was evaluated"
    interval = "" if run.accuracy_interval is None else " ({:.3f} to {:.3f})".format(*run.accuracy_interval)
    return f"{run.accuracy:.3f}{interval} on {run.test_images or 0:,} test images"


def describe_test(test: PairedTest) -> str:
    """Describes the predictions on the common test images, and the result of the test."""
    images = write_counted(test.images, "test image is", "test images are")
    counts = f"{images} in both runs: only A is right on {test.only_before:,}, only B on {test.only_now:,}"
    return f"{counts}. {judge(test)}"


def judge(test: PairedTest) -> str:
    """Says whether chance explains that one model is right more often."""
    if not test.only_before + test.only_now:
        return "Both are right on the same images."
    more, total = max(test.only_before, test.only_now), test.only_before + test.only_now
    why = (
        f"if both were equally good, one of them would have {more:,} or more of these {total:,} with a probability of "
        f"{test.p_value:.2g} by McNemar's exact two-sided test."
    )
    if test.p_value >= _LEVEL:
        return f"Chance may explain the difference between the models: {why}"
    better = "B" if test.only_now > test.only_before else "A"
    return f"{better} is better, by more than chance explains: {why}"


def describe_metric(metric: ComparedMetric) -> tuple[str, str, str, str]:
    """Returns the name of a metric, its values in A and B, and the change; "" where a value is unknown."""
    name, write = _WITH_UNIT.get(metric.name, (metric.name, "{:,.3f}".format))
    before, now = ("" if value is None else write(value) for value in (metric.before, metric.now))
    if metric.before is None or metric.now is None:
        return name, before, now, ""
    change = metric.now - metric.before
    size = write(abs(change))
    return name, before, now, "0" if size == write(0.0) else f"{'+' if change > 0 else '-'}{size}"


def describe_data(comparison: Comparison) -> str:
    """Counts the changed images."""
    data = comparison.data
    if not data.listed:
        if comparison.before.images is None or comparison.now.images is None:
            return "unknown: a run has counted no images"
        if not data.classes:
            return "the same number of each class"
        return f"another number in {write_counted(len(data.classes), 'class', 'classes')}"
    if not data.added + data.removed + data.relabelled + data.moved:
        return "the same images in the same splits"
    return (
        f"{data.added:,} added, {data.removed:,} removed, {data.relabelled:,} relabelled, "
        f"{data.moved:,} moved to another split"
    )


def describe_code(comparison: Comparison) -> str:
    """Names the components with other code or libraries."""
    if comparison.code is None:
        return "unknown: a run has recorded no digests of its code"
    if not comparison.code:
        return "the same code and libraries in all components"
    return f"the code or the libraries differ in {', '.join(comparison.code)}"


def describe_flips(comparison: Comparison) -> str:
    """Counts the images with different predicted classes."""
    total = len(comparison.flips) + comparison.more_flips
    if not total:
        return "no test image of both runs has another predicted class"
    counted = write_counted(total, "test image has another predicted class", "test images have another predicted class")
    return f"{counted} in B" + (f"; the first {len(comparison.flips)}:" if comparison.more_flips else ":")
