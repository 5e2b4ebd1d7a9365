"""Uploads a compiled spec, and starts a run."""

import dataclasses
import datetime
from typing import Any

import kfp_server_api

from kubeflow.client import Server, find_method, list_all, muted
from kubeflow.compiled import CompiledSpec
from kubeflow.runs import has_name


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a pipeline on a server.

    Attributes:
        pipeline_id, version_id: ids on the server.
        name: name of the version.
        uploaded: whether this call has uploaded it.
    """

    pipeline_id: str
    version_id: str
    name: str
    uploaded: bool


def upload(server: Server, spec: CompiledSpec) -> Version:
    """Uploads a spec as a version of its pipeline; returns the existing version if one has the same content.

    A new pipeline is made empty first: kfp's upload_pipeline would give its first version the name of the pipeline.

    Raises:
        ServerError: if the server does not answer, or refuses.
    """
    pipeline_id = _find_pipeline(server, spec.name)
    if pipeline_id is None:
        pipeline = kfp_server_api.V2beta1Pipeline(display_name=spec.name, namespace=server.namespace)
        pipeline_id = str(find_method(server.client.pipelines, "create_pipeline")(pipeline).pipeline_id)
    if known := _find_version(server, spec, pipeline_id):
        return known
    with muted():
        version = server.client.upload_pipeline_version(
            spec.path, spec.version_name, pipeline_id=pipeline_id, description=f"sha256:{spec.digest}"
        )
    return Version(pipeline_id, version.pipeline_version_id, spec.version_name, uploaded=True)


def find_version(server: Server, spec: CompiledSpec) -> Version | None:
    """Returns the version on the server with the same content as a spec; None if there is none."""
    pipeline_id = _find_pipeline(server, spec.name)
    return _find_version(server, spec, pipeline_id) if pipeline_id else None


def _find_pipeline(server: Server, name: str) -> str | None:
    found = list_all(server.client.list_pipelines, "pipelines", namespace=server.namespace, filter=has_name(name))
    return found[0].pipeline_id if found else None


def _find_version(server: Server, spec: CompiledSpec, pipeline_id: str) -> Version | None:
    name = spec.version_name
    found = list_all(
        server.client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id, filter=has_name(name)
    )
    return Version(pipeline_id, found[0].pipeline_version_id, name, uploaded=False) if found else None


def find_experiment(server: Server, name: str) -> str | None:
    """Returns the id of an experiment; None if there is none of this name."""
    found = list_all(server.client.list_experiments, "experiments", namespace=server.namespace, filter=has_name(name))
    return found[0].experiment_id if found else None


def make_experiment(server: Server, name: str) -> str:
    """Returns the id of an experiment, and makes the experiment if it is missing."""
    with muted():
        return str(server.client.create_experiment(name, namespace=server.namespace).experiment_id)


def start_run(
    server: Server, spec: CompiledSpec, experiment: str, name: str, parameters: dict[str, Any], root: str | None
) -> tuple[Version, Any]:
    """Uploads a spec and starts a run.

    Args:
        server: the server.
        spec: spec to run.
        experiment: name of the experiment; made if it is missing.
        name: name of the run; "" for the name of the pipeline with the time.
        parameters: parameters of the run, by name.
        root: folder of the run's artifacts; None for that of the spec.
    Returns:
        The version, and the run as the server returns it.
    Raises:
        ServerError: if the server does not answer, or refuses.
    """
    version = upload(server, spec)
    experiment_id = make_experiment(server, experiment)
    now = datetime.datetime.now(datetime.timezone.utc)
    with muted():
        run = server.client.run_pipeline(
            experiment_id,
            name or f"{spec.name} {now:%Y-%m-%d %H:%M:%S}",
            params=parameters,
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            pipeline_root=root or spec.pipeline_root,
        )
    return version, run
