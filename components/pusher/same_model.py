"""Finds a model among the versions that are live, canary or withdrawn."""

import dataclasses
from typing import Any

from components.records.push import CANARY, WITHDRAWN
from components.transform.graph_digest import digest_output
from serving.releases import releases, versions
from serving.releases.record import VersionRecord

LIVE = "live"
_OUTPUT = "probabilities"  # of a model; the rest of what it answers follows from it and the classes


@dataclasses.dataclass(frozen=True)
class SameModel:
    """Version that is the same model as the candidate.

    Attributes:
        version: the version.
        state: LIVE, CANARY or WITHDRAWN.
    """

    version: versions.Version
    state: str


def find_same(found: releases.Releases, model_path: str, record: VersionRecord) -> SameModel | None:
    """Looks for a model among the versions: the live one first, then the canary, then the newest withdrawn one.

    Where the record of the live version cannot be read, that one is passed over: the same model is pushed once more,
    and with a record it can be compared with again.

    Args:
        found: the versions.
        model_path: a SavedModel.
        record: what it was made of.
    """
    live = found.live if found.live and not found.live.problem else None
    states = [(live, LIVE), (found.canary, CANARY), *((version, WITHDRAWN) for version in reversed(found.withdrawn))]
    same = (SameModel(version, state) for version, state in states if version and is_same(version, model_path, record))
    return next(same, None)


def is_same(version: versions.Version, model_path: str, record: VersionRecord) -> bool:
    """Compares a version and a model by weights, classes and graph.

    The code that made it does not count: an edit that changes none of these makes no other model, and would bring
    back as live what was withdrawn.
    """
    # A record that cannot be read tells nothing; weights and graph do, and a withdrawn model is not to come back.
    if not version.problem and _list_shape(version.record) != _list_shape(record):
        return False
    if versions.digest_variables(version.path) != versions.digest_variables(model_path):
        return False
    return _digest_graph(version.path) == _digest_graph(model_path)


def _list_shape(record: VersionRecord) -> list[Any]:
    return [record.classes, record.config.image_size, record.config.max_megapixels]


def _digest_graph(path: str) -> str:
    """Digests preprocessing and network of a SavedModel; of one that is not Graft's, its bytes."""
    try:
        return digest_output(path, _OUTPUT)
    except (KeyError, ValueError):
        return versions.digest_model(path)
