"""Patches TFX's pipeline spec for the open-source backend of Kubeflow Pipelines.

TFX compiles for Vertex AI. Each function below patches one difference: types of artifacts, defaults of parameters,
caching, the early end of a run. A spec with resolvers, importers or hooks is refused.
"""

import copy
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types.artifact import Artifact
from tfx.utils import name_utils

from components.gates.retraining import TRAIN
from schema.errors import GraftError

_GATE = "RetrainingGate"
_PROCEED = "retraining-gate-train"
_SYSTEM_TYPES = {"Dataset": "system.Dataset", "Model": "system.Model"}
_PARAMETER_TYPES = {int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING"}

Spec = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """Default and description of a run parameter."""

    default: str | int | float
    description: str


def patch_spec(
    spec: Spec,
    parameters: dict[str, Parameter],
    components: Iterable[BaseComponent],
    artifacts: str,
    version: str,
) -> Spec:
    """Applies every patch of this module to a copy of a spec.

    Args:
        spec: TFX's PipelineSpec, version 2.1.
        parameters: run parameters, by name.
        components: components of the compiled pipeline.
        artifacts: default folder of a run's artifacts.
        version: version of Graft.
    Returns:
        The spec for Kubeflow.
    Raises:
        GraftError: if the spec has parts that the backend cannot run.
    """
    spec = copy.deepcopy(spec)
    refuse_unsupported(spec)
    types = {component.id: list_types(component) for component in components}
    replace_artifact_types(spec, types)
    pass_to_entry_point(spec, types, version)
    write_parameters(spec, parameters)
    disable_caching(spec)
    end_early(spec)
    spec["defaultPipelineRoot"] = artifacts
    return spec


def refuse_unsupported(spec: Spec) -> None:
    """Refuses resolvers, which the backend lacks, and hooks, which it ignores."""
    for label, executor in spec["deploymentSpec"]["executors"].items():
        if set(executor) != {"container"}:
            raise GraftError(f"{label}: expected a container, got {', '.join(executor)}, which Kubeflow cannot run.")
        if "lifecycle" in executor["container"]:
            raise GraftError(f"{label}: has a hook, which Kubeflow does not call.")


def list_types(component: BaseComponent) -> dict[str, type[Artifact]]:
    """Returns the artifact types of a component's inputs and outputs, by key."""
    return {key: channel.type for key, channel in {**component.inputs, **component.outputs}.items()}


def replace_artifact_types(spec: Spec, types: dict[str, dict[str, type[Artifact]]]) -> None:
    """Replaces TFX's inline artifact types by `system.*`, which kfp's client and the backend know."""
    for name, component in spec["components"].items():
        for side in ("inputDefinitions", "outputDefinitions"):
            for key, artifact in component.get(side, {}).get("artifacts", {}).items():
                annotation = types[name][key].TYPE_ANNOTATION
                # system.Metrics would not do: each of its properties has to be a number.
                title = _SYSTEM_TYPES.get(annotation.__name__ if annotation else "", "system.Artifact")
                artifact["artifactType"] = {"schemaTitle": title, "schemaVersion": "0.0.1"}


def pass_to_entry_point(spec: Spec, types: dict[str, dict[str, type[Artifact]]], version: str) -> None:
    """Adds the arguments of `kubeflow.entry_point`: component, artifact types, version of Graft.

    The driver passes no artifact types to a container. The name of the component keeps the arguments of two containers
    apart, because the backend takes containers with the same arguments for the same one.
    """
    for name in spec["components"]:
        container = spec["deploymentSpec"]["executors"][spec["components"][name]["executorLabel"]]["container"]
        paths = {key: name_utils.get_full_name(kind) for key, kind in types[name].items()}
        own = {"--component": name, "--compiled_by": version, "--artifact_types": json.dumps(paths, sort_keys=True)}
        container["args"] = [*(part for pair in own.items() for part in pair), *container["args"]]


def write_parameters(spec: Spec, parameters: dict[str, Parameter]) -> None:
    """Writes type, default and description of each run parameter; TFX writes the name alone."""
    declared = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    if unknown := set(declared) ^ set(parameters):
        raise GraftError(
            f"run parameters that no component reads, or without a description: {', '.join(sorted(unknown))}."
        )
    for name, parameter in parameters.items():
        declared[name] = {
            "parameterType": _PARAMETER_TYPES[type(parameter.default)],
            "defaultValue": parameter.default,
            "isOptional": True,
            "description": parameter.description,
        }


def disable_caching(spec: Spec) -> None:
    """Disables Kubeflow's cache for every task.

    ExampleGen and the gates read more than their inputs, such as the folder of images. Behind them the inputs are new
    each time, so that SchemaGen alone would be taken from the cache. The key of the cache has neither the files nor
    the pipeline root: a task is taken from the cache though its files were removed. The 23 s of a SchemaGen are not
    worth that.
    """
    for task in spec["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {}  # kfp's compiler writes the same; enableCache is false by default


def end_early(spec: Spec) -> None:
    """Skips the tasks behind the RetrainingGate unless its decision is to train; the run succeeds either way.

    TFX's conditions read artifacts, in an expression that this backend does not know. So the gate gets an output
    parameter, which the entry point fills from the artifact's property of the same name. The backend skips the tasks
    that wait for a skipped task, so only the direct successors of the gate need the condition.
    """
    outputs = spec["components"][_GATE]["outputDefinitions"]
    outputs.setdefault("parameters", {})[TRAIN] = {"parameterType": "STRING"}
    for name, task in spec["root"]["dag"]["tasks"].items():
        if _GATE not in task.get("dependentTasks", []):
            continue
        task["inputs"].setdefault("parameters", {})[_PROCEED] = {
            "taskOutputParameter": {"producerTask": _GATE, "outputParameterKey": TRAIN}
        }
        definitions = spec["components"][name]["inputDefinitions"]
        definitions.setdefault("parameters", {})[_PROCEED] = {"parameterType": "STRING"}
        task["triggerPolicy"] = {"condition": f"inputs.parameter_values['{_PROCEED}'] == 'true'"}
