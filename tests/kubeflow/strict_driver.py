"""The driver of Kubeflow Pipelines, which runs before a task: conditions, inputs, outputs, cache key.

Read in github.com/kubeflow/pipelines, backend/src/v2: driver/container.go, driver/resolve.go, driver/driver.go
(provisionOutputs), expression/expression.go, cacheutils/cache.go, metadata/client.go and metadata/converter.go.
"""

import decimal
import hashlib
import json
import operator
import pathlib
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from strict_spec_checks import KINDS, ParameterType, RefusedError

# One comparison of a condition. CEL knows far more; what the SDK and our compiler write is this.
COMPARISON = re.compile(
    r"""\s*(?P<cast>int\()?\s*inputs\.parameter_values\[(?P<quote>['"])(?P<name>[^'"\\]+)(?P=quote)\]\s*(?(cast)\))
        \s*(?P<operator>==|!=|<=|>=|<|>)
        \s*(?:'(?P<single>[^'\\]*)'|"(?P<double>[^"\\]*)"|(?P<number>-?\d+(?:\.\d+)?)|(?P<bool>true|false))\s*""",
    re.VERBOSE,
)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
# The launcher copies the output of the command there: provisionOutputs adds it unless PUBLISH_LOGS is "false".
LOGS = "executor-logs"


class DriverError(Exception):
    """Error of the driver, with which the task fails."""


def split_condition(condition: str) -> list[re.Match[str]]:
    """Splits a condition into its comparisons, joined by `&&`.

    Raises:
        RefusedError: it is anything else.
    """
    comparisons = []
    position = 0
    while match := COMPARISON.match(condition, position):
        comparisons.append(match)
        position = match.end()
        if position == len(condition):
            return comparisons
        if not condition.startswith("&&", position):
            break
        position += 2
    raise RefusedError(
        f"not modelled: the condition {condition!r}; expected inputs.parameter_values['x'] == 'y', "
        "with ==, !=, <, <=, > or >=, a string, number or bool, and && between them"
    )


def will_trigger(condition: str, inputs: Any) -> bool:
    """Tells whether the task runs: v2/expression/expression.go, Condition.

    CEL over the ExecutorInput, so only what the task itself gets is known, without the defaults of its component.
    As in CEL, false && error is false.

    Raises:
        DriverError: a parameter is not there, or is compared with a value of another type.
    """
    errors = []
    for comparison in split_condition(condition) if condition else []:
        try:
            if not compare(comparison, inputs.parameter_values):
                return False
        except DriverError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return True


def compare(comparison: re.Match[str], values: Mapping[str, Any]) -> bool:
    """Evaluates a comparison; a number is a double unless in `int(...)`, and CEL compares only equal types."""
    name = comparison["name"]
    if name not in values:
        raise DriverError(f"evaluation error: no such key: {name}")
    value = to_python(values[name])
    if comparison["cast"]:
        if isinstance(value, str) and not re.fullmatch(r"-?\d+", value):
            raise DriverError(f"evaluation error: type conversion error: int() of {value!r}")
        if not isinstance(value, str | float):
            raise DriverError(f"evaluation error: no such overload: int() of {value!r}")
        value = int(value)
    literal: Any = comparison["single"] if comparison["single"] is not None else comparison["double"]
    if comparison["number"] is not None:
        literal = float(comparison["number"]) if "." in comparison["number"] else int(comparison["number"])
    elif comparison["bool"] is not None:
        literal = comparison["bool"] == "true"
    # expression_test.go, errorOnTypeMismatch: a parameter that is 1 is not 1, but 1.0.
    if type(value) is not type(literal):
        raise DriverError(f"evaluation error: no such overload: {value!r} {comparison['operator']} {literal!r}")
    return OPERATORS[comparison["operator"]](value, literal)


def resolve_inputs(
    task: Any,
    component: Any,
    root_values: Mapping[str, Any],
    outputs: Mapping[str, "Outputs"],
    constants: Mapping[str, str],
) -> Any:
    """Resolves the inputs of a task: v2/driver/resolve.go, resolveInputs.

    Args:
        task: PipelineTaskSpec.
        component: its ComponentSpec.
        root_values: the parameters of the run.
        outputs: of the tasks that ran, by name.
        constants: what the placeholders of the run stand for.
    Returns:
        ExecutorInput.Inputs.
    Raises:
        DriverError: a value is not of the type that the component declares.
    """
    inputs = pipeline_spec_pb2.ExecutorInput.Inputs()
    for name, source in sorted(task.inputs.parameters.items()):
        value = find_value(source, root_values, outputs, constants)
        defined = component.input_definitions.parameters
        if value.WhichOneof("kind") in (None, "null_value"):
            if name in defined and defined[name].is_optional:
                continue
            raise DriverError(f"the resolved input parameter is null: {name}")
        inputs.parameter_values[name].CopyFrom(
            convert(name, defined[name].parameter_type, value) if name in defined else value
        )
    for name, source in sorted(task.inputs.artifacts.items()):
        producer = source.task_output_artifact
        inputs.artifacts[name].artifacts.add().CopyFrom(
            outputs[producer.producer_task].artifacts[producer.output_artifact_key]
        )
    return inputs


def find_value(
    source: Any, root_values: Mapping[str, Any], outputs: Mapping[str, "Outputs"], constants: Mapping[str, str]
) -> Any:
    """Returns the value of a parameter from its source: v2/driver/resolve.go, resolveInputParameter."""
    kind = source.WhichOneof("kind")
    if kind == "component_input_parameter":
        return root_values[source.component_input_parameter]
    if kind == "task_output_parameter":
        producer = source.task_output_parameter
        return outputs[producer.producer_task].parameters[producer.output_parameter_key]
    constant = source.runtime_value.constant
    if constant.string_value in constants:
        return struct_pb2.Value(string_value=constants[constant.string_value])
    return constant


def convert(name: str, parameter_type: int, value: Any) -> Any:
    """Converts a value to its declared type; text accepts any value.

    v2/driver/resolve.go, handleParamTypeValidationAndConversion.
    """
    kind = value.WhichOneof("kind")
    if parameter_type == ParameterType.STRING and kind != "string_value":
        return struct_pb2.Value(string_value=to_text(value))
    if kind != KINDS[parameter_type][0]:
        expected = ParameterType.ParameterTypeEnum.Name(parameter_type)
        raise DriverError(
            f'input parameter "{name}" type mismatch: expect {expected}, got {kind.removesuffix("_value")}'
        )
    return value


def provision_outputs(run_root: str, task_name: str, component: Any, temporary: pathlib.Path) -> Any:
    """Assigns the URIs of a task's outputs: v2/driver/driver.go, provisionOutputs.

    An artifact has a type, a URI and the metadata of its definition, and no name; nothing of it exists yet.

    Args:
        run_root: <pipeline root>/<pipeline>/<run id>.
        task_name: of the task.
        component: its ComponentSpec.
        temporary: what is /tmp in the container.
    Returns:
        ExecutorInput.Outputs.
    """
    outputs = pipeline_spec_pb2.ExecutorInput.Outputs()
    outputs.output_file = str(temporary / "kfp_outputs/output_metadata.json")
    folder = f"{run_root}/{task_name}/{uuid.uuid4()}"
    for name, defined in sorted(component.output_definitions.artifacts.items()):
        artifact = outputs.artifacts[name].artifacts.add(uri=f"{folder}/{name}", type=defined.artifact_type)
        if defined.HasField("metadata"):
            artifact.metadata.CopyFrom(defined.metadata)
    logs = outputs.artifacts[LOGS].artifacts.add(uri=f"{folder}/{LOGS}")
    logs.type.schema_title = "system.Artifact"
    for name in sorted(component.output_definitions.parameters):
        outputs.parameters[name].output_file = str(temporary / "kfp/outputs" / name)
    return outputs


def fingerprint(pipeline: str, component: Any, container: Any, executor_input: Any) -> str:
    """Returns the cache key of a task: v2/cacheutils/cache.go, GenerateCacheKey.

    Not in it: what the image holds, environment variables (newer versions have them), the component's defaults, the
    name of the task. Artifacts count by their name, which is their number in the metadata store.
    """
    inputs, outputs = executor_input.inputs, executor_input.outputs
    key = {
        "pipelineName": pipeline,
        "containerSpec": {"image": container.image, "cmdArgs": [*container.command, *container.args]},
        "inputArtifactNames": {k: [a.name for a in v.artifacts] for k, v in inputs.artifacts.items()},
        "inputParameterValues": {k: to_json(v) for k, v in inputs.parameter_values.items()},
        "outputArtifactsSpec": {
            k: to_json(pipeline_spec_pb2.RuntimeArtifact(type=v.artifacts[0].type, metadata=v.artifacts[0].metadata))
            for k, v in outputs.artifacts.items()
        },
        "outputParametersSpec": {
            k: component.output_definitions.parameters[k].parameter_type for k in outputs.parameters
        },
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


class Outputs:
    """Outputs of a task.

    Attributes:
        artifacts: RuntimeArtifact by key, as the next task gets it.
        parameters: Value by key.
    """

    def __init__(self, artifacts: Mapping[str, Any], parameters: Mapping[str, Any]):
        self.artifacts = artifacts
        self.parameters = parameters


class MetadataStore:
    """Artifacts of all runs, by number, and the executions in the cache.

    In the place of ML Metadata and of the API server's tasks; one file, read at every use, so that it lives as long
    as its folder.
    """

    def __init__(self, file: pathlib.Path, keep_titles: bool):
        """A store in `file`; `keep_titles`: an input has the type that it had as an output, see `record`."""
        self.file = file
        self.keep_titles = keep_titles

    def _read(self) -> dict[str, Any]:
        return json.loads(self.file.read_text()) if self.file.exists() else {"artifacts": 0, "cache": {}}

    def record(self, key: str, artifact: Any) -> Any:
        """Gives an artifact its number; returns the artifact as the next task gets it.

        v2/metadata/client.go, RecordArtifact and ToRuntimeArtifact; converter.go. Only the URI and the metadata are
        kept: the type comes back as an instance schema, and that is empty ("figure out how to get schema"). The
        newest versions keep title and version (v2/component/artifact_schema_test.go): `keep_titles`.

        Raises:
            DriverError: a metadata value is null.
        """
        state = self._read()
        state["artifacts"] += 1
        self.file.write_text(json.dumps(state))
        recorded = pipeline_spec_pb2.RuntimeArtifact(name=str(state["artifacts"]), uri=artifact.uri)
        if self.keep_titles:
            recorded.type.CopyFrom(artifact.type)
        else:
            recorded.type.instance_schema = ""
        recorded.metadata.update({"display_name": key, "store_session_info": "{}"})
        for name, value in artifact.metadata.fields.items():
            recorded.metadata.fields[name].CopyFrom(store(name, value))
        return recorded

    def remember(self, key: str, outputs: Outputs) -> None:
        """Adds an execution to the cache."""
        state = self._read()
        state["cache"][key] = {
            "artifacts": {k: to_json(v) for k, v in outputs.artifacts.items()},
            "parameters": {k: to_json(v) for k, v in outputs.parameters.items()},
        }
        self.file.write_text(json.dumps(state))

    def find(self, key: str) -> Outputs | None:
        """Returns the outputs of a cached execution, with the numbers and URIs of the run that made them."""
        found = self._read()["cache"].get(key)
        if found is None:
            return None
        artifacts = {
            k: json_format.ParseDict(v, pipeline_spec_pb2.RuntimeArtifact()) for k, v in found["artifacts"].items()
        }
        parameters = {k: json_format.ParseDict(v, struct_pb2.Value()) for k, v in found["parameters"].items()}
        return Outputs(artifacts, parameters)


def store(name: str, value: Any) -> Any:
    """Converts a value to ML Metadata and back: v2/metadata/converter.go, StructValueToMLMDValue."""
    kind = value.WhichOneof("kind")
    if kind in ("string_value", "number_value"):
        return value
    if kind == "bool_value":
        return struct_pb2.Value(number_value=float(value.bool_value))
    if kind not in ("list_value", "struct_value"):
        raise DriverError(f"failed to convert RuntimeArtifact to MLMD artifact: unsupported value type: {name} is null")
    wrapped = struct_pb2.Value()
    wrapped.struct_value.fields["list" if kind == "list_value" else "struct"].CopyFrom(value)
    return wrapped


def to_python(value: Any) -> Any:
    """Converts a protobuf Value to Python; numbers are floats."""
    return value.number_value if value.WhichOneof("kind") == "number_value" else json_format.MessageToDict(value)


def to_json(message: Any) -> Any:
    """Renders a message as Go's protojson does: whole numbers without a point."""
    return _shorten(json_format.MessageToDict(message))


def _shorten(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shorten(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shorten(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def to_text(value: Any) -> str:
    """Renders a Value as text: v2/metadata/converter.go, PbValueToText; the launcher's placeholders use it, too."""
    plain = to_json(value)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, float):
        return format(decimal.Decimal(repr(plain)), "f")
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
