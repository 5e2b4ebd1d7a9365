"""Starts a model server for a pushed model, and prints example requests. Imports no TensorFlow."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable

from pipeline.workspace.example_image import PLACEHOLDER, find_image
from pipeline.workspace.workspace import Workspace
from schema.errors import GraftError, UsageError
from schema.text import printable, quote
from serving.client import launch
from serving.image import IMAGE
from serving.process import stop_signals
from serving.process.ports import check_free
from serving.releases import models_config, versions

_DEPLOY = pathlib.Path(launch.ROOT, "serving", "deploy")
_REMOVAL_SECONDS = 10.0  # limit for Docker to remove a container
_START_SECONDS = 600.0  # limit for a server to load a model, and for Docker to fetch the image


@dataclasses.dataclass(frozen=True)
class Served:
    """Model to serve, with addresses and settings.

    Attributes:
        model_dir: folder of the versions.
        host: address to listen on.
        port, rest_port: ports of gRPC and REST.
        batching: whether to compute simultaneous requests in one batch.
    """

    model_dir: str
    host: str
    port: int
    rest_port: int
    batching: bool

    @property
    def name(self) -> str:
        """Name of the model in requests."""
        return os.path.basename(self.model_dir)

    @property
    def rest_address(self) -> str:
        """Base URL of the REST endpoint, as this machine reaches it."""
        return f"http://{self._reachable_host}:{self.rest_port}"

    @property
    def grpc_address(self) -> str:
        """Address of the gRPC endpoint, as this machine reaches it."""
        return f"grpc://{self._reachable_host}:{self.port}"

    @property
    def _reachable_host(self) -> str:
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 (compared, not bound)

    def make_flags(self) -> list[str]:
        """Builds the flags of TensorFlow Serving, without those of the address."""
        flags = [f"--monitoring_config_file={_DEPLOY / 'monitoring.config'}"]
        if self.batching:
            flags += ["--enable_batching=true", f"--batching_parameters_file={_DEPLOY / 'batching.config'}"]
        config = models_config.find_file(self.model_dir)
        if not os.path.exists(config):
            return [*flags, f"--model_name={self.name}", f"--model_base_path={self.model_dir}"]
        return [
            *flags,
            f"--model_config_file={config}",
            "--model_config_file_poll_wait_seconds=1",
            "--allow_version_labels_for_unavailable_models=true",
        ]


def make_command(served: Served, server: str | None, docker: bool) -> tuple[str, list[str]]:
    """Chooses a server, and builds its command line.

    Args:
        served: model and settings.
        server: path of TensorFlow Serving's binary; None for the one on PATH, or else the built-in server.
        docker: whether to use TensorFlow Serving's image.
    Returns:
        A description of the server, and the command line.
    Raises:
        UsageError: if the binary or Docker is missing.
    """
    flags = served.make_flags()
    if docker:
        return f"TensorFlow Serving in Docker ({IMAGE})", _make_docker_command(served, flags)
    binary = launch.find_binary(server)
    ports = [f"--port={served.port}", f"--rest_api_port={served.rest_port}"]
    if binary:
        # TensorFlow Serving has no flag for the address of its gRPC port: it listens on all of them.
        return f"TensorFlow Serving ({binary}; it listens on all networks)", [binary, *ports, *flags]
    command = [*launch.make_command(None), f"--host={served.host}", *ports, *flags]
    return "the built-in server (no tensorflow_model_server on PATH)", command


def serve(served: Served, server: str | None, docker: bool, echo: Callable[..., None]) -> int:
    """Starts a server, prints example requests, and waits for the end of the server.

    The first SIGINT or SIGTERM asks the server to stop; it is killed after `launch.STOP_SECONDS`, or at the second one.

    Args:
        served: model and settings.
        server: as for `make_command`.
        docker: as for `make_command`.
        echo: prints lines.
    Returns:
        The exit code of the server; 0 if SIGINT or SIGTERM ended it.
    Raises:
        UsageError: if another process listens on a port: it would answer in place of this server.
        GraftError: if the server ends before it is ready.
    """
    _correct_config(served, echo)
    name, command = make_command(served, server, docker)
    for option, port in (("--port", served.port), ("--rest-port", served.rest_port)):
        check_free(served.host, port, option)
    echo(f"Starting {name} for {served.model_dir}")
    # Signal for the server if this process is killed. Docker's client has to pass it on, so it gets SIGTERM.
    orphaned = signal.SIGTERM if docker else signal.SIGKILL
    with stop_signals.caught() as signals, contextlib.ExitStack() as stack:
        process = launch.start_process(command, orphaned, env=launch.make_environment())
        stack.callback(launch.stop, process)
        stopping = _stop_at_signal(signals, process)
        if docker:  # the end of Docker's client does not end the container
            stack.callback(_remove_container, served)
        try:
            launch.wait_until_available(process, served.rest_address, served.name, _START_SECONDS)
        except GraftError as error:
            if stopping.is_set():
                return 0
            first, *others = error.args
            raise GraftError(f"{name}: {first}", *others) from error
        echo(*_describe(served))
        status = process.wait()
        return 0 if stopping.is_set() else status


def _correct_config(served: Served, echo: Callable[..., None]) -> None:
    """Corrects the path in models.config after a move of the workspace.

    Needs no lock: a run in the same workspace has corrected the path at its start.
    """
    if former := models_config.mend(served.model_dir):
        folder = os.path.dirname(served.model_dir)
        echo(f"{models_config.find_file(served.model_dir)} named {printable(former)}; it names {folder} now")


def _make_docker_command(served: Served, flags: list[str]) -> list[str]:
    """Builds the command line of Docker, with folders mounted at their own paths: models.config names these."""
    docker = shutil.which("docker")
    if not docker:
        raise UsageError("--docker: no docker on PATH. Install it, or leave --docker out for the built-in server.")
    folder = os.path.dirname(served.model_dir)
    return [
        *(docker, "run", "--rm", "--init", "--name", _container(served)),
        *(
            "-p",
            f"{served.host}:{served.port}:{served.port}",
            "-p",
            f"{served.host}:{served.rest_port}:{served.rest_port}",
        ),
        *("-v", f"{folder}:{folder}:ro", "-v", f"{_DEPLOY}:{_DEPLOY}:ro"),
        *("--entrypoint", launch.BINARY, IMAGE),
        *(f"--port={served.port}", f"--rest_api_port={served.rest_port}", *flags),
    ]


def _remove_container(served: Served) -> None:
    command = ["docker", "rm", "--force", _container(served)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=_REMOVAL_SECONDS
        )


def _container(served: Served) -> str:
    return f"graft-serve-{served.port}"


def _describe(served: Served) -> list[str]:
    """Returns the addresses and example requests, as lines that a user can copy."""
    rest, image = f"{served.rest_address}/v1/models/{served.name}", quote(_find_image(served.model_dir))
    body = f'(printf \'{{"instances": [{{"b64": "\'; base64 -w0 {image}; printf \'"}}]}}\')'
    name = "" if served.name == "graft" else f" --model {quote(served.name)}"
    return [
        f"Serving:  {rest} and {served.grpc_address} (Ctrl-C ends it)",
        f"Page:     ./graft try --url {served.rest_address}{name}",
        f"Ask:      {body} | curl -d @- {rest}:predict",
        f"or:       ./graft predict {image} --server {served.grpc_address}{name}",
    ]


def _find_image(model_dir: str) -> str:
    """Returns an image from the data folder of the live model; a placeholder if there is none."""
    live = versions.find_live(model_dir)
    if not live:
        return PLACEHOLDER
    workspace, run_id = Workspace(pathlib.Path(model_dir).parents[1]), live.record.run_id
    manifest = workspace.read_manifest(run_id) if run_id in workspace.list_runs() else None
    return find_image((manifest or live.record).config.data)  # the record has the name of the folder, not its path


def _stop_at_signal(signals: int, process: "subprocess.Popen[bytes]") -> threading.Event:
    """Ends a process at a signal; returns an event that is set before."""
    stopping = threading.Event()

    def stop() -> None:
        stopping.set()
        process.terminate()

    stop_signals.watch(signals, stop, process.kill, launch.STOP_SECONDS)
    return stopping
