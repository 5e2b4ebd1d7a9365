"""Which versions of which models are loaded: follows the folders and the configuration, and hands versions out.

A version is loaded and warmed before it is handed out, and unloaded when it is no longer wanted, another one that is
wanted can be had, and the requests that it has are done; as TensorFlow Serving's AvailabilityPreservingPolicy.
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
from serving.server.configs import Batching
from serving.server.errors import ServingError, failed_precondition, invalid_argument, not_found, read_message
from serving.server.inference import MAX_BATCH, Model
from serving.server.memory import release_memory
from serving.server.servable import Servable
from serving.server.turns import Turns
from serving.server.warmup import WARMUP_FILE, warm_up

logger = logging.getLogger(__name__)

_State = get_model_status_pb2.ModelVersionStatus
_Policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
_LATEST = _Policy.Latest(num_versions=1)
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
# ServerCore::ReloadConfig's words, in tensorflow_serving/model_servers/server_core.cc: a file that is empty, white
# space or comments parses as a configuration that says nothing, and is refused. `model_config_list {}` unloads all.
_EMPTIED = (
    "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another. "
    "The configuration is empty; what is served is served on. Write model_config_list {} to unload all."
)
_DRAIN_SECONDS = 10.0  # that a version has to finish its requests before others are looked at


@dataclasses.dataclass
class _Version:
    """A version, from when it is seen until after it is gone.

    Attributes:
        number, path: of its folder.
        stamp: what tells whether the folder was written anew; a version that failed is tried again then.
        state: as the model status has it.
        error: why it could not be loaded.
        model: what answers requests, while it is available.
        close: frees it.
        users: requests that it has.
    """

    number: int
    path: str
    stamp: tuple[tuple[int, int], ...]
    state: int = _State.LOADING
    error: ServingError | None = None
    model: Model | None = None
    close: Callable[[], None] = lambda: None
    users: int = 0


@dataclasses.dataclass
class _Watched:
    """A model of the configuration.

    Attributes:
        config: its entry.
        versions: by number; those that are gone, too.
        labels: label to number, as requests are answered now.
        removed: whether the configuration has it no longer.
    """

    config: model_server_config_pb2.ModelConfig
    versions: dict[int, _Version] = dataclasses.field(default_factory=dict)
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    removed: bool = False


class ModelStore:
    """The loaded versions of all models."""

    def __init__(self, batching: Batching | None = None, max_batch: int = MAX_BATCH):
        """Loads nothing yet.

        Args:
            batching: with it, each version merges its requests.
            max_batch: rows that a request may have.
        """
        self._batching = batching
        self._max_batch = max_batch
        self._turns = Turns()
        self._models: dict[str, _Watched] = {}
        self._lock = threading.Condition()  # of everything above; never held while something is loaded or computed
        self._refreshing = threading.Lock()  # one at a time loads and unloads
        self._retired: list[tuple[_Version, Callable[[], None]]] = []  # not handed out any more, and not yet freed

    def configure(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Takes another configuration, and loads what it names.

        Raises:
            ServingError: if a version of a model that is new could not be loaded, or a label points to none; or if the
                configuration says nothing, as an empty file does, and models are served.
        """
        if config.WhichOneof("config") is None and self._models:
            raise failed_precondition(_EMPTIED)
        entries = {entry.name: entry for entry in config.model_config_list.config}
        with self._refreshing:
            with self._lock:
                new = set(entries) - set(self._models)
                for name, entry in entries.items():
                    self._models.setdefault(name, _Watched(entry)).config = entry
                for name in set(self._models) - set(entries):
                    self._models[name].removed = True
            self._refresh_all()
            self._check_configured(entries, new)

    def refresh(self) -> None:
        """Looks at the folders: loads what is new, moves the labels, unloads what is no longer wanted."""
        with self._refreshing:
            self._refresh_all()

    def _refresh_all(self) -> None:
        for name, watched in list(self._models.items()):
            wanted = {} if watched.removed else self._list_wanted(watched.config)
            if wanted is None:
                logger.warning("%s cannot be listed; what is served is served on", watched.config.base_path)
                continue
            self._load_new(name, watched, wanted)
            self._move_labels(watched)
            self._retire_old(watched, wanted)
            if watched.removed:
                with self._lock:
                    del self._models[name]
        self._drain()

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Model]:
        """Hands a version out for a request; it stays until the request is done.

        Raises:
            ServingError: if there is no such model, version or label.
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
        """Returns the status of each version of a model, newest first; or that of the version asked for by number.

        A label is passed over, as in TensorFlow Serving's get_model_status_impl.cc.

        Raises:
            ServingError: if there is none.
        """
        with self._lock:
            watched = self._models.get(spec.name)
            versions = dict(watched.versions) if watched else {}
            if spec.WhichOneof("version_choice") == "version":
                number = spec.version.value
                if number not in versions:
                    raise not_found(f"Could not find version {number} of model {spec.name}")
                versions = {number: versions[number]}
            if not versions:
                raise not_found(f"Could not find any versions of model {spec.name}")
            return [_describe(versions[number]) for number in sorted(versions, reverse=True)]

    def list_failed(self, names: Collection[str] | None = None) -> list[str]:
        """Models, of those named or of all, of which no version can be had, although there are some; with reasons."""
        with self._lock:
            return [
                f"{{name: {name} version: {version.number}}} due to error: {version.error.message}"
                for name, watched in self._models.items()
                if (names is None or name in names) and not any(v.model for v in watched.versions.values())
                for version in watched.versions.values()
                if version.error
            ]

    def has_version(self, name: str) -> bool:
        """Whether a version of a model can be had."""
        with self._lock:
            return any(version.model for version in self._models[name].versions.values())

    def close(self) -> None:
        """Unloads everything, after the requests that are being answered, if they do not take too long."""
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.SetInParent()
        self.configure(config)

    def _find(self, spec: model_pb2.ModelSpec) -> tuple[_Version, Model]:
        """The version that a request means, and what answers it."""
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        watched = self._models.get(spec.name)
        available = {n: (v, v.model) for n, v in watched.versions.items() if v.model} if watched else {}
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            if spec.version.value not in available:
                raise not_found(f"Servable not found for request: Specific({spec.name}, {spec.version.value})")
            return available[spec.version.value]
        if watched and choice == "version_label":
            return available[self._resolve_label(watched, spec.version_label)]
        if not available:
            raise not_found(f"Servable not found for request: Latest({spec.name})")
        return available[max(available)]

    def _resolve_label(self, watched: _Watched, label: str) -> int:
        if label not in watched.labels:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return watched.labels[label]

    def _list_wanted(self, config: model_server_config_pb2.ModelConfig) -> dict[int, str] | None:
        """The folders of the versions that the policy wants, oldest first; None if nobody can tell."""
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

    def _load_new(self, name: str, watched: _Watched, wanted: dict[int, str]) -> None:
        for number, path in wanted.items():
            known, stamp = watched.versions.get(number), _stamp(path)
            if known and (known.model or (known.stamp == stamp and known.error)):
                continue
            version = _Version(number, path, stamp)
            with self._lock:
                watched.versions[number] = version
            self._load(name, version)

    def _load(self, name: str, version: _Version) -> None:
        """Loads and warms; only then it is handed out."""
        logger.info("Loading servable: {name: %s version: %d} from %s", name, version.number, version.path)
        start = time.monotonic()
        try:
            model, close = _open(name, version, self._batching, self._max_batch, self._turns)
        except Exception as error:  # whatever it is: the other models are to be looked at
            failure = _to_failure(error)
            logger.error("Servable {name: %s version: %d} cannot be loaded: %s", name, version.number, failure.message)
            with self._lock:
                version.state, version.error = _State.END, failure
            return
        with self._lock:
            version.model, version.state, version.close = model, _State.AVAILABLE, close
        seconds = time.monotonic() - start
        logger.info("Available: {name: %s version: %d}, after %.1f s", name, version.number, seconds)

    def _move_labels(self, watched: _Watched) -> None:
        """Points each label where the configuration wants it, once that version is available."""
        with self._lock:
            wanted = dict(watched.config.version_labels)
            available = {number for number, version in watched.versions.items() if version.model}
            kept = {label: number for label, number in watched.labels.items() if number in available}
            moved = {label: number for label, number in wanted.items() if number in available}
            watched.labels = {label: number for label, number in (kept | moved).items() if label in wanted}

    def _retire_old(self, watched: _Watched, wanted: dict[int, str]) -> None:
        """Hands out no more what is not wanted, unless nothing of what is wanted can be had."""
        with self._lock:
            available = {number for number, version in watched.versions.items() if version.model}
            old = [v for n, v in watched.versions.items() if v.model and n not in wanted]
            if wanted and not available & set(wanted):
                return
            self._retired += [(version, version.close) for version in old]
            for version in old:
                version.state, version.model, version.close = _State.UNLOADING, None, lambda: None
            watched.labels = {label: n for label, n in watched.labels.items() if watched.versions[n].model}
            for number in [n for n, v in watched.versions.items() if v.error and n not in wanted]:
                del watched.versions[number]

    def _drain(self) -> None:
        """Frees what is not handed out any more, once its requests are done; those that take long, at a later time."""
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
            release_memory()  # when nothing refers to the version any more

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
    """Folders that are versions, by number. None if the folder cannot be listed, which says nothing of it.

    A folder that is not there is no reason to unload anything either: a disk that comes and goes would do that.
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
    """Says so once, and not each time that the folder is looked at."""
    logger.warning(
        "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored. (%s)",
        parse_number(taken), taken, ignored, base_path,
    )  # fmt: skip


def _stamp(path: str) -> tuple[tuple[int, int], ...]:
    """Changes when the model in a folder is another one, or more of it has arrived."""
    files = [*(os.path.join(path, name) for name in _SAVED_MODEL_FILES), os.path.join(path, WARMUP_FILE)]
    files += tf.io.gfile.glob(os.path.join(path, "variables", "*"))
    stamps = []
    for file in files:
        with contextlib.suppress(tf.errors.OpError):
            stat = tf.io.gfile.stat(file)
            stamps.append((stat.length, stat.mtime_nsec))
    return tuple(stamps)


def _open(
    name: str, version: _Version, batching: Batching | None, max_batch: int, turns: Turns
) -> tuple[Model, Callable[[], None]]:
    """Loads a version and warms it; returns it, and what frees it."""
    servable = Servable(version.path)
    batcher = None
    try:
        batcher = Batcher(servable, batching) if batching else None
        run = batcher.run if batcher else functools.partial(turns.run, servable.run)
        model = Model(name, version.number, servable.signatures, run, max_batch)
        warm_up(model, version.path)
    except BaseException:
        _close(servable, batcher)
        raise
    return model, lambda: _close(servable, batcher)


def _to_failure(error: Exception) -> ServingError:
    """What is kept of an error: without the frames that it went through, which hold the graph."""
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
