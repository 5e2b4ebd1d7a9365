"""Compiles the pipeline for Kubeflow Pipelines with TFX's compiler, and patches the spec for the open-source backend.

The chain is that of a local run, and behind it the RunPage, which writes what Kubeflow's page of a run shows. The
properties that a local run resolves before it starts, such as the list of files and the live version, stay empty here.
The executors resolve them.
"""

import dataclasses
import functools
import os
import pathlib
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from components.network.weights import IMAGENET, RANDOM
from components.run_parameters import RunParameters
from kubeflow.patch_spec import Parameter, patch_spec
from kubeflow.platform import make_platform_spec
from kubeflow.resources import list_executors, write_pods
from kubeflow.run_page.component import RunPage
from kubeflow.version import read_version
from pipeline.beam.engines import beam_pipeline_args, check_engine
from pipeline.chain import Paths, create_pipeline
from pipeline.code_digests import read_code_digests
from pipeline.config.config import Config
from pipeline.config.pods import Pods
from pipeline.console.printing import echo
from pipeline.parameters import make_parameters
from pipeline.resolve import Resolved, digest_settings
from schema.errors import UsageError
from serving.storage.whole_files import name_temporary, write_whole
from serving.storage.wildcards import check_plain

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's takes a tenth of the time
ENTRY_POINT = ["python", "-m", "kubeflow.entry_point"]
_DESCRIPTIONS = {
    "data": "folder of labelled images",
    "window_end": "newest date folder to read, such as 2026-11-23; empty for the newest in the folder",
    "window_days": "how many days up to it; 0 for all",
    "head_epochs": "epochs of phase 1",
    "fine_tune_epochs": "epochs of phase 2; 0 for none",
    "min_accuracy": "accuracy on test needed to be pushed; -1 for one better than chance",
    "max_accuracy_drop": "how far below the live model is still pushed; -1 for whatever is not worse beyond chance",
    "min_recall": "floor for the recall of each class; -1 for none",
    "min_new_images": "needed to train again; -1 for 1 with window_days, else any change",
    "max_label_drift": "how far the share of a class may drift",
    "max_brightness_drift": "how far the brightness may drift",
    "max_embedding_drift": "how far the mean embedding may drift",
    "force": "1 to train in any case",
    "model_dir": "folder of the pushed versions, which TensorFlow Serving watches",
}


def compile_spec(
    config: Config, image: str, pipeline_root: str, stores: str | None = None, pods: Pods | None = None
) -> dict[str, Any]:
    """Compiles the pipeline.

    Args:
        config: the user's configuration; the source of the defaults of run parameters.
        image: container image of all tasks.
        pipeline_root: folder in a bucket for artifacts, which Kubeflow's launcher opens.
        stores: folder for embeddings and versions, which TensorFlow opens; None for the pipeline root.
        pods: the table `[kubeflow]`; None for the defaults.
    Returns:
        A PipelineSpec, as JSON.
    Raises:
        UsageError: if a value is missing that a task cannot find by itself, or a path exists on this machine only.
    """
    stores = stores or pipeline_root
    _check(config, pipeline_root, stores)
    for note in check_engine(config.beam, {"data": config.data, "--pipeline-root": pipeline_root}, image, reach=False):
        echo(f"Note:     {note}", err=True)
    root, kept = pipeline_root.rstrip("/"), stores.rstrip("/")
    paths = Paths(f"{root}/artifacts", f"{kept}/embeddings", f"{kept}/decoded")
    defaults = make_parameters(config, config.window_end_text, f"{kept}/serving/{config.model_name}")
    beam_args = beam_pipeline_args(config.beam, root, image)
    parameters = _make_run_parameters(defaults)
    make_page = functools.partial(RunPage, parameters=parameters)
    pipeline = create_pipeline(config, parameters, _resolve(config), paths, beam_args, make_last=make_page)
    settings = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=image, default_commands=ENTRY_POINT, use_pipeline_spec_2_1=True
    )
    job = kubeflow_v2_dag_runner.KubeflowV2DagRunner(settings).run(pipeline, write_out=False)
    declared = {n: Parameter(v, _DESCRIPTIONS[n]) for n, v in dataclasses.asdict(defaults).items()}
    spec = patch_spec(job["pipelineSpec"], declared, pipeline.components, paths.artifacts, read_version())
    write_pods(spec, pods or Pods())
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # raises on fields that the backend does not know
    return spec


def write_spec(spec: dict[str, Any], output: str, pods: Pods | None = None) -> None:
    """Writes a spec as YAML, whole or not at all; the platform spec is the second document, if there is any.

    Args:
        spec: result of `compile_spec`.
        output: path of the file.
        pods: the table `[kubeflow]`; None for the defaults.

    Raises:
        UsageError: if the file is not named *.yaml, as Kubeflow requires, or cannot be written.
    """
    if not output.endswith((".yaml", ".yml")):
        raise UsageError(f"--output: expected a file named *.yaml, got {output}.")
    platform = make_platform_spec(pods or Pods(), list_executors(spec))
    text = yaml.dump_all([spec, *([platform] if platform else [])], Dumper=_DUMPER, sort_keys=True, width=120)
    try:
        with write_whole(output, name_temporary(output)) as temporary:
            pathlib.Path(temporary).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output: {output}: cannot be written: {error.strerror}.") from None


def _check(config: Config, pipeline_root: str, stores: str) -> None:
    """Rejects settings that only exist on this machine."""
    if not config.classes:
        raise UsageError("classes: missing. A run on Kubeflow cannot ask for them: name them with --classes A,B.")
    if stores.startswith("minio://"):
        raise UsageError(
            f"--stores: expected a folder that TensorFlow opens, such as gs://bucket/folder or the path of a volume, "
            f"got {stores}. Kubeflow's launcher opens minio:// for artifacts alone: name another folder with --stores."
        )
    paths = {"--pipeline-root": pipeline_root, "--stores": stores, "data": config.data}
    if config.weights not in (IMAGENET, RANDOM):
        paths["weights"] = config.weights
    for key in ("--pipeline-root", "--stores"):
        check_plain(paths[key], key, "Name another folder.")
    for key, path in paths.items():
        if "://" not in path and not os.path.isabs(path):
            raise UsageError(
                f"{key}: expected a URI such as gs://bucket/folder, or the path of a volume of the cluster, got {path}."
            )


def _make_run_parameters(defaults: RunParameters) -> RunParameters:
    """Returns placeholders of the same names and types, which each run fills in."""
    values = dataclasses.asdict(defaults)
    return RunParameters(**{name: RuntimeParameter(name, ptype=type(value)) for name, value in values.items()})


def _resolve(config: Config) -> Resolved:
    """Resolves the properties that need neither data nor a serving folder; the executors resolve the others."""
    classes, code = list(config.classes or ()), read_code_digests()
    return Resolved(
        fingerprint="",
        window_end="",
        weights=config.weights,
        weights_digest=config.weights if config.weights in (IMAGENET, RANDOM) else "",
        code_digest=code.model,
        request_key="",
        code_digests=code.components,
        decoding_digest=code.decoding,
        server_digest=code.components["ServingValidator"],
        settings=digest_settings(config, classes, config.weights, code.verdict),
        classes=classes,
        salt="",
        baseline="",
        best="",
        served="",
    )
