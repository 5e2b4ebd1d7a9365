"""Resolves, before a local run, what decides whether a component's outputs may be used again.

TFX looks its cache up before an executor runs and compares execution properties. So whatever an executor would
find out by itself - which files there are, which version is live - is found out here and passed as one.
"""

import dataclasses
import hashlib
import json
import os
from typing import Any

from components.example_gen import layout
from components.example_gen.lineage import NEW_SALT, check_record
from components.gates.retraining_rules import check_window
from components.records.ingest import find_newest_day
from pipeline.check.classes import find_early_problems, resolve_classes
from pipeline.code_digests import read_code_digests
from pipeline.config.config import Config
from pipeline.downloads.weights import find_weights
from pipeline.parameters import absolute
from pipeline.workspace.disk import MODEL_BYTES, check_free_space
from pipeline.workspace.workspace import Workspace
from schema.errors import DataError
from serving.client import launch
from serving.releases import models_config, releases, versions
from serving.releases.record import UNKNOWN

# Keys that change nothing about the model; the folder of images goes into the digest as an absolute path.
_NOT_REQUESTED = {"out", "data", "canary", "keep_versions", "trunk_gb", "beam"}
# They make no other model; but one that was refused for them is not refused for others.
_SERVING_LIMITS = {"serving_images", "max_latency_ms", "max_serving_mb"}
_NOT_REQUESTED |= _SERVING_LIMITS
_NOT_REQUESTED |= {"force", "min_new_images", "max_label_drift", "max_brightness_drift", "max_embedding_drift"}
# What is no setting of a model besides: which images there are, what is fit to train on, and what the RetrainingGate
# is told by itself, for a run on Kubeflow may set it.
_NOT_SETTINGS = {"window_end", "window_days", "follow_links", "classes", "weights", "model_name", "max_bad_fraction"}
_NOT_SETTINGS |= {"head_epochs", "fine_tune_epochs", "min_accuracy", "max_accuracy_drop"}
_MADE = {"classes", "salt", "baseline", "served"}  # what a record has of the run that made the version


@dataclasses.dataclass(frozen=True)
class Resolved:
    """The execution properties that depend on the world.

    Attributes:
        fingerprint: of the files in the window.
        window_end: the last day of the window, or "".
        weights: "random" or the path of a file.
        weights_digest: of its contents; "" on Kubeflow, where the RetrainingGate reads the file.
        code_digest: of the code that makes a model, see `CodeDigests.model`.
        request_key: of all of the above, and of the configuration: two runs with the same key make the same model.
            Another Evaluator, ServingValidator or Pusher may judge that model in another way; it is the same model.
        code_digests: by component, of the code that it runs on.
        decoding_digest: of the code that decodes images to tell whether they can be.
        server_digest: of what a candidate is tried with: the ServingValidator's code, which includes the built-in
            server's, and TensorFlow Serving's program.
        settings: a digest of what makes a model of images and judges it, but for what a run may set.
        classes: in the order of the outputs.
        salt: of the split, or "" to choose one; NEW_SALT to choose one whatever the record of the live version has.
        baseline: identity of the version that is live, to be compared with; or "none".
        served: the state of the serving folder.
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
    served: str


def resolve(config: Config, workspace: Workspace) -> Resolved:
    """Looks at the data, the weights, the code and the serving folder.

    Raises:
        DataError: if the folder is not one of labelled images, or its classes are not those of the live model.
        UsageError: if the weights cannot be had, or models.config or the record of the live version cannot be read.
    """
    listing = layout.list_images(config.data, config.window_end_text, config.window_days or 0, config.follow_links)
    releases.check_pushable(str(workspace.model_dir(config.model_name)), config.canary)
    models_config.mend(str(workspace.model_dir(config.model_name)))  # the workspace may have been moved
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
    live = versions.find_live(str(workspace.model_dir(config.model_name)))
    check_record(live, config.force)
    if live:
        check_window(find_newest_day({file.span for file in listing.files}), live, config.force)
    lineage = _resolve_lineage(config, listing, request_key, live, workspace)
    _check_early(config, listing, lineage["classes"], live, workspace)
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
    """Digests what makes a model of images and judges it, but for what a run on Kubeflow may set.

    The RetrainingGate ends a run whose images and settings are those of the live model, or of one that was refused.

    Args:
        config: what the user asked for.
        classes: in the order of the outputs.
        weights_digest: of the base's weights.
        verdict_digest: of the code, see `CodeDigests.verdict`.
    """
    settings = config.model_dump(mode="json", exclude=(_NOT_REQUESTED | _NOT_SETTINGS) - _SERVING_LIMITS)
    return _digest([settings, classes, weights_digest, verdict_digest])


def _check_early(
    config: Config, listing: layout.Listing, classes: list[str], live: versions.Version | None, workspace: Workspace
) -> None:
    """What the gate or the disk would say, too, but only when every image has been read."""
    if problems := find_early_problems(config, listing, classes, live):
        raise DataError(*problems)
    read_before = any(
        manifest.ingest and manifest.resolved.fingerprint == listing.fingerprint
        for manifest in workspace.load_manifests()
    )
    images = 0 if read_before else sum(f.size for f in listing.files)
    check_free_space(config.out, images + MODEL_BYTES)


def _resolve_lineage(
    config: Config,
    listing: layout.Listing,
    request_key: str,
    live: versions.Version | None,
    workspace: Workspace,
) -> dict[str, Any]:
    """What a run takes over from the version that is live."""
    record = live.record if live else UNKNOWN
    # trunk_gb makes no other model, so it is no part of the request; but with another one the Embedder runs anew.
    same_trunk = record.config.trunk_gb == config.trunk_gb
    made = record.resolved.model_dump(include=_MADE)
    if live and record.request_key == request_key and same_trunk and None not in made.values():
        # This very request made the live version. It is not compared with itself: the properties are those of
        # that run, so that TFX finds every output of it. What the Pusher said holds unless the version was promoted:
        # then it has another number.
        as_pushed = record.pushed_version in (None, live.number) and not record.canary
        return made if as_pushed else made | {"served": _describe_serving(config, workspace)}
    return {
        "classes": resolve_classes(config, listing, live),
        "salt": NEW_SALT if live and live.problem else _resolve_salt(listing, record.salt, workspace),
        "baseline": live.identity if live else versions.NOT_LIVE,
        "served": _describe_serving(config, workspace),
    }


def _resolve_salt(listing: layout.Listing, wanted: int | None, workspace: Workspace) -> str:
    """The salt to ask for: the live model's, for an image it was tested on must not be trained on later.

    Where an earlier run dealt the same files with that salt, it is asked for in the same words, chosen or given:
    others would miss TFX's cache.
    """
    for manifest in reversed(workspace.load_manifests()):
        asked, dealt = manifest.resolved, manifest.ingest.salt if manifest.ingest else None
        if asked.salt is None or dealt is None or asked.fingerprint != listing.fingerprint:
            continue
        if wanted in (None, dealt):
            return asked.salt
    return "" if wanted is None else str(wanted)


def _describe_serving(config: Config, workspace: Workspace) -> str:
    """The versions there are, and those that were pushed and are gone: a push that was undone may come again."""
    found = releases.read(str(workspace.model_dir(config.model_name)))
    present, withdrawn = ([version.number for version in group] for group in (found.numbered, found.withdrawn))
    pushed = {m.pushed_version for m in workspace.load_manifests() if m.pushed_version}
    state = {"present": present, "gone": sorted(pushed - set(present)), "withdrawn": withdrawn, "labels": found.labels}
    return json.dumps(state)


def digest_server(code_digest: str) -> str:
    """Digests what tries a candidate: a change of the server alone tries models anew, and trains none.

    Args:
        code_digest: of the ServingValidator, which starts the built-in server and so includes its code.
    """
    binary = launch.find_binary()
    stat = os.stat(binary) if binary else None
    described = [binary, stat.st_size, stat.st_mtime_ns] if stat else []
    return _digest([code_digest, described])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
