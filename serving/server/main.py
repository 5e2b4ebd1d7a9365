"""Starts the built-in server, with the flags of `tensorflow_model_server`."""

import contextlib
import dataclasses
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
import grpc
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import GraftError, UsageError, describe_error
from serving.process import stop_signals
from serving.process.output import PrintableFormatter, echo, make_streams_safe
from serving.process.ports import check_free, is_loopback
from serving.server.configs import (
    Batching,
    Monitoring,
    check_model_config,
    read_batching_parameters,
    read_model_config,
    read_monitoring_config,
)
from serving.server.errors import ServingError
from serving.server.grpc_service import start_grpc_server
from serving.server.http_server import serve_http
from serving.server.inference import MAX_BATCH
from serving.server.memory import Budget
from serving.server.metrics import Metrics
from serving.server.models import ModelStore
from serving.server.rest import RestApi, create_app

logger = logging.getLogger(__name__)

# As theirs: --flag, --flag=true, --flag=false.
_SWITCH: dict[str, Any] = {"is_flag": False, "flag_value": "true", "default": "false", "type": bool}
_OPEN_PORT = (
    "any client of the gRPC port may have this server load a SavedModel that the server can read "
    "(HandleReloadConfigRequest), and a SavedModel is code. Let only machines that you trust reach the port."
)
_GRACE = 2.0  # seconds that requests have to be finished when the server is stopped


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags say; names and defaults are those of `tensorflow_model_server`, but for the last three.

    Attributes:
        port: of gRPC; 0 for none.
        grpc_socket_path: a UNIX socket for gRPC besides.
        grpc_channel_arguments: pairs of name and value, as "grpc.max_connection_age_ms=2000,...".
        rest_api_port: 0 for none.
        rest_api_num_threads: requests that are worked on at once.
        rest_api_timeout_in_ms: for a request to come, and for its answer.
        model_name, model_base_path: the one model to serve.
        model_config_file: or several, in the text form of ModelServerConfig.
        model_config_file_poll_wait_seconds: how often that file is read anew; 0 for never.
        file_system_poll_wait_seconds: how often the folders are looked at.
        enable_batching, batching_parameters_file, monitoring_config_file: as there.
        allow_version_labels_for_unavailable_models: as it is here in any case: a label moves when its version comes.
        host: where to listen.
        max_request_bytes: larger requests are refused.
        max_batch: rows of a request; more are refused.
    """

    port: int
    grpc_socket_path: str
    grpc_channel_arguments: str
    rest_api_port: int
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    model_name: str
    model_base_path: str
    model_config_file: str
    model_config_file_poll_wait_seconds: int
    file_system_poll_wait_seconds: int
    enable_batching: bool
    batching_parameters_file: str
    monitoring_config_file: str
    allow_version_labels_for_unavailable_models: bool
    host: str
    max_request_bytes: int
    max_batch: int

    def read_models(self) -> model_server_config_pb2.ModelServerConfig:
        """The models to serve."""
        if self.model_config_file:
            return read_model_config(self.model_config_file)
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.config.add(
            name=self.model_name, base_path=_make_absolute(self.model_base_path), model_platform="tensorflow"
        )
        check_model_config(config)
        return config

    def read_batching(self) -> Batching | None:
        """How to batch; None if that is not wanted."""
        if not self.enable_batching:
            return None
        if not self.batching_parameters_file:
            return Batching()
        batching = read_batching_parameters(self.batching_parameters_file)
        if batching.pad_variable_length_inputs:
            logger.warning("pad_variable_length_inputs is not done here: inputs of other shapes are other batches")
        return batching

    def read_monitoring(self) -> Monitoring:
        """Whether and where Prometheus reads."""
        if not self.monitoring_config_file:
            return Monitoring(enable=False)
        return read_monitoring_config(self.monitoring_config_file)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=8500, show_default=True, help="Of gRPC; 0 for none.")
@click.option("--grpc_socket_path", default="", metavar="PATH", help="Listen on this UNIX socket, too.")
@click.option("--grpc_channel_arguments", default="", metavar="A=X,B=Y")
@click.option("--rest_api_port", default=0, show_default=True, help="0 for none.")
@click.option("--rest_api_num_threads", default=32, show_default=True)
@click.option("--rest_api_timeout_in_ms", default=30000, show_default=True)
@click.option("--model_name", default="default", show_default=True)
@click.option("--model_base_path", default="", metavar="DIR", help="Folder of versions.")
@click.option("--model_config_file", default="", metavar="FILE", help="Instead of these two: several models.")
@click.option("--model_config_file_poll_wait_seconds", default=0, show_default=True)
@click.option("--file_system_poll_wait_seconds", default=1, show_default=True)
@click.option("--enable_batching", **_SWITCH)
@click.option("--batching_parameters_file", default="", metavar="FILE")
@click.option("--monitoring_config_file", default="", metavar="FILE")
@click.option("--allow_version_labels_for_unavailable_models", **_SWITCH, help="Taken, and always so here.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for every network; not a flag of theirs.")
@click.option("--max_request_bytes", default=32 << 20, show_default=True, help="Not a flag of theirs.")
@click.option("--max_batch", default=MAX_BATCH, show_default=True, help="Rows of a request. Not a flag of theirs.")
def serve(**flags: Any) -> None:
    """Serve SavedModels as tensorflow_model_server does."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname).1s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it tells how to load a SavedModel in TF2
    options = Options(**flags)
    if not options.model_config_file and not options.model_base_path:
        raise UsageError("Both --model_base_path and --model_config_file are empty; one of them says what to serve.")
    if options.port == options.rest_api_port != 0:
        raise UsageError("--rest_api_port cannot be the same as --port. Please use a different port for REST.")
    with stop_signals.caught(stop_signals.list_heeded()) as signals:
        run_server(options, signals)
        sys.stderr.flush()
        _exit()


def _exit() -> None:
    """Ends the process: what still loads or computes would hold up the end of the interpreter, or crash in it."""
    os._exit(0)


def run_server(options: Options, signals: int) -> None:
    """Serves until SIGTERM or SIGINT. A second one, or `_GRACE` seconds, end the process.

    Args:
        options: the flags.
        signals: the file descriptor of `stop_signals.caught`.
    Raises:
        UsageError: if a file or a port is not usable.
        GraftError: if there are versions of a model, but none that can be loaded.
    """
    stopped, serving = threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        if not serving.is_set():  # there is no request to finish, and loading cannot be interrupted
            _exit()

    stop_signals.watch(signals, stop, _exit, _GRACE)
    check_free(options.host, options.port, "--port")
    check_free(options.host, options.rest_api_port, "--rest_api_port")
    metrics = Metrics()
    store = ModelStore(options.read_batching(), options.max_batch)
    budget = Budget(options.rest_api_num_threads // 2, options.max_request_bytes)
    monitoring = options.read_monitoring()
    _load(store, options.read_models())
    serving.set()
    with contextlib.ExitStack() as stack:
        grpc_server = None
        if options.port or options.grpc_socket_path:
            grpc_server = stack.enter_context(_serve_grpc(store, metrics, options, budget))
        if options.rest_api_port:
            stack.enter_context(_serve_rest(store, metrics, monitoring, options, budget))
        if grpc_server:  # takes no new requests while those by REST are finished
            stack.callback(grpc_server.stop, _GRACE)
        # In a thread of its own, for it loads and waits: a signal is to end the server at once.
        threading.Thread(target=_follow, args=(store, options, stopped), daemon=True, name="follow").start()
        stopped.wait()
    logger.info("Stopped.")


def _load(store: ModelStore, config: model_server_config_pb2.ModelServerConfig) -> None:
    try:
        store.configure(config)
    except ServingError as error:
        logger.warning("%s", error.message)  # a label; it is pointed there when the version comes
    if failed := store.list_failed():
        reasons = "; ".join(failed)
        raise GraftError(
            f"Failed to start server. Error: Unknown: {len(failed)} servable(s) did not become available: {{{reasons}}}"
        )
    for entry in config.model_config_list.config:
        if not store.has_version(entry.name):
            logger.warning("No versions of servable %s found under base path %s", entry.name, entry.base_path)


@contextlib.contextmanager
def _serve_grpc(store: ModelStore, metrics: Metrics, options: Options, budget: Budget) -> Iterator[grpc.Server]:
    addresses = [f"{options.host}:{options.port}"] if options.port else []
    if options.grpc_socket_path:
        addresses.append(f"unix:{options.grpc_socket_path}")
    arguments = _parse_channel_arguments(options.grpc_channel_arguments)
    server = start_grpc_server(
        store, metrics, addresses, options.rest_api_num_threads, options.max_request_bytes, arguments, budget
    )
    if options.port and not is_loopback(options.host):
        logger.warning("%s: %s", options.host, _OPEN_PORT)
    logger.info("Running gRPC ModelServer at %s ...", " and ".join(addresses))
    try:
        yield server
    finally:
        server.stop(_GRACE).wait()


@contextlib.contextmanager
def _serve_rest(
    store: ModelStore, metrics: Metrics, monitoring: Monitoring, options: Options, budget: Budget
) -> Iterator[None]:
    timeout = options.rest_api_timeout_in_ms / 1000
    api = RestApi(store, metrics, options.rest_api_num_threads, timeout, options.max_request_bytes, budget)
    app = create_app(api, metrics, monitoring)
    with serve_http(app, options.host, options.rest_api_port, timeout):
        logger.info("Exporting HTTP/REST API at:%s:%d ...", options.host, options.rest_api_port)
        yield


def _follow(store: ModelStore, options: Options, stopped: threading.Event) -> None:
    """Looks at the folders, and at the configuration, until the server is stopped."""
    period = max(options.file_system_poll_wait_seconds, 1)
    config_period = options.model_config_file_poll_wait_seconds if options.model_config_file else 0
    configured, told = time.monotonic(), set[str]()
    while not stopped.wait(min(period, config_period or period)):
        if config_period and time.monotonic() >= configured + config_period:
            configured = time.monotonic()
            with _logged_errors(told):
                store.configure(read_model_config(options.model_config_file))
                told.clear()
        with _logged_errors():  # whatever became of the configuration
            store.refresh()


@contextlib.contextmanager
def _logged_errors(told: set[str] | None = None) -> Iterator[None]:
    """Logs what goes wrong; loaded models keep serving.

    Args:
        told: the errors that were logged, and are not to be logged at each look; None to log in any case.
    """
    try:
        yield
    except (ServingError, UsageError, OSError) as error:
        if told is None or str(error) not in told:
            logger.error("%s", error)
        if told is not None:
            told.add(str(error))
    except Exception:
        logger.exception("The models could not be looked at")


def _make_absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _parse_channel_arguments(text: str) -> list[tuple[str, str | int]]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    return [(name, int(value) if value.lstrip("-").isdigit() else value) for name, _, value in pairs]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can cause ends in one message, not in a traceback."""
    make_streams_safe()
    try:
        serve.main(arguments, prog_name="serving.server", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except GraftError as error:
        echo(*describe_error(error).split("\n"), err=True)
        sys.exit(error.exit_code)
