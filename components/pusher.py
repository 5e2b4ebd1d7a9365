"""Pusher: puts a blessed model into the serving folder, whole or not at all.

TFX's copies in place, so a server may see half a model. This one stages beside the target and renames.
"""

import json
import os
import time
import uuid
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.pusher import executor as tfx_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import summary
from components.artifacts import IngestReport
from serving import versions

PUSHED, PUSHED_VERSION = "pushed", "pushed_version"
# Ours, beside TFX's two: whether there was something to push, and which old versions went.
NEW, REMOVED_VERSIONS = "new", "removed_versions"


class PusherSpec(ComponentSpec):
    """TFX's contract, and what the record of a version needs."""

    PARAMETERS = {
        "model_dir": ExecutionParameter(type=str),
        "record": ExecutionParameter(type=str),
        "keep_versions": ExecutionParameter(type=int),
        "served": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "report": ChannelParameter(type=IngestReport),
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
        """Pushes the model unless it is not blessed, or live already."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model_path = self.GetModelPath(input_dict)
        model_dir = exec_properties["model_dir"]
        version = versions.find_live(model_dir)
        record = json.loads(exec_properties["record"])
        new = version is None or not _is_same(version, model_path, record)
        if version is None or new:
            version = push(model_path, model_dir, record | self._describe(input_dict))
        else:
            logging.info("The same model is live as version %d; not pushed again.", version.number)
        self._MarkPushed(pushed, version.path, str(version.number))
        removed = versions.prune(model_dir, exec_properties["keep_versions"])
        pushed.set_int_custom_property(NEW, int(new))
        pushed.set_string_custom_property(REMOVED_VERSIONS, json.dumps(removed))

    def _describe(self, input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
        """What only this run's artifacts know."""
        report = _load(input_dict["report"], "report.json")
        metrics = _load(input_dict["evaluation"], summary.FILE)
        run_id = self._context.pipeline_run_id if self._context else None
        return {"run_id": run_id, "metrics": metrics} | {key: report[key] for key in ("salt", "window_end", "counts")}


class Pusher(base_component.BaseComponent):
    """Pushes a blessed model as the next version."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        evaluation: types.BaseChannel,
        report: types.BaseChannel,
        model_dir: str,
        record: dict[str, Any],
        keep_versions: int,
        served: str = "",
        code_digest: str = "",
    ):
        """Describes one push.

        Args:
            model: the candidate.
            model_blessing: the Evaluator's verdict.
            evaluation: of which `summary.json` goes into the record.
            report: of the ingest, for the salt.
            model_dir: the serving folder of the model.
            record: what to remember with the version besides, as `graft.json`.
            keep_versions: how many of the newest versions stay, this one included.
            served: what the serving folder held, so that TFX does not take an old push for a present one.
            code_digest: of our code.
        """
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            evaluation=evaluation,
            report=report,
            model_dir=model_dir,
            record=json.dumps(record, sort_keys=True),
            keep_versions=keep_versions,
            served=served,
            code_digest=code_digest,
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)


def push(model_path: str, model_dir: str, record: dict[str, Any]) -> versions.Version:
    """Puts a SavedModel into a model's folder as a new version.

    Args:
        model_path: a SavedModel.
        model_dir: where the versions are.
        record: goes into `assets.extra/graft.json`.
    Returns:
        The version; its number is the time in seconds, or more if that is taken.
    Raises:
        OSError, tf.errors.OpError: if it cannot be written; then nothing is left behind.
    """
    tf.io.gfile.makedirs(model_dir)
    # The name is no number, so that a model server passes over it.
    staging = os.path.join(model_dir, f".staging-{uuid.uuid4().hex}")
    try:
        versions.copy_tree(model_path, staging)
        tf.io.gfile.makedirs(os.path.join(staging, os.path.dirname(versions.RECORD)))
        with tf.io.gfile.GFile(os.path.join(staging, versions.RECORD), "w") as file:
            file.write(json.dumps(record, indent=1, ensure_ascii=False))
        number = _next_number(model_dir)
        target = os.path.join(model_dir, str(number))
        tf.io.gfile.rename(staging, target)
    except BaseException:
        if tf.io.gfile.exists(staging):
            tf.io.gfile.rmtree(staging)
        raise
    return versions.Version(number, target, record)


def _is_same(live: versions.Version, model_path: str, record: dict[str, Any]) -> bool:
    """Whether a version has the weights of a model, and was made by the same code for the same images and classes."""

    def shape_of(record: dict[str, Any]) -> list[Any]:
        config, resolved = record.get("config", {}), record.get("resolved", {})
        keys = (record, "classes"), (config, "image_size"), (config, "max_megapixels"), (resolved, "code_digest")
        return [values.get(key) for values, key in keys]

    same_weights = versions.digest_variables(live.path) == versions.digest_variables(model_path)
    return same_weights and shape_of(live.record) == shape_of(record)


def _next_number(model_dir: str) -> int:
    return max([int(time.time()), *(number + 1 for number in versions.list_numbers(model_dir))])


def _load(artifacts: list[types.Artifact], name: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(os.path.join(artifact_utils.get_single_uri(artifacts), name)) as file:
        return dict(json.loads(file.read()))
