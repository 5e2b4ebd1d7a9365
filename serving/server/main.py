"""Command line of the built-in server, with the flags of `tensorflow_model_server`."""

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
    BatchingParameters,
    MonitoringConfig,
    check_model_config,
    read_batching_parameters,
    read_model_config,
    read_monitoring_config,
)
from serving.server.errors import ServingError
from serving.server.grpc_service import start_grpc_server
from serving.server.http_server import serve_http
from serving.server.inference import MAX_BATCH
from serving.server.memory import MemoryBudget
from serving.server.metrics import Metrics
from serving.server.models import ModelStore
from serving.server.rest import RestApi, create_app

logger = logging.getLogger(__name__)

# Boolean flags as in tensorflow_model_server: --flag, --flag=true, --flag=false.
_SWITCH: dict[str, Any] = {"is_flag": False, "flag_value": "true", "default": "false", "type": bool}
_OPEN_PORT = (
    "any client of the gRPC port may have this server load a SavedModel that the server can read "
    "(HandleReloadConfigRequest), and a SavedModel is code. Let only machines that you trust reach the port."
)
_GRACE = 2.0  # seconds for requests in work when the server is stopped


@dataclasses.dataclass(frozen=True)
class Options:
    """Flags of the server; all but the last three have the names and defaults of `tensorflow_model_server`.

    Attributes:
        port: port of gRPC; 0 for none.
        grpc_socket_path: path of a UNIX socket for gRPC, in addition to the port; "" for none.
        grpc_channel_arguments: pairs of name and value, as "grpc.max_connection_age_ms=2000,...".
        rest_api_port: port of REST; 0 for none.
        rest_api_num_threads: number of requests in work at once, for gRPC and for REST each.
        rest_api_timeout_in_ms: time limit for the arrival of a request, and again for its answer.
        model_name, model_base_path: name and folder of a single model.
        model_config_file: text ModelServerConfig with several models, in place of the single model.
        model_config_file_poll_wait_seconds: seconds between two readings of that file; 0 to read the file once.
        file_system_poll_wait_seconds: seconds between two listings of the models' folders.
        enable_batching, batching_parameters_file, monitoring_config_file: as in `tensorflow_model_server`.
        allow_version_labels_for_unavailable_models: accepted and always on: a label moves once its version is loaded.
        host: address to listen on.
        max_request_bytes: maximum bytes of a request.
        max_batch: maximum rows of a request.
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
        """Returns the models to serve."""
        if self.model_config_file:
            return read_model_config(self.model_config_file)
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.config.add(
            name=self.model_name, base_path=_make_absolute(self.model_base_path), model_platform="tensorflow"
        )
        check_model_config(config)
        return config

    def read_batching(self) -> BatchingParameters | None:
        """Returns the parameters of batching; None if batching is off."""
        if not self.enable_batching:
            return None
        if not self.batching_parameters_file:
            return BatchingParameters()
        batching = read_batching_parameters(self.batching_parameters_file)
        if batching.pad_variable_length_inputs:
            logger.warning("pad_variable_length_inputs is not done here: inputs of other shapes are other batches")
        return batching

    def read_monitoring(self) -> MonitoringConfig:
        """Returns the settings of the metrics page."""
        if not self.monitoring_config_file:
            return MonitoringConfig(enable=False)
        return read_monitoring_config(self.monitoring_config_file)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=8500, show_default=True, help="Port of gRPC; 0 for none.")
@click.option("--grpc_socket_path", default="", metavar="PATH", help="UNIX socket for gRPC, in addition to the port.")
@click.option("--grpc_channel_arguments", default="", metavar="A=X,B=Y")
@click.option("--rest_api_port", default=0, show_default=True, help="Port of REST; 0 for none.")
@click.option("--rest_api_num_threads", default=32, show_default=True)
@click.option("--rest_api_timeout_in_ms", default=30000, show_default=True)
@click.option("--model_name", default="default", show_default=True)
@click.option("--model_base_path", default="", metavar="DIR", help="Folder of versions.")
@click.option(
    "--model_config_file", default="", metavar="FILE", help="File of several models, in place of the two flags above."
)
@click.option("--model_config_file_poll_wait_seconds", default=0, show_default=True)
@click.option("--file_system_poll_wait_seconds", default=1, show_default=True)
@click.option("--enable_batching", **_SWITCH)
@click.option("--batching_parameters_file", default="", metavar="FILE")
@click.option("--monitoring_config_file", default="", metavar="FILE")
@click.option("--allow_version_labels_for_unavailable_models", **_SWITCH, help="Accepted; always on in this server.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for every network. Not a TensorFlow Serving flag."
)
@click.option("--max_request_bytes", default=32 << 20, show_default=True, help="Not a TensorFlow Serving flag.")
@click.option(
    "--max_batch",
    default=MAX_BATCH,
    show_default=True,
    help="Maximum rows of a request. Not a TensorFlow Serving flag.",
)
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
    with stop_signals.caught(stop_signals.list_unignored()) as signals:
        run_server(options, signals)
        sys.stderr.flush()
        _exit()


def _exit() -> None:
    """Ends the process at once.

    A thread that loads or computes would delay the end of the interpreter, or crash during it.
    """
    os._exit(0)


def run_server(options: Options, signals: int) -> None:
    """Serves until SIGTERM or SIGINT. A second signal, or `_GRACE` seconds after the first, end the process.

    Args:
        options: flags of the server.
        signals: file descriptor from `stop_signals.caught`.
    Raises:
        UsageError: if a configuration file or a port cannot be used.
        GraftError: if a model has versions, but none can be loaded.
    """
    stopped, serving = threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        if not serving.is_set():  # no request has been accepted, and loading cannot be interrupted
            _exit()

    stop_signals.watch(signals, stop, _exit, _GRACE)
    check_free(options.host, options.port, "--port")
    check_free(options.host, options.rest_api_port, "--rest_api_port")
    metrics = Metrics()
    store = ModelStore(options.read_batching(), options.max_batch)
    budget = MemoryBudget(options.rest_api_num_threads // 2, options.max_request_bytes)
    monitoring = options.read_monitoring()
    _load(store, options.read_models())
    serving.set()
    with contextlib.ExitStack() as stack:
        grpc_server = None
        if options.port or options.grpc_socket_path:
            grpc_server = stack.enter_context(_serve_grpc(store, metrics, options, budget))
        if options.rest_api_port:
            stack.enter_context(_serve_rest(store, metrics, monitoring, options, budget))
        if grpc_server:  # refuse new requests while REST finishes the requests in work
            stack.callback(grpc_server.stop, _GRACE)
        # In a thread, because loading blocks and a signal must stop the server at once.
        threading.Thread(target=_poll, args=(store, options, stopped), daemon=True, name="poll").start()
        stopped.wait()
    logger.info("Stopped.")


def _load(store: ModelStore, config: model_server_config_pb2.ModelServerConfig) -> None:
    try:
        store.configure(config)
    except ServingError as error:
        logger.warning("%s", error.message)  # a label of a missing version; the label moves once the version is loaded
    if failed := store.list_failed():
        reasons = "; ".join(failed)
        raise GraftError(
            f"Failed to start server. Error: Unknown: {len(failed)} servable(s) did not become available: {{{reasons}}}"
        )
    for entry in config.model_config_list.config:
        if not store.has_version(entry.name):
            logger.warning("No versions of servable %s found under base path %s", entry.name, entry.base_path)


@contextlib.contextmanager
def _serve_grpc(store: ModelStore, metrics: Metrics, options: Options, budget: MemoryBudget) -> Iterator[grpc.Server]:
    addresses = [f"{options.host}:{options.port}"] if options.port else []
    if options.grpc_socket_path:
        addresses.append(f"unix:{options.grpc_socket_path}")
    arguments = _parse_channel_arguments(options.grpc_channel_arguments)
    server = start_grpc_server(
        store, metrics, addresses, options.rest_api_num_threads, options.max_request_bytes, arguments, budget=budget
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
    store: ModelStore, metrics: Metrics, monitoring: MonitoringConfig, options: Options, budget: MemoryBudget
) -> Iterator[None]:
    timeout = options.rest_api_timeout_in_ms / 1000
    api = RestApi(store, metrics, options.rest_api_num_threads, timeout, options.max_request_bytes, budget)
    app = create_app(api, metrics, monitoring)
    with serve_http(app, options.host, options.rest_api_port, timeout):
        logger.info("Exporting HTTP/REST API at:%s:%d ...", options.host, options.rest_api_port)
        yield


def _poll(store: ModelStore, options: Options, stopped: threading.Event) -> None:
    """Rereads the configuration file and the models' folders at intervals, until the server is stopped."""
    period = max(options.file_system_poll_wait_seconds, 1)
    config_period = options.model_config_file_poll_wait_seconds if options.model_config_file else 0
    configured, logged = time.monotonic(), set[str]()
    while not stopped.wait(min(period, config_period or period)):
        if config_period and time.monotonic() >= configured + config_period:
            configured = time.monotonic()
            with _logged_errors(logged):
                store.configure(read_model_config(options.model_config_file))
                logged.clear()
        with _logged_errors():  # also after a failed configuration
            store.refresh()


@contextlib.contextmanager
def _logged_errors(logged: set[str] | None = None) -> Iterator[None]:
    """Logs an error of the context; loaded models keep serving.

    Args:
        logged: messages that are in the log and are not repeated; extended in place. None to log each error.
    """
    try:
        yield
    except (ServingError, UsageError, OSError) as error:
        if logged is None or str(error) not in logged:
            logger.error("%s", error)
        if logged is not None:
            logged.add(str(error))
    except Exception:
        logger.exception("The models could not be refreshed")


def _make_absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _parse_channel_arguments(text: str) -> list[tuple[str, str | int]]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    return [(name, int(value) if value.lstrip("-").isdigit() else value) for name, _, value in pairs]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; an error of the user prints one message and no traceback."""
    make_streams_safe()
    try:
        serve.main(arguments, prog_name="serving.server", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except GraftError as error:
        echo(*describe_error(error).split("\n"), err=True)
        sys.exit(error.exit_code)
