"""Pusher: puts a blessed model into the serving folder, whole or not at all.

TFX's copies in place, so a server may see half a model. This one stages a version, and then places it at once.
"""

import datetime
import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.pusher import executor as tfx_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import progress
from components.artifacts import IngestReport, RunDecision
from components.embedder.moments import FILE as MOMENTS
from components.example_gen import image_set
from components.gates.drift import STATISTICS
from components.gates.retraining import find_newest_day, remember_unpushed
from components.records.decision import RetrainingDecision
from components.records.evaluation import EvaluationSummary
from components.records.ingest import IngestSummary
from components.records.serving_verdict import ServingVerdict
from components.transform.graph_digest import digest_output
from schema import features
from schema.errors import GraftError
from serving.releases import releases, versions
from serving.releases.record import VersionRecord
from serving.storage import durable, folder_lock
from serving.storage.gfile import is_remote

PUSHED, PUSHED_VERSION = "pushed", "pushed_version"
# Ours, beside TFX's two: whether there was something to push, whether it is a canary, which old versions went, and
# which version that is not live is the same model, so that this one was not pushed.
NEW, CANARY, REMOVED_VERSIONS, HELD_BACK = "new", "canary", "removed_versions", "held_back"
OVERTAKEN = "overtaken"
ANY_VERSION = -1  # where it does not matter which version is live; no version of Graft's has a number below 0
_OUTPUT = "probabilities"  # of a model; the rest of what it answers follows from it and the classes
RUN_ID = "GRAFT_RUN_ID"  # in the environment, where TFX does not tell it


class OvertakenError(GraftError):
    """Another version became live while a model was put together that was compared with the one before.

    Attributes:
        version: the number of the one that is live now.
    """

    def __init__(self, version: int):
        super().__init__(f"version {version} became live meanwhile")
        self.version = version


class PusherSpec(ComponentSpec):
    """TFX's contract, and what the record of a version needs."""

    PARAMETERS = {
        "model_dir": ExecutionParameter(type=str),
        "record": ExecutionParameter(type=str),
        "canary": ExecutionParameter(type=int),
        "keep_versions": ExecutionParameter(type=int),
        "served": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "report": ChannelParameter(type=IngestReport),
        "decision": ChannelParameter(type=RunDecision),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "embeddings": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class PusherExecutor(tfx_executor.Executor):
    """Checks the blessing, stages, renames, marks."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model unless it lacks a blessing, is there already, was withdrawn or overtaken."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        model_dir = exec_properties["model_dir"]
        metrics = EvaluationSummary.read(artifact_utils.get_single_uri(input_dict["evaluation"]))
        decision = RetrainingDecision.read(artifact_utils.get_single_uri(input_dict["decision"]))
        compared_with = metrics.baseline.version if metrics.baseline else None
        if not self.CheckBlessing(input_dict):
            if reasons := metrics.failures + _read_refusal(input_dict):
                remember_unpushed(model_dir, compared_with, decision, reasons)
            self._MarkNotPushed(pushed)
            return
        model_path = self.GetModelPath(input_dict)
        record = json.loads(exec_properties["record"])
        found = releases.read(model_dir)
        canary = bool(exec_properties["canary"] and found.live)  # the first version of all is live, whatever was asked
        version, held_back = _find_same(found, model_path, record, canary)
        if same := held_back["version"] if held_back else version and version.number:
            reason = f"it is version {same}, which is {held_back.get('state', 'there already')}"
            live = found.live.number if found.live else None
            remember_unpushed(model_dir, live, decision, [reason], refused=bool(held_back))
        new = version is None
        if version is None and not held_back:
            described = metrics.model_dump(mode="json", exclude={"format"})
            record |= self._describe(input_dict) | {"metrics": described, "settings_key": decision.settings_key}
            try:
                version = push(model_path, model_dir, record, canary, _list_extras(input_dict), compared_with)
            except OvertakenError as error:
                held_back = {"version": error.version, "state": OVERTAKEN}
        if version is None:
            self._MarkNotPushed(pushed)
            pushed.set_string_custom_property(HELD_BACK, json.dumps(held_back))
            return
        if not new:
            logging.info("The same model is there as version %d; not pushed again.", version.number)
        self._MarkPushed(pushed, version.path, str(version.number))
        pushed.set_int_custom_property(NEW, int(new))
        pushed.set_int_custom_property(CANARY, int(canary and version != found.live))
        removed = releases.keep(model_dir, exec_properties["keep_versions"])
        pushed.set_string_custom_property(REMOVED_VERSIONS, json.dumps(removed))

    def _describe(self, input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
        """What only this run's artifacts know."""
        ingest = IngestSummary.read(artifact_utils.get_single_uri(input_dict["report"]))
        run_id = self._context.pipeline_run_id if self._context else None
        run_id = run_id or os.environ.get(RUN_ID)
        described = {"salt": ingest.salt, "fingerprint": ingest.fingerprint, "counts": ingest.counts}
        return {"run_id": run_id, "window_end": find_newest_day(ingest.spans)} | described


class Pusher(base_component.BaseComponent):
    """Pushes a blessed model as the next version."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        evaluation: types.BaseChannel,
        report: types.BaseChannel,
        decision: types.BaseChannel,
        statistics: types.BaseChannel,
        embeddings: types.BaseChannel,
        model_dir: str,
        record: dict[str, Any],
        keep_versions: int,
        canary: bool = False,
        served: str = "",
        code_digest: str = "",
    ):
        """Describes one push.

        Args:
            model: the candidate.
            model_blessing: the Evaluator's verdict.
            infra_blessing: the ServingValidator's.
            evaluation: of which `summary.json` goes into the record.
            report: of the ingest, for the salt and the images.
            decision: of the RetrainingGate.
            statistics: of StatisticsGen, for the next run to compare with.
            embeddings: of the Embedder, likewise.
            model_dir: the serving folder of the model.
            record: what to remember with the version besides, as `graft.json`.
            keep_versions: how many of the newest versions stay, this one included.
            canary: whether to push below the live version, to be tried beside it.
            served: what the serving folder held, so that TFX does not take an old push for a present one.
            code_digest: of our code.
        """
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            evaluation=evaluation,
            report=report,
            decision=decision,
            statistics=statistics,
            embeddings=embeddings,
            model_dir=model_dir,
            record=json.dumps(record, sort_keys=True),
            canary=int(canary),
            keep_versions=keep_versions,
            served=served,
            code_digest=code_digest,
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)


def push(
    model_path: str,
    model_dir: str,
    record: dict[str, Any],
    canary: bool = False,
    extras: Sequence[str] = (),
    compared_with: int | None = ANY_VERSION,
) -> versions.Version:
    """Puts a SavedModel into a model's folder as a new version.

    Args:
        model_path: a SavedModel.
        model_dir: where the versions are.
        record: goes into `assets.extra/graft.json`, with what is only known now.
        canary: below the live version, in the place of the canary that there may be.
        extras: files to keep in `assets.extra/` besides.
        compared_with: the number of the live version that the model was compared with; None for none.
    Returns:
        The version; its number is the time in seconds, or more if that is taken. That of a canary is the highest
        which is free below the live version's.
    Raises:
        UsageError: if models.config cannot be read, or no number is free for a canary.
        OvertakenError: if another version is live: it is not what this model would replace. Nothing is left behind.
        GraftError, OSError, tf.errors.OpError: if it cannot be written; then nothing is left behind.
    """
    progress.report("copying the model")
    releases.settle(model_dir)
    _check_live(model_dir, compared_with)  # before 94 MB are copied; what counts is the look under the lock
    with versions.stage(model_dir) as staging:
        versions.copy_tree(model_path, staging)
        if canary:
            releases.mark_canary(staging)
        tf.io.gfile.makedirs(os.path.join(staging, versions.EXTRA))
        for path in extras:
            tf.io.gfile.copy(path, os.path.join(staging, versions.EXTRA, os.path.basename(path)), overwrite=True)
        record = record | {"canary": canary, "model_digest": versions.digest_model(staging)}
        if not is_remote(model_dir):
            durable.sync_tree(staging)  # which takes long, so that others need not wait for it at the lock
        with folder_lock.locked(model_dir):
            _check_live(model_dir, compared_with)
            return _place(staging, model_dir, record)


def _place(staging: str, model_dir: str, record: dict[str, Any]) -> versions.Version:
    """Gives a staged model its number, with the lock of the folder held."""
    canary = record["canary"]
    number = releases.find_canary_number(model_dir) if canary else versions.next_number(model_dir)
    time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    whole = VersionRecord(**record | {"pushed_version": number, "pushed_at": time})
    _write_record(staging, whole)
    target = os.path.join(model_dir, str(number))
    if canary:
        releases.make_way(model_dir)
    versions.place(staging, target)
    return versions.Version(number, target, whole)


def _check_live(model_dir: str, compared_with: int | None) -> None:
    """Refuses to replace what a model was not compared with; where nothing is live, it replaces nothing."""
    live = versions.find_live(model_dir)
    if live and compared_with not in (ANY_VERSION, live.number):
        raise OvertakenError(live.number)


def _write_record(path: str, record: VersionRecord) -> None:
    with tf.io.gfile.GFile(os.path.join(path, versions.RECORD), "w") as file:
        file.write(record.render())


def _read_refusal(input_dict: dict[str, list[types.Artifact]]) -> list[str]:
    """What the ServingValidator found wrong; nothing where it was not asked."""
    uri = artifact_utils.get_single_uri(input_dict["infra_blessing"])
    return ServingVerdict.read(uri).reasons if tf.io.gfile.exists(os.path.join(uri, ServingVerdict.FILE)) else []


def _list_extras(input_dict: dict[str, list[types.Artifact]]) -> list[str]:
    """What the next run compares its images with; embeddings have no moments where images are augmented."""
    report, embeddings = (artifact_utils.get_single_uri(input_dict[key]) for key in ("report", "embeddings"))
    statistics = artifact_utils.get_split_uri(input_dict["statistics"], features.TRAIN)
    moments = os.path.join(embeddings, MOMENTS)
    extras = [os.path.join(report, image_set.FILE), os.path.join(statistics, STATISTICS)]
    return [*extras, *([moments] if tf.io.gfile.exists(moments) else [])]


def _find_same(
    found: releases.Releases, model_path: str, record: dict[str, Any], canary: bool
) -> tuple[versions.Version | None, dict[str, Any]]:
    """Looks for a model among the versions that are live, canary or withdrawn.

    A model that somebody has withdrawn does not come back by itself, nor does an untried one become live. Where the
    record of the live version cannot be read, the same model is pushed once more: with a record, it can be compared
    with again.

    Returns:
        The version that is what was asked for; or which other one is the same model, and what that is; or neither.
    """

    def is_same(version: versions.Version) -> bool:
        return _is_same(version, model_path, record)

    if found.live and not found.live.problem and is_same(found.live):
        return found.live, {}
    if found.canary and is_same(found.canary):
        return (found.canary, {}) if canary else (None, {"version": found.canary.number, "state": "canary"})
    for version in reversed(found.withdrawn):
        if is_same(version):
            return None, {"version": version.number, "state": "withdrawn"}
    return None, {}


def _is_same(version: versions.Version, model_path: str, record: dict[str, Any]) -> bool:
    """Compares a version and a model by weights, classes and graph.

    The code that made it does not count: an edit that changes none of these makes no other model, and would bring
    back as live what was withdrawn.
    """

    def shape_of(record: VersionRecord) -> list[Any]:
        return [record.classes, record.config.image_size, record.config.max_megapixels]

    # A record that cannot be read tells nothing; weights and graph do, and a withdrawn model is not to come back.
    if not version.problem and shape_of(version.record) != shape_of(VersionRecord(**record)):
        return False
    if versions.digest_variables(version.path) != versions.digest_variables(model_path):
        return False
    return _digest_graph(version.path) == _digest_graph(model_path)


def _digest_graph(path: str) -> str:
    """Digests preprocessing and network of a SavedModel; of one that is not Graft's, its bytes."""
    try:
        return digest_output(path, _OUTPUT)
    except (KeyError, ValueError):
        return versions.digest_model(path)


def _load(artifacts: list[types.Artifact], name: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(os.path.join(artifact_utils.get_single_uri(artifacts), name)) as file:
        return dict(json.loads(file.read()))
