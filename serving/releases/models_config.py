"""`serving/models.config`: what a TensorFlow Serving loads of each model, and which versions its labels mean.

A text ModelServerConfig (tensorflow_serving/config/model_server_config.proto), for `--model_config_file`. Graft writes
the labels and how many versions are loaded; whatever else is in the file is the user's, and stays.

A `base_path` is absolute: TensorFlow Serving refuses a relative one (`ValidateModelConfigList` in
tensorflow_serving/model_servers/server_core.cc). So that it follows a folder that is moved, copied or renamed, the
file says in a comment in which folder Graft wrote it. A `base_path` in that folder, under the model's name, is Graft's,
and is moved along. Any other is the user's.
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
# The live version and the one before it, so that a rollback waits for no loading; and the canary.
_LOADED, _LOADED_WITH_CANARY = 2, 3


def find_file(model_dir: str) -> str:
    """The path of the file: beside the folder of a model, and for all of them."""
    return os.path.join(os.path.dirname(model_dir.rstrip("/")), FILE)


def read(model_dir: str) -> ModelServerConfig:
    """Reads the file, with the paths of where its folder is now; an empty one if it is not there.

    Args:
        model_dir: the folder of a model.
    Raises:
        UsageError: if it cannot be read, or is not a list of models.
    """
    return _read(model_dir)[0]


def mend(model_dir: str) -> str:
    """Writes the file anew if its folder was moved, copied or renamed since Graft wrote it.

    Args:
        model_dir: the folder of a model.
    Returns:
        The folder where it was before; "" if there was nothing to mend.
    Raises:
        UsageError: as `read`.
        GraftError: if it cannot be written.
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
    """Returns the configuration with the paths of now, and the folder that the file names in their place, or ""."""
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
    return config, _follow(config, text, _find_folder(model_dir))


def _follow(config: ModelServerConfig, text: str, folder: str) -> str:
    """Changes the paths that Graft wrote to those of now; returns the folder that they named if it is another one."""
    former = ""
    for model in config.model_config_list.config:
        before, path = _find_written_folder(text, model), join(folder, model.name)
        if before and model.base_path == join(before, model.name):
            former = former if _is_same(model.base_path, path) else before
            model.base_path = path
    return former


def _find_written_folder(text: str, model: ModelConfig) -> str:
    """Returns the folder that the file was in when Graft wrote it; "" if Graft has not, or not the path of this model.

    Files of before 0.3.0 do not name it: there every workspace's .../serving/NAME is taken for Graft's.
    """
    if found := _FOLDER.search(text):
        with contextlib.suppress(ValueError):
            return str(json.loads(found[1]))
    folder, name = os.path.split(model.base_path)
    is_workspace = name == model.name and os.path.basename(folder) == "serving"
    return folder if is_workspace and text.startswith(_WITHOUT_FOLDER) else ""


def _is_same(path: str, other: str) -> bool:
    """Compares two paths; a link to a folder, or a mount of it, is the same folder."""
    if path == other or is_remote(path):
        return path == other
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def read_labels(model_dir: str) -> dict[str, int]:
    """What the labels of a model mean, by the file; none if it is not there, or does not know the model."""
    models = read(model_dir).model_config_list.config
    return {k: v for model in models if model.name == _name(model_dir) for k, v in model.version_labels.items()}


def read_labels_of_user(model_dir: str) -> dict[str, int]:
    """Those that Graft has not written."""
    return {label: number for label, number in read_labels(model_dir).items() if label not in (STABLE, CANARY)}


def write(
    model_dir: str,
    config: ModelServerConfig,
    labels: Mapping[str, int],
    numbers: Sequence[int],
    leaving: Sequence[int] = (),
) -> None:
    """Writes the file anew, whole or not at all, with what has changed of a model.

    Args:
        model_dir: the folder of the model.
        config: what `read` returned; changed in place.
        labels: what `stable` and `canary` mean.
        numbers: of the versions in the folder. A label of the user's stays as long as its version is among them:
            a server refuses a file with a label that means nothing.
        leaving: those of them that go next; they keep no label.
    Raises:
        GraftError: if it cannot be written.
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
            f"{find_file(model_dir)}: cannot be written: {error.strerror}. The folders of the versions are as asked; "
            "the labels follow with the next push, or the next of ./graft releases rollback, promote or keep."
        ) from error


def _write(model_dir: str, config: ModelServerConfig) -> None:
    head = _HEAD.format(json.dumps(_find_folder(model_dir)))
    _replace(find_file(model_dir), head + text_format.MessageToString(config, as_utf8=True))


def _count_loaded(model: ModelConfig, numbers: Sequence[int], before: int) -> int:
    """How many of the newest versions to load: enough to have each that has a label, or as many as the user wants."""
    labels = model.version_labels
    fewest = _LOADED_WITH_CANARY if CANARY in labels else _LOADED
    wanted = before if before > _LOADED_WITH_CANARY else 0  # more than Graft would write
    return max([fewest, wanted, *(sum(number >= labelled for number in numbers) for labelled in labels.values())])


def _find_model(config: ModelServerConfig, model_dir: str) -> ModelConfig:
    """The entry of a model, made if need be."""
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
    """Removes what a process left that was killed while it wrote; to be called with the lock of the folder held.

    Raises:
        OSError: if something cannot be removed.
    """
    folder = _find_folder(model_dir)
    if is_remote(folder):  # there is no lock there: a file may be another process's that is alive
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
