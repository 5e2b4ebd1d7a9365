"""Entry point of each task's container: TFX's own, with the artifact types that Kubeflow's driver leaves out.

    python -m kubeflow.entry_point --component Trainer --compiled_by VERSION --artifact_types JSON ... as TFX's

The driver passes no types of input artifacts, so the command line has them. The launcher copies artifacts from a bucket
to a local folder before a task (gs://bucket/x to /gcs/bucket/x), and back after it. The executors work in that folder.
Beam's workers on other machines do not see it: with a runner that has such workers, a component that runs on Beam reads
and writes the bucket itself.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from kubeflow.folders import check_folders, explain_refused_file
from kubeflow.version import check_version, read_version
from pipeline.card_advice import IMAGE_REMEDY, describe_unused_card, explain_full_card
from schema.errors import GraftError, describe_error
from serving.process.cores import bound_thread_pools
from serving.process.output import echo, make_streams_safe
from serving.storage.gfile import load_tensorflow, set_defaults

# As in backend/src/v2/component/launcher_v2.go of kubeflow/pipelines.
_LAUNCHER_FOLDERS = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}
_LAUNCHER_ROOT = "GRAFT_LAUNCHER_ROOT"  # "/" by default; tests set another
_WRITTEN_IN_PLACE = "written_in_place"
_METRICS, _TFX_VERSION = "system.Metrics", "tfx_version"
_UMASK = 0o022  # others may read and not write; Argo's executor sets 0 in each pod
_HERE = {"", "DirectRunner", "BundleBasedDirectRunner", "FnApiRunner", "SwitchingDirectRunner"}


def main(arguments: Sequence[str]) -> int:
    """Runs one task; prints an error that a user can cause as one message.

    Args:
        arguments: arguments of the command line.
    Returns:
        The exit code: 0, or that of the error.
    """
    os.umask(os.umask(_UMASK) | _UMASK)
    args, beam_args = _parse(arguments)
    bound_thread_pools()
    set_defaults()
    make_streams_safe()
    try:
        check_version(args.compiled_by)
        run_task(args, beam_args)
    except GraftError as error:
        return _explain(error)
    except Exception as error:
        from pipeline.beam.engines import explain_worker_error
        from pipeline.beam.faults import explain_engine_error

        if known := explain_worker_error(error) or explain_refused_file(error):
            return _explain(known)
        if fault := explain_full_card(error) or explain_engine_error(error):
            traceback.print_exception(error)  # the whole chain goes into the log of the pod
            return _explain(fault)
        raise
    return 0


def _explain(error: GraftError) -> int:
    echo(*describe_error(error).split("\n"), err=True)
    return error.exit_code


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m kubeflow.entry_point", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"Graft {read_version()}")
    parser.add_argument("--component", required=True, help="name of the component, for the log")
    parser.add_argument("--compiled_by", required=True, help="version of Graft that compiled the pipeline")
    parser.add_argument("--artifact_types", required=True, help="JSON: input or output to the path of a class")
    parser.add_argument("--executor_class_path", required=True, help="as TFX's entry point")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="likewise")
    parser.add_argument("--json_serialized_inputs_spec_args", help="likewise")
    return parser.parse_known_args(arguments)


def run_task(args: argparse.Namespace, beam_args: list[str]) -> None:
    """Runs a task by TFX's entry point, and writes its output for the launcher.

    Args:
        args: parsed arguments of the command line.
        beam_args: arguments of Beam.
    """
    invocation = json.loads(args.json_serialized_invocation_args)
    numbers = find_numbers(invocation)
    check_folders(invocation)
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    from pipeline.beam.in_process import stay_in_process

    stay_in_process()
    load_tensorflow()  # with tensorflow_io, which opens other stores than Google's
    if unused := describe_unused_card(IMAGE_REMEDY):
        echo(f"graft: {unused}", err=True)
    _set_flags()
    set_types(invocation, json.loads(args.artifact_types))
    elsewhere = _runs_elsewhere(beam_args) and runs_on_beam(args.executor_class_path)
    copied = {} if elsewhere else move_to_launcher_folders(invocation)
    wanted = invocation.get("outputs", {}).pop("parameters", {})  # TFX knows no output parameters of this kind
    os.environ.setdefault("GRAFT_RUN_ID", find_run_id(invocation, copied))
    _make_folders(invocation)
    args.json_serialized_invocation_args = json.dumps(invocation)
    kubeflow_v2_run_executor.main((args, beam_args))
    if elsewhere:
        _write_placeholders(invocation)
    finish_output(invocation["outputs"]["outputFile"], copied, list(wanted), numbers)


def find_numbers(invocation: dict[str, Any]) -> list[str]:
    """Returns the keys of the outputs each of whose properties has to be a number.

    Args:
        invocation: ExecutorInput as JSON, with the types of the spec.
    """
    outputs = _list_artifacts(invocation, ("outputs",))
    return [key for key, artifact in outputs if artifact.get("type", {}).get("schemaTitle") == _METRICS]


def set_types(invocation: dict[str, Any], types: dict[str, str]) -> None:
    """Sets the class of each artifact, where TFX's entry point reads it.

    Drops artifacts without a known type: they are the launcher's own (`executor-logs`).

    Args:
        invocation: ExecutorInput as JSON; changed in place.
        types: dotted name of the class, by input or output key.
    """
    for side in ("inputs", "outputs"):
        artifacts = invocation.get(side, {}).get("artifacts", {})
        for key in set(artifacts) - set(types):
            del artifacts[key]
    for key, artifact in _list_artifacts(invocation):
        artifact["type"] = {"schemaTitle": types[key]}


def move_to_launcher_folders(invocation: dict[str, Any]) -> dict[str, str]:
    """Replaces URIs in a bucket by the local folders that the launcher copies from and to.

    Args:
        invocation: ExecutorInput as JSON; changed in place.
    Returns:
        The URI of each local folder.
    """
    root, copied = os.environ.get(_LAUNCHER_ROOT, "/"), {}
    for _, artifact in _list_artifacts(invocation):
        uri = artifact["uri"]
        for scheme, folder in _LAUNCHER_FOLDERS.items():
            if uri.startswith(scheme):
                artifact["uri"] = os.path.join(root, folder, uri.removeprefix(scheme))
                copied[artifact["uri"]] = uri
    return copied


def find_run_id(invocation: dict[str, Any], copied: dict[str, str]) -> str:
    """Returns the run id from the URI of an output, ROOT/PIPELINE/RUN/TASK/EXECUTION/KEY; "" without outputs."""
    outputs = [artifact["uri"] for _, artifact in _list_artifacts(invocation, ("outputs",))]
    parts = copied.get(outputs[0], outputs[0]).split("/") if outputs else []
    return parts[-4] if len(parts) > 4 else ""


def finish_output(path: str, copied: dict[str, str], parameters: list[str], numbers: Sequence[str] = ()) -> None:
    """Corrects the ExecutorOutput that TFX wrote: URIs of the bucket, properties, and the output parameters.

    Args:
        path: path of ExecutorOutput, as JSON.
        copied: the URI of each local folder.
        parameters: output parameters of the task, each a property of one of its artifacts.
        numbers: keys of outputs that lose TFX's property `tfx_version`, a text. TFX sets it behind each executor:
            `tag_output_artifacts_with_version` in tfx/orchestration/portable/outputs_utils.py.
    Raises:
        GraftError: if no artifact has such a property.
    """
    with open(path, encoding="utf-8") as file:
        output = json.load(file)
    properties: dict[str, Any] = {}
    for key, listed in output.get("artifacts", {}).items():
        for artifact in listed["artifacts"]:
            artifact["uri"] = _find_uri(artifact["uri"], copied)
            if key in numbers:
                artifact.get("metadata", {}).pop(_TFX_VERSION, None)
            properties |= artifact.get("metadata", {})
    if missing := [name for name in parameters if name not in properties]:
        raise GraftError(f"output parameter {', '.join(missing)}: no artifact has such a property.")
    if parameters:
        output["parameterValues"] = {name: properties[name] for name in parameters}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(output, file)


def _find_uri(path: str, copied: dict[str, str]) -> str:
    """Returns the URI of a local folder, or of a file directly in it; any other path unchanged."""
    if path in copied:
        return copied[path]
    folder, name = os.path.split(path)
    return f"{copied[folder]}/{name}" if folder in copied else path


def _list_artifacts(
    invocation: dict[str, Any], sides: Sequence[str] = ("inputs", "outputs")
) -> Iterator[tuple[str, dict[str, Any]]]:
    for side in sides:
        for key, listed in invocation.get(side, {}).get("artifacts", {}).items():
            for artifact in listed.get("artifacts", []):
                yield key, artifact


def runs_on_beam(executor_class_path: str) -> bool:
    """Tells whether a component spreads its work with Beam."""
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.utils import import_utils

    return issubclass(import_utils.import_class_by_path(executor_class_path), BaseBeamExecutor)


def _runs_elsewhere(beam_args: Sequence[str]) -> bool:
    runner = next((arg.partition("=")[2] for arg in reversed(beam_args) if arg.startswith("--runner=")), "")
    return runner not in _HERE


def _make_folders(invocation: dict[str, Any]) -> None:
    """Makes an empty folder for each output.

    An earlier attempt of the same task may have left files there. The launcher makes the folders above.
    """
    import tensorflow as tf

    for _, artifact in _list_artifacts(invocation, ("outputs",)):
        if tf.io.gfile.isdir(artifact["uri"]):
            tf.io.gfile.rmtree(artifact["uri"])
        tf.io.gfile.makedirs(artifact["uri"])


def _write_placeholders(invocation: dict[str, Any]) -> None:
    """Writes an empty file into the local folder of each output, for a newer launcher fails without a file to copy."""
    for folder in move_to_launcher_folders({"outputs": invocation["outputs"]}):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, _WRITTEN_IN_PLACE), "w", encoding="utf-8") as file:
            file.write("")


def _set_flags() -> None:
    """Bounds Beam's batches by bytes instead of rows, as `pipeline.local.runner` does."""
    from absl import flags

    flags.FLAGS(["graft"])
    flags.FLAGS.set_default("tfxio_use_byte_size_batching", True)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if "tensorflow_io" in sys.modules:  # its s3:// support aborts the process in the interpreter's own shutdown
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
