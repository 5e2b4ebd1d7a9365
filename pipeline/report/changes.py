"""Compares a run with the version that was live when it began: data, configuration, code, answers."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.keys import PATHS, all_keys
from pipeline.report.figures import Answers
from serving.releases.record import RunConfig, RunResolved

NOT_COMPARED = ("out", "force")
_DIGESTS = {
    "fingerprint": "the files of the data folder",
    "weights_digest": "the weights of the base",
    "server_digest": "the model server that candidates are tried in",
}


@dataclasses.dataclass(frozen=True)
class Change:
    """A value beside an earlier one.

    Attributes:
        name: of the value.
        before: of the live version; or the default.
        now: of this run.
    """

    name: str
    before: Any
    now: Any


@dataclasses.dataclass(frozen=True)
class Flips:
    """Test images that the two models answer differently: numbers of them.

    Attributes:
        mended: wrong before, right now.
        spoilt: right before, wrong now.
        images: that both were asked.
    """

    mended: int
    spoilt: int
    images: int


def compare_settings(now: RunConfig, before: RunConfig) -> list[Change]:
    """Lists the keys of the configuration that differ, in the order of the configuration."""
    old, new = flatten(before.model_dump()), flatten(now.model_dump())
    names = [*all_keys(), *sorted((old.keys() | new.keys()) - all_keys().keys())]
    return [
        Change(name, write_value(name, old[name]), write_value(name, new[name]))
        for name in names
        if name not in NOT_COMPARED and name in old and name in new and old[name] != new[name]
    ]


def compare_code(now: RunResolved, before: RunResolved) -> tuple[list[str], list[str]]:
    """Lists the components whose code or libraries differ, and what else does by its digest."""
    old, new = before.model_dump(), now.model_dump()
    codes, others = (resolved.get("code_digests") or {} for resolved in (old, new))
    components = [name for name in others if name in codes and codes[name] != others[name]]
    return components, [told for key, told in _DIGESTS.items() if old.get(key) and old[key] != new.get(key)]


def compare_counts(now: Mapping[str, Mapping[str, int]], before: Mapping[str, Mapping[str, int]]) -> list[Change]:
    """Lists the classes whose number of images differs."""
    old, new = _sum_by_class(before), _sum_by_class(now)
    return [
        Change(name, old.get(name, 0), new.get(name, 0))
        for name in sorted(old.keys() | new.keys())
        if old.get(name, 0) != new.get(name, 0)
    ]


def count_flips(answers: Answers) -> Flips | None:
    """Counts the images whose answer went from wrong to right, and back; None if the live version was not asked."""
    asked, before, now = answers.baseline_asked, answers.baseline_right, answers.right
    if not asked.any():
        return None
    return Flips(
        int((asked & now & ~before).sum()),
        int((asked & ~now & before).sum()),
        int(asked.sum()),
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
    """Returns a value of the configuration as JSON; of an absolute path the name of the folder alone."""
    if name in PATHS and isinstance(value, str) and value.startswith("/"):
        value = f"…/{value.rstrip('/').rpartition('/')[2]}"
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _sum_by_class(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for by_class in counts.values():
        for name, count in by_class.items():
            totals[name] = totals.get(name, 0) + count
    return totals
