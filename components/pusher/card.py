"""Model card of a pushed version, `assets.extra/model_card.md`, after Mitchell et al. 2019 and Hugging Face's template.

The Pusher writes the card, because the card travels with the version: a run on Kubeflow has no other place for it, and
only the Pusher knows number and time of the version. So the card is filled from what the Pusher reads, and not from the
manifest of a local run.
"""

import functools
import pathlib
from typing import Any

import jinja2

from components.evaluator.answers import Share
from components.pusher.card_facts import CardFacts, list_settings
from components.pusher.markdown import Markdown, escape, write_code
from schema.features import SPLITS, TEST
from schema.shares import write_percent
from schema.version import VERSION
from serving.image import IMAGE
from serving.releases.record import VersionRecord

BLANK = "To be filled in"
_TEMPLATE = "card_template.md"
_NONE = "\N{EN DASH}"  # replaces an unknown figure
_FEW = 100  # test images of a class; the interval of its recall is wider than 0.1 to either side with fewer
_SETTINGS = (
    "weights", "image_size", "resize", "orientation", "head_units", "dropout", "head_epochs", "head_learning_rate",
    "fine_tune_epochs", "fine_tune_learning_rate", "fine_tune_from", "precision", "serving_precision", "batch_size",
    "class_weights", "label_smoothing", "early_stopping_patience", "augmentation", "warm_start", "seed", "split_ratios",
    "max_megapixels",
)  # fmt: skip


def render_card(facts: CardFacts, record: VersionRecord) -> str:
    """Returns the Markdown of the card.

    Args:
        facts: contents from the artifacts of the run.
        record: record of the version, with number and time of the push.
    """
    blanks: list[str] = []
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=False,  # for HTML; `finalize` escapes each value for Markdown
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "figure": _figure,
        "percent": functools.partial(write_percent, digits=0),
        "code": write_code,
        "interval": _interval,
    }
    config = record.config.model_dump()
    return environment.get_template(_TEMPLATE).render(
        facts=facts,
        evaluation=facts.evaluation,
        record=record,
        model=str(config.get("model_name", "graft")),
        data=record.config.data,
        size=record.config.image_size,
        weights=str(config.get("weights", "")),
        settings=list_settings(config, _SETTINGS),
        splits=SPLITS,
        totals={split: sum(record.counts.get(split, {}).values()) for split in SPLITS},
        tested=record.counts.get(TEST, {}),
        limitations=_list_limitations(facts, record),
        image=IMAGE,
        version=VERSION,
        blank=lambda subject: _leave_blank(blanks, subject),
        blanks=blanks,
    )


def _leave_blank(blanks: list[str], subject: str) -> Markdown:
    blanks.append(subject)
    return Markdown(f"**{BLANK}**: {subject}.")


def _list_limitations(facts: CardFacts, record: VersionRecord) -> list[str]:
    """Lists what the figures of the run tell against the model, one sentence each."""
    found: list[str] = []
    if str(record.config.model_dump().get("weights", "")) == "random":
        found.append(
            "The base has random weights, which know no photographs: the model shows that the steps work, and no more."
        )
    found.append(_compare_with_majority(facts))
    few = [row.name for row in facts.classes if row.recall.images < _FEW]
    if few:
        found.append(
            f"{len(few)} of {len(facts.classes)} classes have fewer than {_FEW} test images, so their figures are "
            "uncertain: see the intervals."
        )
    found.append(_describe_spread("class", "recall", [(row.name, row.recall) for row in facts.classes]))
    for slicing in facts.slicings:
        found.append(_describe_spread(slicing.by, "accuracy", [(part.name, part.now) for part in slicing.slices]))
    if facts.ingest.oriented and record.config.model_dump().get("orientation") == "ignore":
        found.append(
            f"{facts.ingest.oriented} images carry an EXIF orientation, which training and serving ignore: the model "
            "sees an image as the sensor saw it."
        )
    return [sentence for sentence in found if sentence]


def _compare_with_majority(facts: CardFacts) -> str:
    """Returns a sentence if the accuracy may be no better than that of the constant answer of the largest class."""
    low, high = facts.evaluation.accuracy_interval
    if facts.majority is None or low > (facts.majority[1].value or 0):
        return ""
    name, share = facts.majority
    constant = f"the constant answer “{name}”, whose accuracy is {_figure(share.value)}"
    if high < (share.value or 0):
        return f"The model is worse than {constant}."
    return f"The model may be no better than {constant}: the interval of the model's accuracy includes that."


def _describe_spread(by: str, metric: str, shares: list[tuple[str, Share]]) -> str:
    """Returns a sentence on the lowest and the highest share, if their intervals have no value in common."""
    known = [
        (share.value, name, share.interval)
        for name, share in shares
        if share.value is not None and share.interval is not None
    ]
    if not known:
        return ""
    (low, worst, interval), (high, best, other) = min(known), max(known)
    if interval[1] >= other[0]:
        return ""
    return f"By {by}, the {metric} differs by more than chance: {low:.3f} for “{worst}”, {high:.3f} for “{best}”."


def _finalize(value: Any) -> Any:
    if value is None:
        return ""
    return escape(value) if isinstance(value, str) and not isinstance(value, Markdown) else value


def _figure(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _interval(pair: tuple[float, float] | None) -> str:
    return _NONE if pair is None else f"{pair[0]:.3f} to {pair[1]:.3f}"
