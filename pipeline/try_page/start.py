"""Finds or starts a model server, and serves the page until a signal. Imports no TensorFlow."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable

from pipeline.console.browser import open_address
from pipeline.console.ending import end_at_once
from pipeline.try_page.app import create_app
from pipeline.try_page.model_server import AnswerError, ModelServer
from pipeline.workspace.pushed_models import find_model_dir
from schema.errors import GraftError, UsageError
from serving.client import launch
from serving.process import stop_signals
from serving.process.ports import check_free
from serving.releases import versions
from serving.server.http_server import serve_http
from serving.storage.wildcards import check_plain

HOST = "127.0.0.1"
DEFAULT_SERVER = f"http://{HOST}:8501"  # of `./graft serve`
DEFAULT_MODEL = "graft"
_HEAD_SECONDS = 30.0  # limit for the head of a request to the page server
_GRACE = 1  # seconds for requests in work at the end
_START_SECONDS = 600.0  # limit for a server to load the model, as for `./graft serve`
_LOOK = 0.5  # seconds between two looks at the model server's process


def try_model(out: str, url: str | None, model: str | None, port: int, opens: bool, echo: Callable[..., None]) -> int:
    """Serves the page until SIGINT or SIGTERM.

    Args:
        out: workspace, for a model to start and for the settings of a version.
        url: address of a model server; None for the one of `./graft serve`, or else a server of this command's own.
        model: name of the model; None for the only one of the workspace, or else `DEFAULT_MODEL`.
        port: port of the page; 0 for a free one.
        opens: whether to open the page in a browser.
        echo: prints lines.
    Returns:
        The exit code.
    Raises:
        UsageError: if there is no model to start, the address is invalid or the port is taken.
        GraftError: if the model server does not start, or ends.
    """
    check_free(HOST, port, "--port")
    with contextlib.ExitStack() as stack:
        server, model_dir, started = _find_server(out, url, model, echo, stack)
        signals = stack.enter_context(stop_signals.caught())
        app = create_app(server, lambda version: read_settings(model_dir, version))
        port = stack.enter_context(serve_http(app, HOST, port, _HEAD_SECONDS, _GRACE))
        address = f"http://{HOST}:{port}/"
        echo(f"Page:     {address} (Ctrl-C ends it)")
        if opens:
            open_address(address)
        _wait(signals, started)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a request that is cut off now is no error
    return 0


def _find_server(
    out: str, url: str | None, model: str | None, echo: Callable[..., None], stack: contextlib.ExitStack
) -> tuple[ModelServer, str | None, launch.RunningServer | None]:
    """Chooses the model server, and starts one if none is there.

    Without `url`, the server of `./graft serve` is taken only if the workspace has the version that it serves: a server
    of another workspace may have a model of the same name.

    Returns:
        The model server; the folder of its versions, if the workspace has them; the process, if it was started here.
    """
    model_dir, problem = _find_versions(out, model)
    name = model or (os.path.basename(model_dir) if model_dir else DEFAULT_MODEL)
    server = ModelServer(url or DEFAULT_SERVER, name)
    try:
        version = server.describe().version
        if url or not model_dir or _has_version(model_dir, version):
            echo(f"Model:    {name}, version {version}, of the server at {server.address}")
            return server, model_dir, None
    except AnswerError as error:
        if url:
            advice = "Start one with ./graft serve, name the model with --model, or leave --url out."
            raise GraftError(f"{error}. {advice}") from None
    if not model_dir:
        raise problem
    check_plain(model_dir, "out", "Rename that folder, or copy the workspace elsewhere.")
    echo(f"Starting  the built-in server for {model_dir}")
    started = stack.enter_context(launch.start_server(name, model_dir, seconds=_START_SECONDS))
    server = ModelServer(started.rest_address, name)
    try:
        echo(f"Model:    {name}, version {server.describe().version}")
    except AnswerError as error:
        raise GraftError(f"{started.name}: {error}") from None
    return server, model_dir, started


def _find_versions(out: str, model: str | None) -> tuple[str | None, UsageError]:
    """Returns the folder of a model's versions, or None and the reason."""
    try:
        return os.path.abspath(find_model_dir(out, model)), UsageError()
    except UsageError as error:
        return None, error


def _has_version(model_dir: str, number: int) -> bool:
    return any(version.number == number for version in versions.find_versions(model_dir))


def read_settings(model_dir: str | None, number: int) -> dict[str, str]:
    """Returns `resize` and `orientation` of a version, as its record has them; {} if they are unknown.

    Args:
        model_dir: folder of the versions; None if the workspace has none.
        number: number of the version that a server serves.
    """
    found = [version for version in versions.find_versions(model_dir) if version.number == number] if model_dir else []
    config = (found[-1].record.config.model_extra or {}) if found else {}
    return {key: config[key] for key in ("resize", "orientation") if isinstance(config.get(key), str)}


def _wait(signals: int, started: launch.RunningServer | None) -> None:
    """Waits for a signal; raises GraftError if the model server that was started here ends before."""
    stopping = threading.Event()
    stop_signals.watch(signals, stopping.set, lambda: end_at_once(0), launch.STOP_SECONDS)
    while not stopping.wait(_LOOK):
        if started and (code := started.process.poll()) is not None:
            raise GraftError(f"{started.name} ended with {code}:", *started.describe_end().split("\n"))
