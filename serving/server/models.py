"""Loaded models: loads and unloads versions as the folders and the configuration change, and lends them to requests.

A version answers requests once it is loaded and warmed up. A version that the policy no longer wants is unloaded once
a wanted version is available and its own requests are finished. TensorFlow Serving's AvailabilityPreservingPolicy does
the same.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from serving.releases.versions import index_by_number, list_shadowed, parse_number
from serving.server.batching import Batcher
from serving.server.compute_slots import ComputeSlots
from serving.server.configs import BatchingParameters
from serving.server.errors import ServingError, failed_precondition, invalid_argument, not_found, read_message
from serving.server.inference import MAX_BATCH, Model
from serving.server.memory import release_memory
from serving.server.servable import Servable
from serving.server.warmup import warm_up
from serving.storage.saved_model import SAVED_MODEL, WARMUP_REQUESTS

logger = logging.getLogger(__name__)

_State = get_model_status_pb2.ModelVersionStatus
_Policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
_LATEST = _Policy.Latest(num_versions=1)
_SAVED_MODEL_FILES = (SAVED_MODEL, "saved_model.pbtxt")
# Message of ServerCore::ReloadConfig in tensorflow_serving/model_servers/server_core.cc. A file without any field is an
# empty configuration and is refused; `model_config_list {}` unloads all models.
_EMPTIED = (
    "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another. "
    "The configuration is empty; loaded models keep serving. Write model_config_list {} to unload all."
)
_DRAIN_SECONDS = 10.0  # for a retired version to finish its requests, before the next refresh continues


@dataclasses.dataclass
class _Version:
    """Version of a model, from its discovery until after it is unloaded.

    Attributes:
        number: version number.
        path: folder of the version.
        fingerprint: sizes and times of the files; a failed version is loaded again when they change.
        state: state in the model status.
        error: error of the failed loading; None otherwise.
        model: model that answers requests while the version is available; None otherwise.
        close: function that frees the model.
        users: number of requests in work.
    """

    number: int
    path: str
    fingerprint: tuple[tuple[int, int], ...]
    state: int = _State.LOADING
    error: ServingError | None = None
    model: Model | None = None
    close: Callable[[], None] = lambda: None
    users: int = 0


@dataclasses.dataclass
class _ServedModel:
    """Model of the configuration with its versions.

    Attributes:
        config: entry of the model in the configuration.
        versions: versions by number, unloaded ones included.
        labels: version number by label, as requests are answered now.
        removed: whether the model is gone from the configuration.
    """

    config: model_server_config_pb2.ModelConfig
    versions: dict[int, _Version] = dataclasses.field(default_factory=dict)
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    removed: bool = False


class ModelStore:
    """Store of the models of a server and their loaded versions."""

    def __init__(self, batching: BatchingParameters | None = None, max_batch: int = MAX_BATCH):
        """Makes an empty store; `configure` loads models.

        Args:
            batching: parameters of batching; None to run each request alone.
            max_batch: maximum rows of a request.
        """
        self._batching = batching
        self._max_batch = max_batch
        self._slots = ComputeSlots()
        self._models: dict[str, _ServedModel] = {}
        self._lock = threading.Condition()  # guards all models; never held while a model is loaded or computes
        self._refreshing = threading.Lock()  # held by the one thread that loads and unloads
        # Versions that get no new requests and are not freed yet, each with the function that frees the version.
        self._retired: list[tuple[_Version, Callable[[], None]]] = []

    def configure(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Replaces the configuration, and loads and unloads versions accordingly.

        Raises:
            ServingError: if no version of a new model can be loaded, a label points to a version that is not loaded, or
                the configuration is empty while models are served.
        """
        if config.WhichOneof("config") is None and self._models:
            raise failed_precondition(_EMPTIED)
        entries = {entry.name: entry for entry in config.model_config_list.config}
        with self._refreshing:
            with self._lock:
                new = set(entries) - set(self._models)
                for name, entry in entries.items():
                    self._models.setdefault(name, _ServedModel(entry)).config = entry
                for name in set(self._models) - set(entries):
                    self._models[name].removed = True
            self._refresh_all()
            self._check_configured(entries, new)

    def refresh(self) -> None:
        """Lists the folders of the models, loads new versions, moves the labels and unloads old versions."""
        with self._refreshing:
            self._refresh_all()

    def _refresh_all(self) -> None:
        for name, served in list(self._models.items()):
            wanted = {} if served.removed else self._list_wanted(served.config)
            if wanted is None:
                logger.warning("%s cannot be listed; loaded versions keep serving", served.config.base_path)
                continue
            self._load_new(name, served, wanted)
            self._move_labels(served)
            self._retire_old(served, wanted)
            if served.removed:
                with self._lock:
                    del self._models[name]
        self._drain()

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Model]:
        """Lends the model of a spec to a request; the version stays loaded until the context ends.

        Raises:
            ServingError: if no available version fits the name, version or label.
        """
        with self._lock:
            version, model = self._find(spec)
            version.users += 1
        try:
            yield model
        finally:
            with self._lock:
                version.users -= 1
                self._lock.notify_all()

    def get_status(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """Returns the status of each version of a model, newest first, or of the one version that the spec names.

        A label in the spec is ignored, as in TensorFlow Serving's get_model_status_impl.cc.

        Raises:
            ServingError: if the model has no versions, or not the named one.
        """
        with self._lock:
            served = self._models.get(spec.name)
            versions = dict(served.versions) if served else {}
            if spec.WhichOneof("version_choice") == "version":
                number = spec.version.value
                if number not in versions:
                    raise not_found(f"Could not find version {number} of model {spec.name}")
                versions = {number: versions[number]}
            if not versions:
                raise not_found(f"Could not find any versions of model {spec.name}")
            return [_describe(versions[number]) for number in sorted(versions, reverse=True)]

    def list_failed(self, names: Collection[str] | None = None) -> list[str]:
        """Lists the loading errors of models without an available version.

        Args:
            names: models to look at; None for all.
        Returns:
            One text per failed version, with model, number and error.
        """
        with self._lock:
            return [
                f"{{name: {name} version: {version.number}}} due to error: {version.error.message}"
                for name, served in self._models.items()
                if (names is None or name in names) and not any(v.model for v in served.versions.values())
                for version in served.versions.values()
                if version.error
            ]

    def has_version(self, name: str) -> bool:
        """Tells whether a version of a model is available."""
        with self._lock:
            return any(version.model for version in self._models[name].versions.values())

    def close(self) -> None:
        """Unloads all models; waits up to `_DRAIN_SECONDS` for the requests in work."""
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.SetInParent()
        self.configure(config)

    def _find(self, spec: model_pb2.ModelSpec) -> tuple[_Version, Model]:
        """Returns the version of a spec, and the model that answers for the version."""
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        served = self._models.get(spec.name)
        available = {n: (v, v.model) for n, v in served.versions.items() if v.model} if served else {}
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            if spec.version.value not in available:
                raise not_found(f"Servable not found for request: Specific({spec.name}, {spec.version.value})")
            return available[spec.version.value]
        if served and choice == "version_label":
            return available[self._resolve_label(served, spec.version_label)]
        if not available:
            raise not_found(f"Servable not found for request: Latest({spec.name})")
        return available[max(available)]

    def _resolve_label(self, served: _ServedModel, label: str) -> int:
        if label not in served.labels:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return served.labels[label]

    def _list_wanted(self, config: model_server_config_pb2.ModelConfig) -> dict[int, str] | None:
        """Returns the folders of the versions that the policy wants, by number; None if the folder cannot be listed."""
        found = _list_versions(config.base_path)
        if found is None:
            return None
        policy = config.model_version_policy
        kind = policy.WhichOneof("policy_choice")
        if kind == "all":
            return found
        if kind == "specific":
            return {number: found[number] for number in sorted(policy.specific.versions) if number in found}
        latest = policy.latest if kind == "latest" else _LATEST
        return {number: found[number] for number in sorted(found)[-max(latest.num_versions, 1) :]}

    def _load_new(self, name: str, served: _ServedModel, wanted: dict[int, str]) -> None:
        for number, path in wanted.items():
            known, fingerprint = served.versions.get(number), _fingerprint(path)
            if known and (known.model or (known.fingerprint == fingerprint and known.error)):
                continue
            version = _Version(number, path, fingerprint)
            with self._lock:
                served.versions[number] = version
            self._load(name, version)

    def _load(self, name: str, version: _Version) -> None:
        """Loads and warms up a version, then makes the version available; stores the error of a failure."""
        logger.info("Loading servable: {name: %s version: %d} from %s", name, version.number, version.path)
        start = time.monotonic()
        try:
            model, close = _open(name, version, self._batching, self._max_batch, self._slots)
        except Exception as error:  # any error: the other models must still be refreshed
            failure = _to_failure(error)
            logger.error("Servable {name: %s version: %d} cannot be loaded: %s", name, version.number, failure.message)
            with self._lock:
                version.state, version.error = _State.END, failure
            return
        with self._lock:
            version.model, version.state, version.close = model, _State.AVAILABLE, close
        seconds = time.monotonic() - start
        logger.info("Available: {name: %s version: %d}, after %.1f s", name, version.number, seconds)

    def _move_labels(self, served: _ServedModel) -> None:
        """Points each label to the version of the configuration, once that version is available."""
        with self._lock:
            wanted = dict(served.config.version_labels)
            available = {number for number, version in served.versions.items() if version.model}
            kept = {label: number for label, number in served.labels.items() if number in available}
            moved = {label: number for label, number in wanted.items() if number in available}
            served.labels = {label: number for label, number in (kept | moved).items() if label in wanted}

    def _retire_old(self, served: _ServedModel, wanted: dict[int, str]) -> None:
        """Retires versions that the policy does not want, unless no wanted version is available."""
        with self._lock:
            available = {number for number, version in served.versions.items() if version.model}
            old = [v for n, v in served.versions.items() if v.model and n not in wanted]
            if wanted and not available & set(wanted):
                return
            self._retired += [(version, version.close) for version in old]
            for version in old:
                version.state, version.model, version.close = _State.UNLOADING, None, lambda: None
            served.labels = {label: n for label, n in served.labels.items() if served.versions[n].model}
            for number in [n for n, v in served.versions.items() if v.error and n not in wanted]:
                del served.versions[number]

    def _drain(self) -> None:
        """Frees retired versions whose requests end within `_DRAIN_SECONDS`; the next call frees the rest."""
        waiting, self._retired = self._retired, []
        deadline = time.monotonic() + _DRAIN_SECONDS
        while waiting:
            version, close = waiting.pop()
            if self._wait_until_unused(version, deadline):
                close()
                logger.info("Unloaded version %d from %s", version.number, version.path)
                with self._lock:
                    version.state = _State.END
            else:
                self._retired.append((version, close))
            del close
            release_memory()  # only now, without any reference to the version

    def _wait_until_unused(self, version: _Version, deadline: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: not version.users, deadline - time.monotonic())

    def _check_configured(self, entries: dict[str, model_server_config_pb2.ModelConfig], new: set[str]) -> None:
        if failed := self.list_failed(new):
            raise ServingError(grpc.StatusCode.UNKNOWN, f"Some models did not become available: {'; '.join(failed)}")
        with self._lock:
            for name, entry in entries.items():
                for label, number in entry.version_labels.items():
                    if self._models[name].labels.get(label) != number:
                        raise failed_precondition(
                            f"Request to assign label to version {number} of model {name}, which is not currently "
                            "available for inference"
                        )


def _list_versions(base_path: str) -> dict[int, str] | None:
    """Returns the folders of versions by number; None if the base path cannot be listed.

    None also stands for a missing base path: a disk that is unmounted for a while must not unload the models.
    """
    try:
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_path)]
    except tf.errors.OpError:
        return None
    for ignored, taken in list_shadowed(names):
        _warn_of_shadowed(base_path, ignored, taken)
    paths = {n: os.path.join(base_path, name) for n, name in index_by_number(names).items()}
    return {n: path for n, path in paths.items() if tf.io.gfile.isdir(path)}


@functools.cache
def _warn_of_shadowed(base_path: str, ignored: str, taken: str) -> None:
    """Logs a duplicate version folder; the cache limits the warning to one per process."""
    logger.warning(
        "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored. (%s)",
        parse_number(taken), taken, ignored, base_path,
    )  # fmt: skip


def _fingerprint(path: str) -> tuple[tuple[int, int], ...]:
    """Returns the sizes and times of a model's files, which change when the model is replaced or completed."""
    files = [*(os.path.join(path, name) for name in _SAVED_MODEL_FILES), os.path.join(path, WARMUP_REQUESTS)]
    files += tf.io.gfile.glob(os.path.join(path, "variables", "*"))
    stamps = []
    for file in files:
        with contextlib.suppress(tf.errors.OpError):
            stat = tf.io.gfile.stat(file)
            stamps.append((stat.length, stat.mtime_nsec))
    return tuple(stamps)


def _open(
    name: str, version: _Version, batching: BatchingParameters | None, max_batch: int, slots: ComputeSlots
) -> tuple[Model, Callable[[], None]]:
    """Loads and warms up a version; returns the model and the function that frees the model."""
    servable = Servable(version.path)
    batcher = None
    try:
        batcher = Batcher(servable, batching) if batching else None
        run = batcher.run if batcher else functools.partial(slots.run, servable.run)
        model = Model(name, version.number, servable.signatures, run, max_batch)
        warm_up(model, version.path)
    except BaseException:
        _close(servable, batcher)
        raise
    return model, lambda: _close(servable, batcher)


def _to_failure(error: Exception) -> ServingError:
    """Copies an error without its traceback, whose frames would keep the graph in memory."""
    if isinstance(error, ServingError):
        return ServingError(error.code, error.message)
    return ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {read_message(error)}")


def _describe(version: _Version) -> get_model_status_pb2.ModelVersionStatus:
    status = get_model_status_pb2.ModelVersionStatus(version=version.number, state=version.state)
    if version.error:
        status.status.error_code = version.error.code.value[0]
        status.status.error_message = version.error.message
    else:
        status.status.error_code = 0
    return status


def _close(servable: Servable, batcher: Batcher | None) -> None:
    if batcher:
        batcher.close()
    servable.close()
