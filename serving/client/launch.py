"""Start and stop of a model server in a separate process: TensorFlow Serving, or the built-in server."""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil
import requests

from schema.errors import GraftError, UsageError
from serving.process.late_flags import WAIT_FOR_FLAGS, send_flags

BINARY = "tensorflow_model_server"
BUILT_IN = "the built-in server"
ROOT = pathlib.Path(__file__).parents[2]
_END_WITH_PARENT = ROOT / "serving/process/end_with_parent.py"
_POLL = 0.1  # seconds
_START_SECONDS = 120.0  # for a version to become available
STOP_SECONDS = 2.5  # until a server that is asked to stop is killed; the built-in one takes 2 s at most
_LAST_LINES = 12  # of a server's log in an error message
# Environment of a server beside a process that holds the memory of the GPUs, which also round differently.
ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1"}
# Last message of both servers when the model cannot be loaded (server_core.cc of TensorFlow Serving).
_NOT_LOADED = re.compile(r"did not become available: .*?due to error: (.*?)[}, ]*$", re.MULTILINE)


class LoadError(GraftError):
    """Error of a server that started and could not load the model.

    Attributes:
        reason: message of the server.
    """

    def __init__(self, *lines: str, reason: str):
        """Takes the lines of the message for the user, and the message of the server."""
        super().__init__(*lines)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """Running server that has loaded a model.

    Attributes:
        name: path of the binary, or `BUILT_IN`.
        grpc_port: gRPC port on 127.0.0.1.
        rest_port: REST port on 127.0.0.1.
        process: process of the server.
        log: file with the server's output.
    """

    name: str
    grpc_port: int
    rest_port: int
    process: "subprocess.Popen[bytes]"
    log: pathlib.Path

    @property
    def grpc_address(self) -> str:
        """Address of the gRPC endpoint, as host:port."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def rest_address(self) -> str:
        """Base URL of the REST endpoint."""
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def describe_end(self) -> str:
        """Returns the last lines of the log, indented, for an error message."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])


def find_binary(path: str | None = None) -> str | None:
    """Finds TensorFlow Serving's binary at `path` or, without `path`, on PATH; returns None if PATH has none.

    Raises:
        UsageError: if `path` is given and is no program.
    """
    found = shutil.which(path or BINARY)
    if path and not found:
        raise UsageError(f"{path}: no program here. Name TensorFlow Serving's {BINARY}, or leave --server out.")
    return found


def make_command(binary: str | None) -> list[str]:
    """Returns the command of a server, without flags; both servers take the same flags."""
    return [binary] if binary else [sys.executable, "-m", "serving.server"]


def make_environment() -> dict[str, str]:
    """Returns the environment in which Python finds the built-in server from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def start_process(command: Sequence[str], orphaned: int = signal.SIGKILL, **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a child process that ignores SIGINT and ends with this process, even if this process is killed.

    Linux reports the end of the parent when the *thread* that started the child ends. So that thread must live as long
    as the child is needed.

    Args:
        command: program and arguments.
        orphaned: signal that the child gets when this process has ended.
        **options: further arguments of `subprocess.Popen`.
    """
    prefix = [sys.executable, "-I", "-S", str(_END_WITH_PARENT), str(os.getpid()), str(int(orphaned))]
    # SIGINT is blocked until the child ignores SIGINT: Ctrl-C in between would print a traceback of the child.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return subprocess.Popen([*prefix, *command], **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def keep_spare(environment: Mapping[str, str]) -> Iterator[None]:
    """Starts a built-in server that imports its libraries, which takes seconds, and waits for its flags.

    The first `start_server` in this context with the same environment gives the flags. A server that is still waiting
    is killed at the end of the context.

    Args:
        environment: variables that are added to the environment of this process.
    """
    command = [*make_command(None), WAIT_FOR_FLAGS]
    with _run(command, environment, stdin=subprocess.PIPE) as (process, log):
        spare = _Spare(process, log, dict(environment))
        _spares.append(spare)
        try:
            yield
        finally:
            if spare in _spares:
                _spares.remove(spare)
                process.kill()


@dataclasses.dataclass(frozen=True)
class _Spare:
    """Built-in server that waits for its flags; the attributes are those of `RunningServer` and `keep_spare`."""

    process: "subprocess.Popen[bytes]"
    log: pathlib.Path
    environment: dict[str, str]


_spares: list[_Spare] = []


def _take_spare(flags: Sequence[str], environment: Mapping[str, str]) -> "_Spare | None":
    """Gives a waiting server its flags; returns None if no server with this environment waits."""
    for spare in [spare for spare in _spares if spare.environment == environment]:
        _spares.remove(spare)
        if send_flags(spare.process, flags):
            return spare
    return None


@contextlib.contextmanager
def start_server(
    model_name: str,
    base_path: str,
    binary: str | None = None,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    seconds: float = _START_SECONDS,
) -> Iterator[RunningServer]:
    """Starts a server for one model on free ports of 127.0.0.1; the server ends with the context or this process.

    Args:
        model_name: name of the model in requests.
        base_path: folder of the model's versions.
        binary: path of TensorFlow Serving's binary; None for the built-in server.
        flags: further flags of the server.
        environment: variables that are added to the environment of this process.
        seconds: time limit for the model to be loaded.
    Raises:
        LoadError: if the server cannot load the model.
        GraftError: if the server does not start in time; the message ends with the last lines of its log.
    """
    grpc_port, rest_port = _pick_ports()
    flags = [
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={model_name}",
        f"--model_base_path={os.path.abspath(base_path)}",
        *flags,
    ]
    variables = dict(environment or {})
    with contextlib.ExitStack() as stack:
        if spare := None if binary else _take_spare(flags, variables):
            process, log = spare.process, spare.log
            stack.callback(stop, process)
        else:
            process, log = stack.enter_context(_run([*make_command(binary), *flags], variables))
        server = RunningServer(binary or BUILT_IN, grpc_port, rest_port, process, log)
        try:
            wait_until_available(process, server.rest_address, model_name, seconds)
        except GraftError as error:
            raise _explain(server, error) from error
        yield server


@contextlib.contextmanager
def _run(
    command: Sequence[str], environment: Mapping[str, str], stdin: int = subprocess.DEVNULL
) -> Iterator[tuple["subprocess.Popen[bytes]", pathlib.Path]]:
    """Runs a server in the context, with its output in a temporary file; yields the process and the file."""
    with tempfile.TemporaryDirectory(prefix="graft-server-") as folder:
        log = pathlib.Path(folder, "log")
        with log.open("wb") as file:
            process = start_process(
                command, stdin=stdin, stdout=file, stderr=subprocess.STDOUT, env=make_environment() | dict(environment)
            )
        try:
            yield process, log
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stops a server by SIGTERM, and after `STOP_SECONDS` by SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def wait_until_available(
    process: "subprocess.Popen[bytes]", rest_address: str, model_name: str, timeout_seconds: float
) -> None:
    """Waits until a version of a model is available.

    Asks by REST, because the gRPC stubs would import TensorFlow.

    Raises:
        GraftError: if the server ends, or no version is available within the time limit.
    """
    deadline = time.monotonic() + timeout_seconds
    with requests.Session() as session:
        session.trust_env = False  # no proxy reaches a server on this machine
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise GraftError(f"ended with {process.returncode} before it served anything")
            with contextlib.suppress(requests.RequestException, KeyError):
                answer = session.get(f"{rest_address}/v1/models/{model_name}", timeout=5).json()
                if any(version["state"] == "AVAILABLE" for version in answer["model_version_status"]):
                    return
            time.sleep(_POLL)
    raise GraftError(f"served no version within {timeout_seconds:g} seconds")


def _explain(server: RunningServer, error: GraftError) -> GraftError:
    lines = [f"{server.name} {error}:", *server.describe_end().split("\n")]
    not_loaded = _NOT_LOADED.search(server.log.read_text(encoding="utf-8", errors="replace"))
    return LoadError(*lines, reason=not_loaded[1]) if not_loaded else GraftError(*lines)


def _pick_ports() -> tuple[int, int]:
    """Returns two ports that are free now."""
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
