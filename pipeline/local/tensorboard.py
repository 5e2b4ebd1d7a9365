"""Starts TensorBoard on the training logs of a workspace. Imports no TensorFlow."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

from pipeline.workspace.workspace import Workspace
from schema.errors import UsageError
from schema.text import quote
from serving.client import launch
from serving.process import stop_signals
from serving.process.ports import check_free

HOST = "127.0.0.1"
_LOGS = "tensorboard"  # folder in the Trainer's model_run, with a folder per phase


def find_logs(workspace: Workspace) -> dict[str, pathlib.Path]:
    """Finds the training logs of a workspace.

    Returns:
        Folders by name, each with a folder per phase. The name is the id of the run that trained; a later run that
        took the same model from the cache has no logs of its own. A training without a manifest has failed or is
        still running; its name is "unfinished-" and the number of the Trainer's execution.
    """
    trained: dict[str, str] = {}
    for manifest in workspace.load_manifests():
        if manifest.trained_model:  # pipeline/Trainer/model/<execution>/Format-Serving
            trained.setdefault(pathlib.Path(manifest.trained_model).parts[-2], manifest.run_id)
    folders = sorted((workspace.artifacts / "Trainer" / "model_run").glob(f"*/{_LOGS}"))
    names = {folder: trained.get(folder.parent.name, f"unfinished-{folder.parent.name}") for folder in folders}
    return {name: folder for folder, name in names.items()}


def link_logs(logs: dict[str, pathlib.Path], folder: pathlib.Path) -> None:
    """Links the logs into a folder under their names, because TensorBoard names a run by its path."""
    for name, target in logs.items():
        (folder / name).symlink_to(target.resolve(), target_is_directory=True)


def make_command(folder: str, port: int) -> list[str]:
    """Builds the command line of TensorBoard, which listens on the loopback address only."""
    address = ["--host", HOST, "--port", str(port)]
    # TensorBoard's fast loader is a second process, which would outlive TensorBoard.
    return [sys.executable, "-m", "tensorboard.main", "--logdir", folder, *address, "--load_fast=false"]


def serve_logs(out: str, port: int, echo: Callable[..., None]) -> int:
    """Starts TensorBoard, and waits for its end.

    Args:
        out: workspace.
        port: port to listen on.
        echo: prints lines.
    Returns:
        The exit code of TensorBoard; 0 if SIGINT or SIGTERM ended it.
    Raises:
        UsageError: if no run of the workspace has trained, or if another process listens on the port.
    """
    logs = find_logs(Workspace(pathlib.Path(out)))
    if not logs:
        raise UsageError(f"{out}: no run has trained here. Name another workspace with --out, or: ./graft run")
    check_free(HOST, port, "--port")
    echo(f"Logs:     {len(logs)} of {quote(out)}; a later run shows after a new start")
    echo(f"Starting  http://{HOST}:{port}/ (Ctrl-C ends it)")
    with tempfile.TemporaryDirectory(prefix="graft-tensorboard-") as folder:
        link_logs(logs, pathlib.Path(folder))
        return _run(make_command(folder, port))


def _run(command: list[str]) -> int:
    """Runs a process until its end; a signal stops it earlier."""
    stopping = threading.Event()
    with stop_signals.caught() as signals, contextlib.ExitStack() as stack:
        process = launch.start_process(command, stderr=subprocess.DEVNULL, env=dict(os.environ))
        stack.callback(launch.stop, process)

        def stop() -> None:
            stopping.set()
            process.terminate()

        stop_signals.watch(signals, stop, process.kill, launch.STOP_SECONDS)
        status = process.wait()
    return 0 if stopping.is_set() else status
