"""Uploads a compiled spec, and runs it."""

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

PAUSE = 5.0  # seconds between two looks at a run
_PATIENCE = 12  # looks in a row that may fail: a minute or more
_EXIT_CODES = {"SUCCEEDED": 0, "SKIPPED": 0, "FAILED": 1, "CANCELED": 1}


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a pipeline on a server.

    Attributes:
        pipeline_id, version_id: as the server knows them.
        name: of the version.
        uploaded: whether it was not there before.
    """

    pipeline_id: str
    version_id: str
    name: str
    uploaded: bool


def upload(server: Server, spec: CompiledSpec) -> Version:
    """Makes a spec a version of the pipeline of its name; the version that is there already, if it has this content.

    The pipeline is made first, and empty: with kfp's upload_pipeline its first version would have the pipeline's name.

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
    """The id of an experiment; None if there is no such."""
    found = list_all(server.client.list_experiments, "experiments", namespace=server.namespace, filter=_named(name))
    return found[0].experiment_id if found else None


def make_experiment(server: Server, name: str) -> str:
    """The id of an experiment, which is made if there is no such."""
    with muted():
        return str(server.client.create_experiment(name, namespace=server.namespace).experiment_id)


def start_run(
    server: Server, spec: CompiledSpec, experiment: str, name: str, parameters: dict[str, Any], root: str | None
) -> tuple[Version, Any]:
    """Uploads a spec and starts a run of it.

    Args:
        server: where.
        spec: what.
        experiment: name of the experiment; it is made if there is no such.
        name: of the run; "" for the pipeline's, with the time.
        parameters: of the run, by name.
        root: where its artifacts go; None for the spec's own.
    Returns:
        The version, and the run as the server has it.
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
    """The page of a run."""
    return f"{server.ui.rstrip('/')}/#/runs/details/{run_id}"


def wait_for_run(server: Server, run_id: str, say: Callable[[str], None]) -> int:
    """Waits until a run has ended. kfp's own would wait for ever for one that was canceled.

    Args:
        server: where it runs.
        run_id: which.
        say: is told each new state.
    Returns:
        0 if it succeeded or was skipped, else 1; or 3 where the server says that a step ended with 3: bad data.
    Raises:
        ServerError: if the server has not answered for a while; the run goes on.
    """
    shown, failures = "", 0
    while True:
        try:
            run = server.client.get_run(run_id)
        except ServerError as error:
            failures += 1
            if failures > _PATIENCE or 400 <= error.status < 500:
                said = f"The run goes on: {link_to(server, run_id)}"
                raise ServerError(*error.args, said, status=error.status) from None
            time.sleep(PAUSE)
            continue
        failures = 0
        state = str(run.state or "PENDING")
        if state != shown:
            say(state.lower())
            shown = state
        if state in _EXIT_CODES:
            return _exit_code(run, state)
        time.sleep(PAUSE)


def _exit_code(run: Any, state: str) -> int:
    code = _EXIT_CODES[state]
    told = str(run.error or "") + str(run.state_history or "") + str(run.run_details or "")
    return 3 if code and re.search(r"\bexit (?:code|status) 3\b", told) else code


def _named(name: str) -> str:
    """A filter of the API: those of a name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
