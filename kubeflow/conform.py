"""Makes TFX's pipeline spec one that the open-source backend of Kubeflow Pipelines takes.

TFX compiles for Vertex AI. What differs, each a function below: types of artifacts, defaults of parameters, what is
cached, how a run ends early. What it could not mend is refused: resolvers, importers, hooks.
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
# What they read is not among their inputs: the folder of images, and the serving folder.
_UNCACHED = ("ExampleGen", _GATE, "Evaluator", "Pusher")
_PROCEED = "retraining-gate-train"
_SYSTEM_TYPES = {"Dataset": "system.Dataset", "Model": "system.Model"}
_PARAMETER_TYPES = {int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING"}

Spec = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a run."""

    default: str | int | float
    description: str


def conform(
    spec: Spec,
    parameters: dict[str, Parameter],
    components: Iterable[BaseComponent],
    artifacts: str,
    version: str,
) -> Spec:
    """Applies all that follows, to a copy.

    Args:
        spec: TFX's PipelineSpec, version 2.1.
        parameters: of a run, by name.
        components: of the pipeline that was compiled.
        artifacts: where a run keeps them, unless it says otherwise.
        version: of Graft.
    Returns:
        The spec that goes to Kubeflow.
    Raises:
        GraftError: if it asks for what that backend cannot run.
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
    """The backend has no resolvers, and passes hooks over in silence."""
    for label, executor in spec["deploymentSpec"]["executors"].items():
        if set(executor) != {"container"}:
            raise GraftError(f"{label}: expected a container, got {', '.join(executor)}, which Kubeflow cannot run.")
        if "lifecycle" in executor["container"]:
            raise GraftError(f"{label}: relies on a hook, which Kubeflow does not call.")


def list_types(component: BaseComponent) -> dict[str, type[Artifact]]:
    """The artifact types of a component's inputs and outputs, by key."""
    return {key: channel.type for key, channel in {**component.inputs, **component.outputs}.items()}


def replace_artifact_types(spec: Spec, types: dict[str, dict[str, type[Artifact]]]) -> None:
    """TFX describes its types in line; kfp's client and the backend know `system.*`."""
    for name, component in spec["components"].items():
        for side in ("inputDefinitions", "outputDefinitions"):
            for key, artifact in component.get(side, {}).get("artifacts", {}).items():
                annotation = types[name][key].TYPE_ANNOTATION
                # Not system.Metrics and the like: there every property has to be a number.
                title = _SYSTEM_TYPES.get(annotation.__name__ if annotation else "", "system.Artifact")
                artifact["artifactType"] = {"schemaTitle": title, "schemaVersion": "0.0.1"}


def pass_to_entry_point(spec: Spec, types: dict[str, dict[str, type[Artifact]]], version: str) -> None:
    """What a driver does not tell a container: the types of its artifacts; and which Graft is meant.

    The name of the component is there because the backend takes containers with the same arguments for one.
    """
    for name in spec["components"]:
        container = spec["deploymentSpec"]["executors"][spec["components"][name]["executorLabel"]]["container"]
        paths = {key: name_utils.get_full_name(kind) for key, kind in types[name].items()}
        own = {"--component": name, "--compiled_by": version, "--artifact_types": json.dumps(paths, sort_keys=True)}
        container["args"] = [*(part for pair in own.items() for part in pair), *container["args"]]


def write_parameters(spec: Spec, parameters: dict[str, Parameter]) -> None:
    """TFX declares the parameters of a run, and leaves out what they are by default."""
    declared = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    if unknown := set(declared) ^ set(parameters):
        raise GraftError(f"parameters of a run that are not read, or not described: {', '.join(sorted(unknown))}.")
    for name, parameter in parameters.items():
        declared[name] = {
            "parameterType": _PARAMETER_TYPES[type(parameter.default)],
            "defaultValue": parameter.default,
            "isOptional": True,
            "description": parameter.description,
        }


def disable_caching(spec: Spec) -> None:
    """What reads more than its inputs runs each time; what lies behind it sees new inputs, and runs as well."""
    for name, task in spec["root"]["dag"]["tasks"].items():
        if name in _UNCACHED:
            task["cachingOptions"] = {}  # as kfp's compiler writes it; enableCache is false by default
        else:
            task["cachingOptions"] = {"enableCache": True}


def end_early(spec: Spec) -> None:
    """Behind the RetrainingGate a task runs only if that says so; the run succeeds either way.

    TFX's conditions look at artifacts, in terms that this backend does not know. Here the gate has an output parameter,
    which the entry point takes from the artifact's property of the same name. Tasks that wait for one that was left
    out are left out, too; so only the first ones need the condition.
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
