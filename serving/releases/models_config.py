"""Reader and writer of `serving/models.config`: the models, loaded versions and labels of a TensorFlow Serving.

The file is a text ModelServerConfig (tensorflow_serving/config/model_server_config.proto), for `--model_config_file`.
Graft writes the labels and the number of loaded versions; all other fields belong to the user and are kept.

Each `base_path` is absolute, because TensorFlow Serving refuses a relative one (`ValidateModelConfigList` in
tensorflow_serving/model_servers/server_core.cc). A comment in the file names the folder that Graft wrote the file to.
If the file is found in another folder, each `base_path` of the form FOLDER/MODEL under the old folder is changed to the
new folder. Any other `base_path` belongs to the user.
"""

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from schema.errors import GraftError, UsageError
from serving.storage import folder_lock
from serving.storage.gfile import gfile, is_remote, join
from serving.storage.listing import list_names
from serving.storage.whole_files import name_temporary, write_whole

FILE = "models.config"
STABLE, CANARY = "stable", "canary"

_HEAD = """\
# Written by Graft at each push, by ./graft releases and by ./graft serve. Other models, labels, fields and a base_path
# elsewhere are kept; comments are not. A base_path in the next folder follows it where it is moved.
# folder: {}
"""
_FOLDER = re.compile(r'^# folder: (".*")$', re.MULTILINE)
_UNFINISHED = re.compile(rf"{re.escape(FILE)}\.[0-9a-f]{{32}}\.tmp")
_WITHOUT_FOLDER = "# Written by Graft at each push, and by ./graft releases. A base_path,"  # until 0.3.0
# Number of loaded versions: the live version, the version before it (a rollback needs no loading), and the canary.
_LOADED, _LOADED_WITH_CANARY = 2, 3


def find_file(model_dir: str) -> str:
    """Returns the path of the file, which lies beside the models' folders; one file covers all models."""
    return os.path.join(os.path.dirname(model_dir.rstrip("/")), FILE)


def read(model_dir: str) -> ModelServerConfig:
    """Reads the file, with each `base_path` of Graft changed to the present folder.

    Args:
        model_dir: folder of a model.
    Returns:
        The configuration; an empty one if the file is missing.
    Raises:
        UsageError: if the file cannot be read, or is not a list of models.
    """
    return _read(model_dir)[0]


def mend(model_dir: str) -> str:
    """Rewrites the file if its folder was moved, copied or renamed since Graft wrote the file.

    Args:
        model_dir: folder of a model.
    Returns:
        The former folder; "" if the file is up to date.
    Raises:
        UsageError: as `read`.
        GraftError: if the file cannot be written.
    """
    former = _read(model_dir)[1]
    if former:
        try:
            with folder_lock.locked(model_dir):
                config, former = _read(model_dir)  # another process may have changed the file meanwhile
                _write(model_dir, config)
        except OSError as error:
            raise GraftError(
                f"{find_file(model_dir)}: names the folder {former}, where it was before, and cannot be written: "
                f"{error.strerror}. Make it writable, or put the folder back."
            ) from error
    return former


def _read(model_dir: str) -> tuple[ModelServerConfig, str]:
    """Returns the configuration with present paths, and the former folder if the file names one, or ""."""
    path, config = find_file(model_dir), ModelServerConfig()
    try:
        text = _read_text(path)
        text_format.Parse(text, config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise _refuse(path, f"not a text ModelServerConfig: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    if config.WhichOneof("config") == "custom_model_config":
        raise _refuse(path, "expected a model_config_list; got a custom_model_config")
    return config, _update_paths(config, text, _find_folder(model_dir))


def _update_paths(config: ModelServerConfig, text: str, folder: str) -> str:
    """Changes each `base_path` of Graft to `folder`, in place; returns the former folder if that is another one."""
    former = ""
    for model in config.model_config_list.config:
        before, path = _find_written_folder(text, model), join(folder, model.name)
        if before and model.base_path == join(before, model.name):
            former = former if _is_same(model.base_path, path) else before
            model.base_path = path
    return former


def _find_written_folder(text: str, model: ModelConfig) -> str:
    """Returns the folder that Graft wrote the file to; "" if the path of this model is not Graft's.

    Files from before 0.3.0 do not name the folder. In such a file, a path of the form .../serving/NAME is Graft's.
    """
    if found := _FOLDER.search(text):
        with contextlib.suppress(ValueError):
            return str(json.loads(found[1]))
    folder, name = os.path.split(model.base_path)
    is_workspace = name == model.name and os.path.basename(folder) == "serving"
    return folder if is_workspace and text.startswith(_WITHOUT_FOLDER) else ""


def _is_same(path: str, other: str) -> bool:
    """Tells whether two paths are one folder, also through a link or a mount."""
    if path == other or is_remote(path):
        return path == other
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def read_labels(model_dir: str) -> dict[str, int]:
    """Returns the version number by label of a model; empty if the file is missing or lacks the model."""
    models = read(model_dir).model_config_list.config
    return {k: v for model in models if model.name == _name(model_dir) for k, v in model.version_labels.items()}


def read_labels_of_user(model_dir: str) -> dict[str, int]:
    """Returns the labels of a model that the user wrote, all but `stable` and `canary`."""
    return {label: number for label, number in read_labels(model_dir).items() if label not in (STABLE, CANARY)}


def write(
    model_dir: str,
    config: ModelServerConfig,
    labels: Mapping[str, int],
    numbers: Sequence[int],
    leaving: Sequence[int] = (),
) -> None:
    """Writes the file atomically, with new labels and a new number of loaded versions for one model.

    A label of the user is kept as long as its version exists: a server refuses a label without a version.

    Args:
        model_dir: folder of the model.
        config: result of `read`; changed in place.
        labels: version numbers of `stable` and `canary`.
        numbers: numbers of the versions in the folder.
        leaving: those of `numbers` that are removed next; their labels are dropped.
    Raises:
        GraftError: if the file cannot be written.
    """
    model, staying = _find_model(config, model_dir), set(numbers) - set(leaving)
    kept = {k: v for k, v in model.version_labels.items() if k not in (STABLE, CANARY) and v in staying}
    model.version_labels.clear()
    model.version_labels.update(kept | dict(labels))
    if model.model_version_policy.WhichOneof("policy_choice") in (None, "latest"):
        latest = model.model_version_policy.latest
        latest.num_versions = _count_loaded(model, numbers, latest.num_versions)
    try:
        _write(model_dir, config)
    except OSError as error:
        raise GraftError(
            f"{find_file(model_dir)}: cannot be written: {error.strerror}. The versions are changed as requested; the "
            "next push, or ./graft releases rollback, promote or keep, writes the labels."
        ) from error


def _write(model_dir: str, config: ModelServerConfig) -> None:
    head = _HEAD.format(json.dumps(_find_folder(model_dir)))
    _replace(find_file(model_dir), head + text_format.MessageToString(config, as_utf8=True))


def _count_loaded(model: ModelConfig, numbers: Sequence[int], before: int) -> int:
    """Returns the number of newest versions to load: enough for all labels, and at least the number of the user."""
    labels = model.version_labels
    fewest = _LOADED_WITH_CANARY if CANARY in labels else _LOADED
    wanted = before if before > _LOADED_WITH_CANARY else 0  # Graft itself writes no larger number
    return max(fewest, wanted, *(sum(number >= int(labelled) for number in numbers) for labelled in labels.values()))


def _find_model(config: ModelServerConfig, model_dir: str) -> ModelConfig:
    """Returns the entry of a model, and adds the entry if it is missing."""
    models = config.model_config_list.config
    for model in models:
        if model.name == _name(model_dir):
            return model
    base_path = join(_find_folder(model_dir), _name(model_dir))
    return models.add(name=_name(model_dir), base_path=base_path, model_platform="tensorflow")


def _find_folder(model_dir: str) -> str:
    """Returns the folder of the file, as an absolute path or a URI."""
    folder = os.path.dirname(model_dir.rstrip("/"))
    return folder if is_remote(folder) else os.path.abspath(folder)


def _name(model_dir: str) -> str:
    return os.path.basename(model_dir.rstrip("/"))


def _read_text(path: str) -> str:
    if not gfile(path).exists(path):
        return ""
    with gfile(path).GFile(path) as file:
        return str(file.read())


def remove_unfinished(model_dir: str) -> None:
    """Removes temporary files of killed processes; the caller holds the lock of the folder.

    Raises:
        OSError: if a file cannot be removed.
    """
    folder = _find_folder(model_dir)
    if is_remote(folder):  # without a lock, the file may belong to a living process
        return
    for name in list_names(folder):
        if _UNFINISHED.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))


def _replace(path: str, text: str) -> None:
    if _read_text(path) == text:
        return
    with write_whole(path, name_temporary(path), sync=True) as temporary, gfile(path).GFile(temporary, "w") as file:
        file.write(text)


def _refuse(path: str, problem: str) -> UsageError:
    return UsageError(f"{path}: {problem}. Mend it, or move it away and Graft writes a new one. Nothing was changed.")
