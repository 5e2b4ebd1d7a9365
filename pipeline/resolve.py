"""Resolves, before a local run, the execution properties that depend on files: data, weights, code, live version.

TFX looks into its cache before an executor runs, and compares execution properties. An executor that read the list of
files or the live version by itself would be skipped when they change. So this module reads them, and passes each as an
execution property.
"""

import dataclasses
import hashlib
import json
import os
from typing import Any

from components.evaluator.best_version import find_best, identify
from components.example_gen import layout
from components.example_gen.lineage import NEW_SALT
from pipeline.check.classes import resolve_classes
from pipeline.check.start import check_start
from pipeline.code_digests import read_code_digests
from pipeline.config.config import Config
from pipeline.downloads.weights import find_weights
from pipeline.parameters import absolute
from pipeline.workspace.manifest import RunManifest
from pipeline.workspace.workspace import Workspace
from serving.client import launch
from serving.releases import models_config, releases, versions
from serving.releases.record import UNKNOWN

# Keys that do not change the model. The data folder enters the digest as an absolute path.
_NOT_REQUESTED = {"out", "data", "canary", "keep_versions", "trunk_gb", "beam"}
# These keys do not change the model, but another limit may accept a model that was refused.
_SERVING_LIMITS = {"serving_images", "max_latency_ms", "max_serving_mb"}
_NOT_REQUESTED |= _SERVING_LIMITS
_NOT_REQUESTED |= {"force", "min_new_images", "max_label_drift", "max_brightness_drift", "max_embedding_drift"}
# Further keys that are no settings of a model: the choice of images, the limit on broken files, and the run parameters,
# which a run on Kubeflow can set and the RetrainingGate reads by itself.
_NOT_SETTINGS = {"window_end", "window_days", "follow_links", "classes", "weights", "model_name", "max_bad_fraction"}
_NOT_SETTINGS |= {"head_epochs", "fine_tune_epochs", "min_accuracy", "max_accuracy_drop", "min_recall"}
_MADE = {
    "classes",
    "salt",
    "baseline",
    "best",
    "served",
}  # properties that a record has of the run that made the version


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Execution properties that depend on files: data, weights, code and serving folder.

    Attributes:
        fingerprint: digest of the files in the window.
        window_end: the last day of the window, or "".
        weights: "random" or the path of a file.
        weights_digest: digest of the weights; "" on Kubeflow, where the RetrainingGate reads the file.
        code_digest: digest of the code that makes a model, see `CodeDigests.model`.
        request_key: digest of the properties above and of the configuration: two runs with the same key make the same
            model. The code of Evaluator, ServingValidator and Pusher does not enter it.
        code_digests: digest of the code that each component runs on, by component.
        decoding_digest: digest of the code that decides whether an image can be decoded.
        server_digest: digest of the ServingValidator's code, which includes the built-in server's, and of TensorFlow
            Serving's program.
        settings: digest of the keys that decide how a model is made and judged, without the run parameters.
        classes: class names in the order of the outputs.
        salt: salt of the split; "" to choose one, NEW_SALT to choose one in spite of the live version's record.
        baseline: identity of the live version, to compare with; or "none".
        best: identity of the best kept version, to compare with as well; or "none".
        served: state of the serving folder.
    """

    fingerprint: str
    window_end: str
    weights: str
    weights_digest: str
    code_digest: str
    request_key: str
    code_digests: dict[str, str]
    decoding_digest: str
    server_digest: str
    settings: str
    classes: list[str]
    salt: str
    baseline: str
    best: str
    served: str


def resolve(config: Config, workspace: Workspace) -> Resolved:
    """Reads the data folder, the weights, the code and the serving folder.

    Raises:
        DataError: if the folder has no class folders with images, or as `check_start`.
        UsageError: if the weights are missing, or as `check_start`.
    """
    listing = layout.list_images(config.data, config.window_end_text, config.window_days or 0, config.follow_links)
    model_dir = str(workspace.model_dir(config.model_name))
    check_start(config, listing, workspace)
    models_config.mend(model_dir)  # the workspace may have been moved
    weights, weights_digest = find_weights(config.weights, config.image_size)
    code = read_code_digests()
    request: dict[str, Any] = {
        "fingerprint": listing.fingerprint,
        "window_end": listing.window_end,
        "weights_digest": weights_digest,
        "code_digest": code.model,
    }
    request_key = _digest(
        request | {"config": config.model_dump(mode="json", exclude=_NOT_REQUESTED), "data": absolute(config.data)}
    )
    live = versions.find_live(model_dir)
    manifests = workspace.load_manifests()
    lineage = _resolve_lineage(config, listing, request_key, live, model_dir, manifests)
    return Resolved(
        weights=weights,
        request_key=request_key,
        code_digests=code.components,
        decoding_digest=code.decoding,
        server_digest=digest_server(code.components["ServingValidator"]),
        settings=digest_settings(config, lineage["classes"], weights_digest, code.verdict),
        **request,
        **lineage,
    )


def digest_settings(config: Config, classes: list[str], weights_digest: str, verdict_digest: str) -> str:
    """Digests the keys that decide how a model is made and judged, without the run parameters.

    The RetrainingGate ends a run with the images and settings of the live model, or of a model that was refused.

    Args:
        config: the user's configuration.
        classes: class names in the order of the outputs.
        weights_digest: digest of the base's weights.
        verdict_digest: digest of the code, see `CodeDigests.verdict`.
    """
    settings = config.model_dump(mode="json", exclude=(_NOT_REQUESTED | _NOT_SETTINGS) - _SERVING_LIMITS)
    return _digest([settings, classes, weights_digest, verdict_digest])


def _resolve_lineage(
    config: Config,
    listing: layout.Listing,
    request_key: str,
    live: versions.Version | None,
    model_dir: str,
    manifests: list[RunManifest],
) -> dict[str, Any]:
    """Resolves classes, salt, baseline and serving state, in part from the record of the live version."""
    record = live.record if live else UNKNOWN
    # trunk_gb does not change the model, so it is not in the request key; but another value runs the Embedder again.
    same_trunk = record.config.trunk_gb == config.trunk_gb
    made = record.resolved.model_dump(include=_MADE)
    if live and record.request_key == request_key and same_trunk and None not in made.values():
        # The same request made the live version. The properties are those of that run, so that TFX finds all of its
        # outputs and does not compare the model with itself. A promoted version has another number than the Pusher
        # gave it: then the Pusher runs again.
        as_pushed = record.pushed_version in (None, live.number) and not record.canary
        return made if as_pushed else made | {"served": _describe_serving(model_dir, manifests)}
    classes = resolve_classes(config, listing, live)
    return {
        "classes": classes,
        "salt": NEW_SALT if live and live.problem else _resolve_salt(listing, record.salt, manifests),
        "baseline": live.identity if live else versions.NOT_LIVE,
        "best": identify(find_best(model_dir, classes, live)),
        "served": _describe_serving(model_dir, manifests),
    }


def _resolve_salt(listing: layout.Listing, wanted: int | None, manifests: list[RunManifest]) -> str:
    """Returns the salt property: the live model's salt, so that no test image of that model is trained on later.

    An earlier run may have split the same files with that salt. Then the property is the one of that run, "" or the
    number, because another text would miss TFX's cache.
    """
    for manifest in reversed(manifests):
        resolved, used = manifest.resolved, manifest.ingest.salt if manifest.ingest else None
        if resolved.salt is None or used is None or resolved.fingerprint != listing.fingerprint:
            continue
        if wanted in (None, used):
            return resolved.salt
    return "" if wanted is None else str(wanted)


def _describe_serving(model_dir: str, manifests: list[RunManifest]) -> str:
    """Describes the serving folder as JSON: present, gone and withdrawn versions, and labels.

    The gone versions are in it so that a model whose version was deleted is pushed again.
    """
    found = releases.read(model_dir)
    present, withdrawn = ([version.number for version in group] for group in (found.numbered, found.withdrawn))
    pushed = {m.pushed_version for m in manifests if m.pushed_version}
    state = {"present": present, "gone": sorted(pushed - set(present)), "withdrawn": withdrawn, "labels": found.labels}
    return json.dumps(state)


def digest_server(code_digest: str) -> str:
    """Digests the code and the program that serve a candidate in the ServingValidator.

    A change of the server alone validates the model again, and trains no other.

    Args:
        code_digest: digest of the ServingValidator's code, which includes the built-in server's.
    """
    binary = launch.find_binary()
    stat = os.stat(binary) if binary else None
    described = [binary, stat.st_size, stat.st_mtime_ns] if stat else []
    return _digest([code_digest, described])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
