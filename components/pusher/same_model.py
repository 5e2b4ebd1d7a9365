"""Search for a version that is the same model as a candidate, among the live, canary and withdrawn versions."""

import contextlib
import dataclasses
from typing import Any

from components.records.push import CANARY, WITHDRAWN
from components.transform.graph_digest import digest_output
from serving.releases import releases, versions
from serving.releases.record import VersionRecord

LIVE = "live"
# Outputs of a model; the other outputs follow from the probabilities and the classes. Graft 0.2.0 had no `accepted`.
_PROBABILITIES, _ACCEPTED = "probabilities", "accepted"


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
    """Finds the version that is the same model: the live one first, then the canary, then the newest withdrawn one.

    A live version with a damaged record is skipped. So the same model is pushed again, with a good record that later
    runs can compare with.

    Args:
        found: versions of the serving folder.
        model_path: folder of a SavedModel.
        record: record of that model.
    """
    live = found.live if found.live and not found.live.problem else None
    states = [(live, LIVE), (found.canary, CANARY), *((version, WITHDRAWN) for version in reversed(found.withdrawn))]
    same = (SameModel(version, state) for version, state in states if version and is_same(version, model_path, record))
    return next(same, None)


def find_own(
    found: releases.Releases, run_id: str | None, model_path: str, record: VersionRecord
) -> versions.Version | None:
    """Finds the version that an earlier start of the same Pusher made, live or not.

    Kubernetes starts a task anew whose node is lost, also between the push and its report.

    Args:
        found: versions of the serving folder.
        run_id: id of the run; None if it is unknown.
        model_path: folder of the SavedModel.
        record: record of that model.
    """
    own = [version for version in reversed(found.numbered) if run_id and version.record.run_id == run_id]
    return next((version for version in own if not version.problem and is_same(version, model_path, record)), None)


def is_same(version: versions.Version, model_path: str, record: VersionRecord) -> bool:
    """Returns whether a version and a model have the same weights, classes and graph.

    The digest of Graft's code does not count. Otherwise an edit of the code would bring a withdrawn model back as live.
    """
    # With a damaged record, weights and graph decide, so that a withdrawn model does not come back.
    if not version.problem and _list_shape(version.record) != _list_shape(record):
        return False
    if versions.digest_variables(version.path) != versions.digest_variables(model_path):
        return False
    return _digest_graph(version.path) == _digest_graph(model_path)


def _list_shape(record: VersionRecord) -> list[Any]:
    return [record.classes, record.config.image_size, record.config.max_megapixels]


def _digest_graph(path: str) -> str:
    """Digests preprocessing and network of a SavedModel, or the bytes of a SavedModel that is not Graft's."""
    try:
        digest = digest_output(path, _PROBABILITIES)
    except (KeyError, ValueError):
        return versions.digest_model(path)
    with contextlib.suppress(KeyError):
        digest += digest_output(path, _ACCEPTED)
    return digest
