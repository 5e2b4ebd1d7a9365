"""Pusher: puts a blessed model into the serving folder, unless the same model is already there or was withdrawn."""

import dataclasses
import functools
import os
from typing import Any, Literal

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.pusher import executor as tfx_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import IngestReport, RunDecision
from components.embedder.moments import FILE as MOMENTS
from components.example_gen import image_set
from components.gates.drift import STATISTICS
from components.gates.unpushed import write_unpushed
from components.pusher.card import render_card
from components.pusher.card_facts import CardFacts, gather_facts
from components.pusher.push import SupersededError, push
from components.pusher.same_model import LIVE, SameModel, find_own, find_same
from components.records.decision import RetrainingDecision
from components.records.evaluation import EvaluationSummary
from components.records.ingest import IngestSummary, find_newest_day
from components.records.push import CANARY, SUPERSEDED, WITHDRAWN, PushOutcome, Rejection
from components.records.serving_verdict import ServingVerdict
from components.run_parameters import RunParameters, declare
from schema import features
from serving.releases import releases
from serving.releases.record import VersionRecord
from serving.releases.versions import Version
from serving.storage.documents import Fields

RUN_ID = "GRAFT_RUN_ID"  # environment variable with the id of the run, where TFX does not pass it


class PushSettings(Fields):
    """Settings of a push.

    Attributes:
        record: fields of `graft.json` that the artifacts of the run do not contain.
        keep_versions: number of newest versions that stay, including this one.
        canary: whether to push the model as a canary, a version below the live one.
        served: state of the serving folder; TFX reuses a push only while this state is the same.
    """

    record: dict[str, Any]
    keep_versions: int
    canary: bool = False
    served: str = ""


@dataclasses.dataclass(frozen=True)
class PusherInputs:
    """Channels that the Pusher reads.

    Attributes:
        model: candidate.
        model_blessing: verdict of the Evaluator.
        infra_blessing: verdict of the ServingValidator.
        evaluation: evaluation of the Evaluator, for the record and the model card.
        report: report of ExampleGen, for the salt and the set of images.
        decision: decision of the RetrainingGate.
        statistics: statistics of StatisticsGen, which the next run compares its images with.
        embeddings: embeddings of the Embedder, whose moments the next run compares with its own.
    """

    model: types.BaseChannel
    model_blessing: types.BaseChannel
    infra_blessing: types.BaseChannel
    evaluation: types.BaseChannel
    report: types.BaseChannel
    decision: types.BaseChannel
    statistics: types.BaseChannel
    embeddings: types.BaseChannel


class PusherSpec(ComponentSpec):
    """Inputs, outputs and parameters of TFX's Pusher, and the inputs for the record of a version."""

    PARAMETERS = {
        **declare("model_dir"),
        "settings": ExecutionParameter(type=str),
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


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Model that may be pushed.

    Attributes:
        path: folder of the SavedModel.
        model_dir: serving folder of the model.
        settings: settings of the push.
        decision: decision of the RetrainingGate, with the keys of images and settings.
        evaluation: summary of the Evaluator.
        inputs: artifacts of the run, by key.
        run_id: id of the run, or None.
    """

    path: str
    model_dir: str
    settings: PushSettings
    decision: RetrainingDecision
    evaluation: EvaluationSummary
    inputs: dict[str, list[types.Artifact]]
    run_id: str | None

    @property
    def compared_with(self) -> int | None:
        """Number of the live version that the model was compared with; None if no version was live."""
        return self.evaluation.baseline.version if self.evaluation.baseline else None

    def find_uri(self, key: str) -> str:
        """Returns the folder of an input artifact."""
        return str(artifact_utils.get_single_uri(self.inputs[key]))


class PusherExecutor(tfx_executor.Executor):
    """Executor that checks the blessings, pushes the model and marks the artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model unless it lacks a blessing, is there already, was withdrawn or was superseded."""
        self._log_startup(input_dict, output_dict, exec_properties)
        candidate = self._read_candidate(input_dict, exec_properties)
        outcome = _push_blessed(candidate) if self.CheckBlessing(input_dict) else _record_refusal(candidate)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if outcome.version is None:
            self._MarkNotPushed(pushed)
        else:
            self._MarkPushed(pushed, outcome.path, str(outcome.version))
        pushed.set_string_custom_property(PushOutcome.PROPERTY, outcome.model_dump_json())

    def _read_candidate(
        self, input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]
    ) -> Candidate:
        run_id = self._context.pipeline_run_id if self._context else None
        return Candidate(
            path=self.GetModelPath(input_dict),
            model_dir=exec_properties["model_dir"],
            settings=PushSettings.model_validate_json(exec_properties["settings"]),
            decision=RetrainingDecision.read(artifact_utils.get_single_uri(input_dict["decision"])),
            evaluation=EvaluationSummary.read(artifact_utils.get_single_uri(input_dict["evaluation"])),
            inputs=input_dict,
            run_id=run_id or os.environ.get(RUN_ID),
        )


class Pusher(base_component.BaseComponent):
    """Component that pushes a blessed model as the next version."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)

    def __init__(self, inputs: PusherInputs, parameters: RunParameters, settings: PushSettings, code_digest: str):
        """Describes one push.

        Args:
            inputs: channels of the candidate, its verdicts and its origin.
            parameters: parameters of the run.
            settings: settings of the push.
            code_digest: digest of Graft's code.
        """
        spec = PusherSpec(
            **vars(inputs),
            **parameters.select(PusherSpec),
            settings=settings.model_dump_json(),
            code_digest=code_digest,
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)


def _record_refusal(candidate: Candidate) -> PushOutcome:
    """Records a model without a blessing as not pushed, if the verdicts give reasons."""
    if reasons := candidate.evaluation.failures + _read_refusal(candidate.find_uri("infra_blessing")):
        write_unpushed(candidate.model_dir, candidate.compared_with, candidate.decision, reasons)
    return PushOutcome()


def _push_blessed(candidate: Candidate) -> PushOutcome:
    """Pushes a blessed model unless a version is the same model.

    If that version is withdrawn, the model is rejected: only a user makes it live again. If that version is the canary,
    the model is not pushed as live either: only a user promotes a canary.
    """
    found, settings = releases.read(candidate.model_dir), candidate.settings
    canary = settings.canary and found.live is not None  # the first version is live in any case
    record = VersionRecord(**settings.record)
    own = find_own(found, candidate.run_id, candidate.path, record)
    same = find_same(found, candidate.path, record)
    if own:
        outcome = _report_again(own, found)
    elif same is None:
        outcome = _push_new(candidate, canary)
    elif same.state == LIVE or (same.state == CANARY and canary):
        outcome = _keep_same(same)
        _record_same(candidate, found, same, "there already", refused=False)
    else:
        outcome = _reject(same)
        _record_same(candidate, found, same, same.state, refused=True)
    if outcome.version is None:
        return outcome
    removed = releases.keep(candidate.model_dir, settings.keep_versions)
    return outcome.model_copy(update={"removed_versions": removed})


def _push_new(candidate: Candidate, canary: bool) -> PushOutcome:
    """Pushes the model, unless the live version is no longer the one that the model was compared with."""
    try:
        version = push(
            candidate.path,
            candidate.model_dir,
            _make_record(candidate),
            canary,
            _list_extras(candidate),
            candidate.compared_with,
            functools.partial(render_card, _gather_facts(candidate)),
        )
    except SupersededError as error:
        return PushOutcome(held_back=Rejection(version=error.version, state=SUPERSEDED))
    return PushOutcome(version=version.number, path=version.path, new=True, canary=canary)


def _report_again(own: Version, found: releases.Releases) -> PushOutcome:
    """Returns the outcome of a push whose task was started anew before it was reported: that of the first start."""
    logging.info("Version %d is from an earlier start of this task; not pushed again.", own.number)
    canary = found.canary is not None and found.canary.number == own.number
    return PushOutcome(version=own.number, path=own.path, new=True, canary=canary)


def _keep_same(same: SameModel) -> PushOutcome:
    """Returns the outcome for a model that has been pushed before; its version does not change."""
    number = same.version.number
    logging.info("The same model is there as version %d; not pushed again.", number)
    return PushOutcome(version=number, path=same.version.path, canary=same.state == CANARY)


def _reject(same: SameModel) -> PushOutcome:
    """Returns the outcome for a model that is the same as a withdrawn version or the canary."""
    state: Literal["canary", "withdrawn"] = WITHDRAWN if same.state == WITHDRAWN else CANARY
    return PushOutcome(held_back=Rejection(version=same.version.number, state=state))


def _record_same(candidate: Candidate, found: releases.Releases, same: SameModel, state: str, refused: bool) -> None:
    """Records that these images and settings make a model that is a version already.

    Args:
        candidate: model that is not pushed.
        found: versions of the serving folder.
        same: version of the same model.
        state: state of that version, for the reason.
        refused: whether the model was rejected.
    """
    live = found.live.number if found.live else None
    reasons = [f"it is version {same.version.number}, which is {state}"]
    write_unpushed(candidate.model_dir, live, candidate.decision, reasons, refused)


def _make_record(candidate: Candidate) -> VersionRecord:
    """Builds the record of the version from the settings and the artifacts of this run."""
    ingest = IngestSummary.read(candidate.find_uri("report"))
    made = {
        "run_id": candidate.run_id,
        "window_end": find_newest_day(ingest.spans),
        "salt": ingest.salt,
        "fingerprint": ingest.fingerprint,
        "counts": ingest.counts,
        "metrics": candidate.evaluation.model_dump(mode="json", exclude={"format"}),
        "settings_key": candidate.decision.settings_key,
    }
    return VersionRecord(**candidate.settings.record | made)


def _gather_facts(candidate: Candidate) -> CardFacts:
    """Reads what the model card tells, before the push takes the lock of the folder."""
    evaluation, report, infra_blessing = map(candidate.find_uri, ("evaluation", "report", "infra_blessing"))
    return gather_facts(candidate.path, evaluation, report, infra_blessing, candidate.evaluation)


def _list_extras(candidate: Candidate) -> list[str]:
    """Lists the files that the next run compares its images with: set of images, statistics, moments.

    With augmentation there are no embeddings and so no moments.
    """
    statistics = artifact_utils.get_split_uri(candidate.inputs["statistics"], features.TRAIN)
    moments = os.path.join(candidate.find_uri("embeddings"), MOMENTS)
    extras = [os.path.join(candidate.find_uri("report"), image_set.FILE), os.path.join(statistics, STATISTICS)]
    return [*extras, *([moments] if tf.io.gfile.exists(moments) else [])]


def _read_refusal(infra_blessing: str) -> list[str]:
    """Reads the ServingValidator's reasons; returns [] if the model was not tried in a server."""
    verdict = ServingVerdict.find(infra_blessing)
    return verdict.reasons if verdict else []
