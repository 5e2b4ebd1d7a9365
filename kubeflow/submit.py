"""Uploads a compiled spec, starts a run and waits for its end."""

import dataclasses
import datetime
import json
import re
import time
from collections.abc import Callable
from typing import Any

import kfp_server_api

from kubeflow.client import Server, ServerError, find_method, list_all, muted
from kubeflow.compiled import CompiledSpec

PAUSE = 5.0  # seconds between two requests for the state of a run
_MAX_FAILURES = 12  # failed requests in a row: a minute or more
_EXIT_CODES = {"SUCCEEDED": 0, "SKIPPED": 0, "FAILED": 1, "CANCELED": 1}


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
    client, name = server.client, spec.version_name
    pipelines = list_all(client.list_pipelines, "pipelines", namespace=server.namespace, filter=_named(spec.name))
    if pipelines:
        pipeline_id = pipelines[0].pipeline_id
    else:
        pipeline = kfp_server_api.V2beta1Pipeline(display_name=spec.name, namespace=server.namespace)
        pipeline_id = find_method(client.pipelines, "create_pipeline")(pipeline).pipeline_id
    versions = list_all(
        client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id, filter=_named(name)
    )
    if versions:
        return Version(pipeline_id, versions[0].pipeline_version_id, name, uploaded=False)
    with muted():
        version = client.upload_pipeline_version(
            spec.path, name, pipeline_id=pipeline_id, description=f"sha256:{spec.digest}"
        )
    return Version(pipeline_id, version.pipeline_version_id, name, uploaded=True)


def find_experiment(server: Server, name: str) -> str | None:
    """Returns the id of an experiment; None if there is none of this name."""
    found = list_all(server.client.list_experiments, "experiments", namespace=server.namespace, filter=_named(name))
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


def link_to(server: Server, run_id: str) -> str:
    """Returns the address of a run's web page."""
    return f"{server.ui.rstrip('/')}/#/runs/details/{run_id}"


def wait_for_run(server: Server, run_id: str, on_state: Callable[[str], None]) -> int:
    """Waits for the end of a run.

    kfp's own method would wait for ever for a canceled run.

    Args:
        server: the server.
        run_id: id of the run.
        on_state: called with each new state.
    Returns:
        Exit code: 0 if the run succeeded or was skipped, 3 if a step ended with 3 for bad data, else 1.
    Raises:
        ServerError: if more than 12 requests in a row fail, or the server refuses one; the run goes on.
    """
    last, failures = "", 0
    while True:
        try:
            run = server.client.get_run(run_id)
        except ServerError as error:
            failures += 1
            if failures > _MAX_FAILURES or 400 <= error.status < 500:
                note = f"The run goes on: {link_to(server, run_id)}"
                raise ServerError(*error.args, note, status=error.status) from None
            time.sleep(PAUSE)
            continue
        failures = 0
        state = str(run.state or "PENDING")
        if state != last:
            on_state(state.lower())
            last = state
        if state in _EXIT_CODES:
            return _exit_code(run, state)
        time.sleep(PAUSE)


def _exit_code(run: Any, state: str) -> int:
    code = _EXIT_CODES[state]
    details = str(run.error or "") + str(run.state_history or "") + str(run.run_details or "")
    return 3 if code and re.search(r"\bexit (?:code|status) 3\b", details) else code


def _named(name: str) -> str:
    """Returns a filter of the API that matches a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
