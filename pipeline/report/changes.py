"""Compares a run with the version that was live at its start: images, configuration, code, predictions."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from components.evaluator.answers import Answers
from pipeline.config.keys import PATHS, all_keys
from pipeline.local_paths import shorten_paths
from serving.releases.record import RunConfig, RunResolved

NOT_COMPARED = ("out", "force")
_DIGESTS = {
    "fingerprint": "names, sizes or times of the files in the data folder",
    "weights_digest": "the weights of the base",
    "server_digest": "the model server that candidates are tried in",
}


@dataclasses.dataclass(frozen=True)
class Change:
    """Value of a run beside an earlier value.

    Attributes:
        name: name of the value.
        before: value of the live version, or the default.
        now: value of this run.
    """

    name: str
    before: Any
    now: Any


@dataclasses.dataclass(frozen=True)
class Flips:
    """Numbers of test images for which only one of two models is right.

    Attributes:
        mended: images for which only the candidate is right.
        spoilt: images for which only the live version is right.
        images: images that both models have predicted.
    """

    mended: int
    spoilt: int
    images: int


def compare_settings(now: RunConfig, before: RunConfig) -> list[Change]:
    """Lists the keys of the configuration that differ, in the order of the configuration.

    Absolute paths are compared by their last part, because the record of a version has no more of them.
    """
    old, new = (flatten(shorten_paths(config.model_dump())) for config in (before, now))
    names = [*all_keys(), *sorted((old.keys() | new.keys()) - all_keys().keys())]
    return [
        Change(name, write_value(name, old[name]), write_value(name, new[name]))
        for name in names
        if name not in NOT_COMPARED and name in old and name in new and old[name] != new[name]
    ]


def compare_code(now: RunResolved, before: RunResolved) -> tuple[list[str], list[str]]:
    """Lists components with different code or libraries, and other inputs with different digests."""
    old, new = before.model_dump(), now.model_dump()
    codes, others = (resolved.get("code_digests") or {} for resolved in (old, new))
    components = [name for name in others if name in codes and codes[name] != others[name]]
    return components, [name for key, name in _DIGESTS.items() if old.get(key) and old[key] != new.get(key)]


def compare_counts(now: Mapping[str, Mapping[str, int]], before: Mapping[str, Mapping[str, int]]) -> list[Change]:
    """Lists classes with different numbers of images."""
    old, new = _sum_by_class(before), _sum_by_class(now)
    return [
        Change(name, old.get(name, 0), new.get(name, 0))
        for name in sorted(old.keys() | new.keys())
        if old.get(name, 0) != new.get(name, 0)
    ]


def count_flips(answers: Answers) -> Flips | None:
    """Counts images for which only one model is right; returns None without predictions of the live version."""
    known, before, now = answers.baseline_known, answers.baseline_right, answers.right
    if not known.any():
        return None
    return Flips(
        int((known & now & ~before).sum()),
        int((known & ~now & before).sum()),
        int(known.sum()),
    )


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a configuration by their full names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and f"{name}.{next(iter(value), '')}" in all_keys():
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def write_value(name: str, value: Any) -> str:
    """Renders a value of the configuration as JSON; of an absolute path, only the last part."""
    if name in PATHS and isinstance(value, str) and value.startswith("/"):
        value = f"…/{value.rstrip('/').rpartition('/')[2]}"
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _sum_by_class(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for by_class in counts.values():
        for name, count in by_class.items():
            totals[name] = totals.get(name, 0) + count
    return totals
