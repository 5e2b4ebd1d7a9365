"""Checks of the Kubeflow Pipelines API server before a run, with its refusals.

The words of an error are the backend's where it has any. Each check names its file in github.com/kubeflow/pipelines,
under backend/src.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

ParameterType = pipeline_spec_pb2.ParameterType

# apiserver/common/util.go, ValidatePipelineName: what ML Metadata takes as the name of a context.
PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
# Argo's workflow/util: IsValidWorkflowFieldName.
TASK_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
# apiserver/template/v2_template.go, validatePipelineJobInputs: the kind of a value that each type takes, and the words.
KINDS = {
    ParameterType.NUMBER_DOUBLE: ("number_value", "double or integer", "number"),
    ParameterType.NUMBER_INTEGER: ("number_value", "double or integer", "number"),
    ParameterType.STRING: ("string_value", "string", "string"),
    ParameterType.BOOLEAN: ("bool_value", "bool", "bool"),
    ParameterType.LIST: ("list_value", "list", "list"),
    ParameterType.STRUCT: ("struct_value", "struct", "struct"),
}


class RefusedError(Exception):
    """Refusal of a run by the API server, or by Argo."""


class CheckedSpec:
    """Spec that passes the checks, and that this model supports: one flat DAG of containers.

    Attributes:
        name: of the pipeline.
        root: ComponentSpec of the root.
        components: ComponentSpec of each task, by the task's name.
        containers: PipelineContainerSpec of each task, by the task's name.
        dependencies: the names of the tasks that each task waits for.
    """

    def __init__(self, spec: Mapping[str, Any]):
        """Parses and checks.

        Raises:
            RefusedError: the backend would not take it, or we do not model it.
        """
        message = parse(spec, pipeline_spec_pb2.PipelineSpec(), "invalid v2 pipeline spec")
        check_header(message)
        self.name = message.pipeline_info.name
        self.root = message.root
        executors = parse_executors(spec.get("deploymentSpec", {}))
        self.components = {}
        self.containers = {}
        for name, task in sorted(self.root.dag.tasks.items()):
            check_task(name, task)
            component = find_component(name, task, message.components)
            self.components[name] = component
            self.containers[name] = find_container(name, component, executors)
        self.dependencies = find_dependencies(self.root.dag.tasks)
        for name, task in sorted(self.root.dag.tasks.items()):
            check_inputs(name, task, self.components, self.root)
        check_shared_containers(self.components, self.containers)

    def order(self) -> list[str]:
        """Names of the tasks in topological order; independent tasks by name."""
        return sort_tasks(self.dependencies)


def parse(values: Any, message: Any, what: str) -> Any:
    """Parses JSON into a protobuf message; refuses unknown fields, as Go's protojson does.

    Raises:
        RefusedError: an unknown field, or a value of another type.
    """
    try:
        return json_format.ParseDict(values, message)
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        raise RefusedError(f"{what}: {error}") from error


def check_header(spec: Any) -> None:
    """Checks the header: apiserver/template/v2_template.go, NewV2SpecTemplate; v2/compiler/visitor.go, Accept."""
    if spec.schema_version != "2.1.0":
        raise RefusedError(
            f"KFP only supports schema version 2.1.0, but the pipeline spec has version {spec.schema_version}"
        )
    if not spec.pipeline_info.name:
        raise RefusedError("invalid v2 pipeline spec: name is empty")
    if not PIPELINE_NAME.fullmatch(spec.pipeline_info.name):
        raise RefusedError(
            "pipeline's name must contain only lowercase alphanumeric characters or '-' and must start with "
            f"alphanumeric characters, and no more than 128: {spec.pipeline_info.name!r}"
        )
    if not spec.HasField("root"):
        raise RefusedError("invalid v2 pipeline spec: root component is empty")
    if "root" in spec.components:
        raise RefusedError('component name "root" is reserved')
    if not spec.root.dag.tasks:
        raise RefusedError("DAG root must contain one or more non-exit tasks")


def parse_executors(deployment: Any) -> Mapping[str, Any]:
    """Returns the executors by label; v2/compiler/visitor.go, GetDeploymentConfig.

    The backend leaves out fields that it does not know; here they are refused, nothing could come of them.
    """
    config = parse(deployment, pipeline_spec_pb2.PipelineDeploymentConfig(), "invalid deploymentSpec")
    return config.executors


def check_task(name: str, task: Any) -> None:
    """Checks the name of a task against Argo's rules, and its parts against this model."""
    if not TASK_NAME.fullmatch(name) or name[0].isdigit():
        raise RefusedError(
            f"templates.root.tasks name {name!r}: name must consist of alpha-numeric characters or '-', "
            "and must start with an alphabetic character (Argo's workflow/validate)"
        )
    # v2/driver/driver.go, validateNonRoot; and a producer is looked up under this name (v2/driver/resolve.go).
    if task.task_info.name != name:
        raise RefusedError(
            f"task spec is required: taskInfo.name of task {name!r} is {task.task_info.name!r}; "
            "the tasks behind it would not find it"
        )
    for field in ("artifact_iterator", "parameter_iterator", "iterator_policy"):
        if task.HasField(field):
            raise RefusedError(f"not modelled: {field} of task {name!r}")
    if task.trigger_policy.strategy == pipeline_spec_pb2.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED:
        raise RefusedError(f"not modelled: task {name!r} is an exit task")


def find_component(name: str, task: Any, components: Mapping[str, Any]) -> Any:
    """Returns the component of a task; v2/compiler/visitor.go, dfs."""
    label = task.component_ref.name
    if not label:
        raise RefusedError(f'component ref name is empty for task name="{name}"')
    if label not in components:
        raise RefusedError(f'cannot find component ref name="{label}" for task name="{name}" in component name="root"')
    component = components[label]
    inputs, outputs = component.input_definitions, component.output_definitions
    for key, artifact in [*inputs.artifacts.items(), *outputs.artifacts.items()]:
        check_artifact_type(label, key, artifact)
    for key, parameter in [*inputs.parameters.items(), *outputs.parameters.items()]:
        if parameter.parameter_type not in KINDS:
            raise RefusedError(f"parameter {key} of component {label} has unspecified type")
    return component


def check_artifact_type(component: str, key: str, artifact: Any) -> None:
    """Refuses types other than `system.*`.

    The backend takes any title, and a schema written out; the user interface and the newest versions know only these.
    """
    kind = artifact.artifact_type.WhichOneof("kind")
    if kind != "schema_title":
        raise RefusedError(f"artifact {key} of component {component} has no schemaTitle, only {kind or 'no type'}")
    if not artifact.artifact_type.schema_title.startswith("system."):
        raise RefusedError(
            f"artifact {key} of component {component} has the type {artifact.artifact_type.schema_title}, "
            "expected one of system.*"
        )


def find_container(name: str, component: Any, executors: Mapping[str, Any]) -> Any:
    """Returns the container of a task; v2/compiler/visitor.go, dfs, and v2/compiler/argocompiler/dag.go, task."""
    implementation = component.WhichOneof("implementation")
    if implementation == "dag":
        raise RefusedError(f"not modelled: task {name!r} is a DAG of its own")
    label = component.executor_label
    if implementation is None or label not in executors:
        raise RefusedError(f'executor(label="{label}") not found in deployment config (task name="{name}")')
    kind = executors[label].WhichOneof("spec")
    if kind == "importer":
        raise RefusedError(f'not modelled: executor(label="{label}") is an importer')
    if kind != "container":
        raise RefusedError(
            f'executor(label="{label}"): non-container and non-importer executor not implemented: {kind}'
        )
    container = executors[label].container
    # No file of the backend reads it: the image would start without its hook.
    if container.HasField("lifecycle"):
        raise RefusedError(f'executor(label="{label}") relies on a lifecycle hook, which the backend ignores')
    if not container.command and not container.args:
        raise RefusedError(f'executor(label="{label}"): command and arguments are empty')
    return container


def find_dependencies(tasks: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the tasks that each task waits for: v2/compiler/argocompiler/dag.go, addImplicitDependencies."""
    dependencies = {}
    for name, task in sorted(tasks.items()):
        producers = [p.task_output_parameter.producer_task for p in task.inputs.parameters.values()]
        producers += [a.task_output_artifact.producer_task for a in task.inputs.artifacts.values()]
        wanted = dict.fromkeys([*task.dependent_tasks, *sorted(filter(None, producers))])
        for producer in wanted:
            if producer not in tasks:
                raise RefusedError(f'failed to add implicit deps: unknown producer task "{producer}" in DAG')
        dependencies[name] = list(wanted)
    sort_tasks(dependencies)
    # The driver of each task is a task of Argo's, next to it.
    for name in dependencies:
        if f"{name}-driver" in dependencies:
            raise RefusedError(f"templates.root.tasks: name '{name}-driver' is not unique")
    return dependencies


def sort_tasks(dependencies: Mapping[str, list[str]]) -> list[str]:
    """Sorts tasks topologically; independent tasks by name.

    Raises:
        RefusedError: they wait for each other.
    """
    order: list[str] = []
    while len(order) < len(dependencies):
        ready = [n for n in sorted(dependencies) if n not in order and all(d in order for d in dependencies[n])]
        if not ready:
            raise RefusedError(f"templates.root sorting failed: a cycle in {sorted(set(dependencies) - set(order))}")
        order.append(ready[0])
    return order


def check_inputs(name: str, task: Any, components: Mapping[str, Any], root: Any) -> None:
    """Checks the sources of a task's inputs.

    v2/driver/resolve.go would say so when the task starts; nothing in the run can change it, so it is said before.
    """
    defined = components[name].input_definitions
    for key, parameter in sorted(task.inputs.parameters.items()):
        check_parameter_source(f"input parameter {key} of task {name}", parameter, components, root)
    for key, artifact in sorted(task.inputs.artifacts.items()):
        where = f"input artifact {key} of task {name}"
        if artifact.WhichOneof("kind") != "task_output_artifact":
            raise RefusedError(f"{where}: parent DAG does not have input artifact {artifact.component_input_artifact}")
        check_producer(where, artifact.task_output_artifact, "artifact", components)
    for key, parameter in sorted(defined.parameters.items()):
        if key in task.inputs.parameters or parameter.is_optional:
            continue
        if not parameter.HasField("default_value"):
            raise RefusedError(
                f'task {name}: neither value nor default value provided for non-optional parameter "{key}"'
            )
        # handleParamTypeValidationAndConversion goes on with no value: "" for a string, an error for all else.
        raise RefusedError(
            f"task {name}: parameter {key} has a default, no value and is not optional; the driver would look at "
            "no value (set isOptional, or give a value)"
        )


def check_parameter_source(where: str, parameter: Any, components: Mapping[str, Any], root: Any) -> None:
    """Checks the source of a parameter: v2/driver/resolve.go, resolveInputParameter."""
    if parameter.parameter_expression_selector:
        raise RefusedError(f"{where}: not modelled: parameterExpressionSelector")
    kind = parameter.WhichOneof("kind")
    if kind == "component_input_parameter":
        if parameter.component_input_parameter not in root.input_definitions.parameters:
            raise RefusedError(
                f"{where}: parent DAG does not have input parameter {parameter.component_input_parameter}"
            )
    elif kind == "task_output_parameter":
        check_producer(where, parameter.task_output_parameter, "parameter", components)
    elif kind == "runtime_value":
        value = parameter.runtime_value.WhichOneof("value")
        if value != "constant":
            raise RefusedError(f"{where}: param runtime value spec of type {value} not implemented")
    else:
        raise RefusedError(f"{where}: not modelled: parameter spec of type {kind}")


def check_producer(where: str, source: Any, what: str, components: Mapping[str, Any]) -> None:
    """Checks that the producer has the output; the backend itself fails later, on the missing value."""
    key = getattr(source, f"output_{what}_key")
    if key not in getattr(components[source.producer_task].output_definitions, f"{what}s"):
        raise RefusedError(f'{where}: cannot find output {what} key "{key}" in producer task "{source.producer_task}"')


def check_shared_containers(components: Mapping[str, Any], containers: Mapping[str, Any]) -> None:
    """Refuses two components with equal containers and different specs.

    v2/compiler/argocompiler/argo.go stores a component under the hash of its container (hashComponentContainer), and
    the first one stays (saveProtoToArguments): the second would run with the inputs and outputs of the first.
    """
    first: dict[bytes, str] = {}
    for name, container in sorted(containers.items()):
        owner = first.setdefault(container.SerializeToString(deterministic=True), name)
        ours, theirs = components[name], components[owner]
        if (ours.input_definitions, ours.output_definitions) != (theirs.input_definitions, theirs.output_definitions):
            raise RefusedError(
                f"tasks {owner} and {name} have the same container and different inputs or outputs: the backend would "
                "give both the component spec of one (argo.go, hashComponentContainer). Make their arguments differ."
            )


def check_parameters(root: Any, parameters: Mapping[str, Any]) -> dict[str, struct_pb2.Value]:
    """Returns the parameters of a run, with the defaults of the root.

    apiserver/template/v2_template.go, validatePipelineJobInputs, and for the defaults Compile in
    v2/compiler/argocompiler/argo.go. Stricter in one point: the backend lets 1.5 pass for an integer.

    Raises:
        RefusedError: one is missing, unknown, or of another type.
    """
    defined = root.input_definitions.parameters
    unknown = sorted(set(parameters) - set(defined))
    if unknown:
        raise RefusedError(f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")
    values = {}
    for name, parameter in sorted(defined.items()):
        if name in parameters:
            values[name] = check_value(name, parameter.parameter_type, parameters[name])
        elif parameter.HasField("default_value"):
            values[name] = parameter.default_value
        elif parameter.is_optional:
            values[name] = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        else:
            raise RefusedError(
                f"parameter {name} is not optional, yet has neither default value nor user provided value"
            )
    return values


def check_value(name: str, parameter_type: int, value: Any) -> struct_pb2.Value:
    """Converts a parameter of a run to protobuf."""
    if parameter_type not in KINDS:
        raise RefusedError(f"input parameter {name} has unspecified type")
    message = parse(value, struct_pb2.Value(), f"input parameter {name}")
    kind, type_words, kind_words = KINDS[parameter_type]
    if message.WhichOneof("kind") != kind:
        raise RefusedError(
            f"input parameter {name} requires type {type_words}, but the parameter value is not of {kind_words} "
            f"value type: {value!r}"
        )
    if kind == "number_value" and not math.isfinite(message.number_value):
        raise RefusedError(f"input parameter {name}: {value!r} has no form in JSON")
    if parameter_type == ParameterType.NUMBER_INTEGER and not message.number_value.is_integer():
        raise RefusedError(f"input parameter {name} requires an integer, got {value!r}")
    return message
