"""Collects the contents of the page's part on the data: counts, sizes, examples, left-out files, drift."""

from typing import Any

from components.example_gen import ignored
from pipeline.check.left_out import group_by_reason
from pipeline.report.charts import draw_histograms
from pipeline.report.drift import measure_drift
from pipeline.report.sources import RunFiles
from pipeline.report.thumbnails import Thumbnails
from schema.features import SPLITS

_MOST_EXAMPLES = 40  # number of pictures, unless there are more classes: each shown class has one
_MOST_CLASSES = 100  # number of classes with pictures
_A_CLASS = 4  # pictures a class
_MOST_DAYS = 60
_SHOWN_FILES = 10  # files a reason


def _describe_examples(files: RunFiles, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """Returns pictures of each class, resized as for the network; None if the run kept no examples."""
    if files.figures is None or not files.figures.examples or not files.config:
        return None
    classes = files.figures.examples
    each = max(1, min(_A_CLASS, _MOST_EXAMPLES // len(classes)))
    shown = list(classes.items())[:_MOST_CLASSES]
    size, resize = files.config.image_size, files.config.resize
    return {
        "size": size,
        "more": len(classes) - len(shown),
        "classes": [
            (name, [(i.path, thumbnails.make_network_view(i.path, i.digest, size, resize)) for i in images[:each]])
            for name, images in shown
        ],
    }


def describe_data(files: RunFiles, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """Returns counts, sizes, examples, left-out files and drift; None if no image was read."""
    ingest = files.ingest
    if ingest is None:
        return None
    totals = ingest.images_by_class
    days = list(files.figures.days.items()) if files.figures else []
    drift = measure_drift(files)
    chart = None
    if drift.brightness:
        about = "mean pixel value of an image, 0 to 255"
        chart = draw_histograms(drift.edges, drift.brightness, drift.live_brightness, about)
    groups = group_by_reason(files.left_out)
    return {
        "ingest": ingest,
        "splits": SPLITS,
        "classes": [(name, [ingest.counts.get(s, {}).get(name, 0) for s in SPLITS], n) for name, n in totals.items()],
        "totals": [ingest.images_by_split.get(split, 0) for split in SPLITS],
        "days": [(day, sum(counts.values()), counts) for day, counts in days[-_MOST_DAYS:]],
        "earlier_days": max(0, len(days) - _MOST_DAYS),
        "figures": files.figures,
        "left_out": [(reason, len(paths), paths[:_SHOWN_FILES]) for reason, paths in groups.items()],
        "ignored": ignored.describe(ingest.ignored),
        "drift": drift,
        "examples": _describe_examples(files, thumbnails),
        "limits": files.config,
        "chart": chart,
        "warnings": (files.manifest.warnings if files.manifest else None) or [],
    }
