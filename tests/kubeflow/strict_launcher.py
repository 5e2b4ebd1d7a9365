"""The launcher of Kubeflow Pipelines, which runs in the container of a task: command and outputs.

Read in github.com/kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, and seen with 2.17.0 and Argo 4.0.8:
the launcher ends with 1 whatever its command ended with, whose code is in the log alone; and Argo's umask is 0.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from strict_bucket import Bucket
from strict_driver import LOGS, to_json, to_text
from strict_spec_checks import ParameterType

# What Go's strconv.ParseBool takes.
TRUE = {"1", "t", "T", "true", "True", "TRUE"}
FALSE = {"0", "f", "F", "false", "False", "FALSE"}


class LauncherError(Exception):
    """Error of the launcher, with which the task fails; the launcher ends with 1 for each."""


def prepare_folders(executor_input: Any, bucket: Bucket) -> None:
    """Makes the parent folders of the outputs: prepareOutputFolders.

    An artifact's own folder is the component's affair, and so is the one of the output file.
    """
    paths = [parameter.output_file for parameter in executor_input.outputs.parameters.values()]
    uris = [artifact.uri for found in executor_input.outputs.artifacts.values() for artifact in found.artifacts]
    for path in [*map(pathlib.Path, paths), *map(bucket.find_copy, uris), log_file(executor_input, bucket)]:
        path.parent.mkdir(parents=True, exist_ok=True)


def fill_command(container: Any, component: Any, executor_input: Any, bucket: Bucket) -> list[str]:
    """Replaces placeholders in the command and its arguments, text by text: executeV2.

    The component's defaults are seen here and nowhere else (addDefaultParams).
    """
    filled = pipeline_spec_pb2.ExecutorInput()
    filled.CopyFrom(executor_input)
    for name, parameter in component.input_definitions.parameters.items():
        if parameter.HasField("default_value") and name not in filled.inputs.parameter_values:
            filled.inputs.parameter_values[name].CopyFrom(parameter.default_value)
    placeholders = find_placeholders(filled, bucket)
    command = [*container.command, *container.args]
    for placeholder, text in placeholders.items():
        command = [part.replace(placeholder, text) for part in command]
    return command


def find_placeholders(executor_input: Any, bucket: Bucket) -> dict[str, str]:
    """Returns the value of each placeholder: getPlaceholders."""
    text = json.dumps(to_json(executor_input), separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    # The launcher takes it from JSON too: what does not parse would not have come so far.
    json_format.Parse(text, pipeline_spec_pb2.ExecutorInput())
    placeholders = {"{{$}}": text}
    for way, artifacts in (("inputs", executor_input.inputs.artifacts), ("outputs", executor_input.outputs.artifacts)):
        for name, found in sorted(artifacts.items()):
            uri = found.artifacts[0].uri
            for field, text in (("uri", uri), ("path", str(bucket.find_copy(uri)))):
                placeholders[f"{{{{$.{way}.artifacts['{name}'].{field}}}}}"] = text
    for name, value in sorted(executor_input.inputs.parameter_values.items()):
        placeholders[f"{{{{$.inputs.parameters['{name}']}}}}"] = to_text(value)
    for name, parameter in sorted(executor_input.outputs.parameters.items()):
        placeholders[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter.output_file
    return placeholders


def run_command(command: list[str], folder: pathlib.Path, environment: Mapping[str, str], log: pathlib.Path) -> None:
    """Runs the command in an empty folder, with a home and a folder for temporary files.

    Args:
        command: the program and its arguments.
        folder: of the task.
        environment: what the image and the container spec set.
        log: where both streams go.
    Raises:
        LauncherError: there is no such program, or it did not end with 0; the message has its code, as the log.
    """
    work, home, temporary = folder / "work", folder / "home", folder / "tmp"
    for path in (work, home, temporary):
        path.mkdir(parents=True, exist_ok=True)
    binaries = pathlib.Path(sys.executable).parent
    own = {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(temporary)}
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                command,
                cwd=work,
                env=own | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0,
            )
        except OSError as error:
            raise LauncherError(f'exec: "{command[0]}": {error.strerror}') from error
        try:
            exit_code = process.wait()
        finally:
            # A container ends with its command, and with it whatever the command left behind.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if exit_code:
        raise LauncherError(f"exit status {exit_code}")


def read_output(executor_input: Any) -> Any:
    """Reads the executor's output file, if it exists: getExecutorOutputFile."""
    path = pathlib.Path(executor_input.outputs.output_file)
    output = pipeline_spec_pb2.ExecutorOutput()
    if not path.exists():
        return output
    try:
        return json_format.Parse(path.read_text(), output)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise LauncherError(f'failed to unmarshall ExecutorOutput in file "{path}": {error}') from error


def collect_parameters(executor_input: Any, component: Any, output: Any) -> dict[str, Any]:
    """Reads the output parameters, from the output file or each from its own file: collectOutputParameters."""
    parameters = dict(output.parameter_values)
    for name, parameter in sorted(executor_input.outputs.parameters.items()):
        if name in parameters:
            continue
        parameter_type = component.output_definitions.parameters[name].parameter_type
        try:
            parameters[name] = from_text(pathlib.Path(parameter.output_file).read_text(), parameter_type)
        except (OSError, ValueError) as error:
            type_name = ParameterType.ParameterTypeEnum.Name(parameter_type)
            raise LauncherError(
                f'failed to read output parameter name="{name}" type="{type_name}" path="{parameter.output_file}": '
                f"{error}"
            ) from error
    return parameters


def from_text(text: str, parameter_type: int) -> Any:
    """Parses the text of a file into a value: v2/metadata/converter.go, TextToPbValue."""
    value = struct_pb2.Value()
    if parameter_type == ParameterType.STRING:
        value.string_value = text
    elif parameter_type == ParameterType.NUMBER_INTEGER:
        value.number_value = int(text)
    elif parameter_type == ParameterType.NUMBER_DOUBLE:
        value.number_value = float(text)
    elif parameter_type == ParameterType.BOOLEAN:
        if text.strip() not in TRUE | FALSE:
            raise ValueError(f"{text!r} is no bool")
        value.bool_value = text.strip() in TRUE
    else:
        plain = json.loads(text)
        if not isinstance(plain, list if parameter_type == ParameterType.LIST else dict):
            raise ValueError(f"unexpected type: {text!r}")
        json_format.ParseDict(plain, value)
    return value


def collect_artifacts(executor_input: Any, output: Any, run_root: str, bucket: Bucket) -> dict[str, Any]:
    """Returns the output artifacts, with the executor's URIs and metadata: uploadOutputArtifacts.

    Of a list, the first; of an artifact, nothing else: mergeRuntimeArtifacts. An artifact that is not in a bucket is
    recorded without a file, too ("We allow components to not produce output files").

    Raises:
        LauncherError: one was moved out of the run's folder, or has no local file to be uploaded.
    """
    if missing := bucket.upload(executor_input):
        raise LauncherError(f"failed to upload output artifact(s) without a local file: {', '.join(missing)}")
    artifacts = {}
    for name, provisioned in sorted(executor_input.outputs.artifacts.items()):
        artifact = pipeline_spec_pb2.RuntimeArtifact()
        artifact.CopyFrom(provisioned.artifacts[0])
        written = output.artifacts[name].artifacts if name in output.artifacts else []
        if written:
            artifact.uri = written[0].uri or artifact.uri
            for key, value in written[0].metadata.fields.items():
                artifact.metadata.fields[key].CopyFrom(value)
        # objectstore/config.go, KeyFromURI: the launcher knows the bucket of the run and no other.
        if not artifact.uri.startswith(f"{run_root}/"):
            raise LauncherError(
                f'failed to upload output artifact "{name}": URI "{artifact.uri}" does not have expected bucket '
                f'prefix "{run_root}/"'
            )
        artifacts[name] = artifact
    return artifacts


def log_file(executor_input: Any, bucket: Bucket) -> pathlib.Path:
    """Returns the path of the command's log; with a bucket, inside the bucket's folder."""
    return bucket.find_object(executor_input.outputs.artifacts[LOGS].artifacts[0].uri)
