"""Starts a model server in a process of its own: TensorFlow Serving's where it is, else the built-in one."""

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

BINARY = "tensorflow_model_server"
BUILT_IN = "the built-in server"
ROOT = pathlib.Path(__file__).parents[2]
_END_WITH_PARENT = ROOT / "serving/process/end_with_parent.py"
_POLL = 0.1  # seconds
STOP_SECONDS = 2.5  # that a server has to finish before it is killed; the built-in one takes 2 at the most
_LAST_LINES = 12  # of what a server said, when it did not start
# What both servers say before they end because of the model, and not of a port: TensorFlow Serving's server_core.cc.
_NOT_LOADED = re.compile(r"did not become available: .*?due to error: (.*?)[}, ]*$", re.MULTILINE)


class LoadError(GraftError):
    """A server that started, and could not load the model.

    Attributes:
        reason: in its words.
    """

    def __init__(self, *lines: str, reason: str):
        """Takes what to tell the user, and of it what the server said."""
        super().__init__(*lines)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """A server that answers.

    Attributes:
        name: what it is, to be told.
        grpc_port, rest_port: on 127.0.0.1.
        process: its process.
        log: what it says.
    """

    name: str
    grpc_port: int
    rest_port: int
    process: "subprocess.Popen[bytes]"
    log: pathlib.Path

    @property
    def grpc_address(self) -> str:
        """Of the gRPC face."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def rest_address(self) -> str:
        """Of the REST face."""
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def describe_end(self) -> str:
        """The last of what it said, for an error."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])


def find_binary(path: str | None = None) -> str | None:
    """TensorFlow Serving's binary: the one named, or the one on PATH, or None.

    Raises:
        UsageError: if one is named that is not there.
    """
    found = shutil.which(path or BINARY)
    if path and not found:
        raise UsageError(f"{path}: no program here. Name TensorFlow Serving's {BINARY}, or leave --server out.")
    return found


def make_command(binary: str | None) -> list[str]:
    """The beginning of a server's command line; the flags are the same for either."""
    return [binary] if binary else [sys.executable, "-m", "serving.server"]


def make_environment() -> dict[str, str]:
    """So that the built-in server is found from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def start_process(command: Sequence[str], orphaned: int = signal.SIGKILL, **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a process that ends with this one, even where this one is killed, and that ignores SIGINT.

    Linux tells a process of its parent's end when the *thread* that started it ends, so that thread has to live for as
    long as the process is needed.

    Args:
        command: the program and its arguments.
        orphaned: the signal that the process gets when this one has ended.
        **options: those of `subprocess.Popen`.
    """
    prefix = [sys.executable, "-I", "-S", str(_END_WITH_PARENT), str(os.getpid()), str(int(orphaned))]
    # Held back until the process ignores it, so that Ctrl-C meanwhile prints no traceback of its Python.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return subprocess.Popen([*prefix, *command], **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def start_server(
    model_name: str,
    base_path: str,
    binary: str | None = None,
    flags: Sequence[str] = (),
    timeout_seconds: float = 120.0,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """Starts a server for one model on free ports of 127.0.0.1, and ends it when the context or this process does.

    Args:
        model_name: as clients will name it.
        base_path: folder of its versions.
        binary: TensorFlow Serving's; None for the built-in server.
        flags: further ones.
        timeout_seconds: for a version to become available.
        environment: variables of the process, besides those of this one.
    Raises:
        LoadError: if it cannot load the model.
        GraftError: if it does not start, with the last that it said.
    """
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-server-")))
        grpc_port, rest_port = _pick_ports()
        command = [
            *make_command(binary),
            f"--port={grpc_port}",
            f"--rest_api_port={rest_port}",
            f"--model_name={model_name}",
            f"--model_base_path={os.path.abspath(base_path)}",
            *flags,
        ]
        log = folder / "log"
        file = stack.enter_context(log.open("wb"))
        variables = make_environment() | dict(environment or {})
        process = start_process(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=variables)
        stack.callback(stop, process)
        server = RunningServer(binary or BUILT_IN, grpc_port, rest_port, process, log)
        try:
            wait_until_available(process, server.rest_address, model_name, timeout_seconds)
        except GraftError as error:
            raise _explain(server, error) from error
        yield server


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends a server; one that does not end is killed."""
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
    """Waits until a server has a version of a model. By REST, for the stubs of gRPC import TensorFlow.

    Raises:
        GraftError: if it ends before, or does not come to it in time.
    """
    deadline = time.monotonic() + timeout_seconds
    with requests.Session() as session:
        session.trust_env = False  # a proxy for the web has no way to a server here
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
    """Two ports that are free at this moment."""
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
