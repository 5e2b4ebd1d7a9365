"""RunPage: writes what Kubeflow's page of a run shows: numbers, confusion matrix and curve, report, summary.

Only the compiled pipeline has it, behind the Pusher. It runs whether a model was pushed or refused; a run that ended
early or failed has no evaluation to show.
"""

import dataclasses
import html
import json
import logging
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import DataVerdict, IngestReport, RunDecision
from components.pusher.component import RUN_ID
from components.records.evaluation import EvaluationSummary
from components.records.push import PushOutcome
from components.run_parameters import RunParameters, declare
from kubeflow.run_page.artifacts import ClassificationMetrics, Html, Markdown, Metrics
from kubeflow.run_page.metrics import list_numbers, make_confidence_metrics, make_confusion_matrix
from kubeflow.run_page.roc import Roc, compute_roc
from kubeflow.run_page.sources import gather
from kubeflow.run_page.summary import render_summary
from pipeline.report.outcome import Outcome, find_outcome
from pipeline.report.page import render
from pipeline.report.sources import RunFiles
from pipeline.workspace.workspace import PAGE
from serving.storage.whole_files import write_whole

SUMMARY = "summary.md"
_DISPLAY_NAME = "display_name"  # property that the page shows as the name of an artifact


class _Input(NamedTuple):
    """Input of the RunPage: output of a component, and the type of its artifacts."""

    component: str
    output: str
    type: type[types.Artifact]


_INPUTS = {
    "report": _Input("ExampleGen", "report", IngestReport),
    "decision": _Input("RetrainingGate", "decision", RunDecision),
    "statistics": _Input("StatisticsGen", "statistics", standard_artifacts.ExampleStatistics),
    "data_verdict": _Input("DataGate", "verdict", DataVerdict),
    "drift_verdict": _Input("DriftGate", "verdict", DataVerdict),
    "model_run": _Input("Trainer", "model_run", standard_artifacts.ModelRun),
    "evaluation": _Input("Evaluator", "evaluation", standard_artifacts.ModelEvaluation),
    "infra_blessing": _Input("ServingValidator", "infra_blessing", standard_artifacts.InfraBlessing),
    "pushed_model": _Input("Pusher", "pushed_model", standard_artifacts.PushedModel),
}


class RunPageSpec(ComponentSpec):
    """Inputs, outputs and parameters of the RunPage."""

    PARAMETERS = {
        **declare(*(field.name for field in dataclasses.fields(RunParameters))),
        "record": ExecutionParameter(type=str),
    }
    INPUTS = {key: ChannelParameter(type=given.type) for key, given in _INPUTS.items()}
    OUTPUTS = {
        "metrics": ChannelParameter(type=Metrics),
        "classification": ChannelParameter(type=ClassificationMetrics),
        "page": ChannelParameter(type=Html),
        "summary": ChannelParameter(type=Markdown),
    }


class RunPageExecutor(base_executor.BaseExecutor):
    """Executor that reads the artifacts of the run, and writes the four outputs."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the outputs. A report that cannot be made is logged, because the model is pushed already."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        evaluation = EvaluationSummary.read(artifact_utils.get_single_uri(input_dict["evaluation"]))
        files = gather(
            {key: artifact_utils.get_single_uri(artifacts) for key, artifacts in input_dict.items()},
            evaluation,
            PushOutcome.model_validate_json(pushed.get_string_custom_property(PushOutcome.PROPERTY)),
            json.loads(exec_properties["record"]),
            exec_properties,
            os.environ.get(RUN_ID, ""),
        )
        outputs = {key: artifact_utils.get_single_instance(artifacts) for key, artifacts in output_dict.items()}
        write_outputs(files, evaluation, outputs)


class RunPage(base_component.BaseComponent):
    """Component that writes what Kubeflow's page of a run shows."""

    SPEC_CLASS = RunPageSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RunPageExecutor)

    def __init__(self, components: Iterable[BaseComponent], parameters: RunParameters):
        """Connects the page with the other components.

        Args:
            components: components of the pipeline, the Pusher among them.
            parameters: parameters of the run.
        """
        by_id = {component.id: component for component in components}
        record = json.loads(by_id["Pusher"].exec_properties["settings"])["record"]
        spec = RunPageSpec(
            **{key: by_id[given.component].outputs[given.output] for key, given in _INPUTS.items()},
            **parameters.select(RunPageSpec),
            record=json.dumps({key: record[key] for key in ("config", "resolved")}, sort_keys=True),
            **{key: types.Channel(type=parameter.type) for key, parameter in RunPageSpec.OUTPUTS.items()},
        )
        super().__init__(spec=spec)


def write_outputs(files: RunFiles, evaluation: EvaluationSummary, outputs: dict[str, types.Artifact]) -> None:
    """Writes properties and files of the four outputs, and points two of them at their files.

    Args:
        files: contents of the run's artifacts.
        evaluation: summary of the Evaluator.
        outputs: output artifacts by key, each with an empty folder.
    """
    curve = compute_roc(files.answers) if files.answers else None
    outcome = describe_outcome(files)
    for name, value in list_numbers(evaluation).items():
        outputs["metrics"].set_float_custom_property(name, value)
    _describe_classification(outputs["classification"], evaluation, curve)
    _point_at(outputs["page"], PAGE, _try_to_render(files, outcome), "report")
    _point_at(outputs["summary"], SUMMARY, render_summary(evaluation, outcome, curve), "summary")


def describe_outcome(files: RunFiles) -> Outcome:
    """Describes the outcome of a run without next steps that are commands for a workspace of this machine."""
    outcome = find_outcome(files)
    return dataclasses.replace(outcome, steps=[step for step in outcome.steps if not step.command])


def _describe_classification(artifact: types.Artifact, evaluation: EvaluationSummary, curve: Roc | None) -> None:
    artifact.set_string_custom_property(_DISPLAY_NAME, f"{evaluation.images:,} test images")
    artifact.set_json_value_custom_property("confusionMatrix", make_confusion_matrix(evaluation))
    if curve:
        artifact.set_json_value_custom_property("confidenceMetrics", make_confidence_metrics(curve))


def _try_to_render(files: RunFiles, outcome: Outcome) -> str:
    try:
        return render(files, outcome)
    except Exception as error:
        logging.exception("RunPage: the report of the run could not be made")
        return f"<!doctype html><title>Graft</title><p>The report could not be made: {html.escape(repr(error))}"


def _point_at(artifact: types.Artifact, name: str, text: str, display_name: str) -> None:
    """Writes a file into the folder of an artifact, and sets the URI to that file, which the page reads."""
    path = os.path.join(artifact.uri, name)
    with write_whole(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    artifact.uri = path
    artifact.set_string_custom_property(_DISPLAY_NAME, display_name)
