"""Changes of the live version and the canary of a model: push, promote, rollback and removal of old versions.

The version with the highest number is live: a model server answers with that version when a request names no version
and no label, with or without `models.config`. So a canary has a number below the live version's, and a file in its
folder marks the canary. The mark arrives with the rename of the folder and does not depend on `models.config`.

A change has three steps, so that a process killed between two steps leaves no label on a removed version:

1. Write `models.config` without the labels of the versions that are removed or renumbered. `stable` moves to the
   version that will be live without them, which is already loaded.
2. Rename and remove folders of versions. A store has no renames: see `remote_versions`.
3. Write `models.config` for the versions in the folder. A new version gets its label in this step only: a server
   refuses to move a label to a version that is not loaded (unless --allow_version_labels_for_unavailable_models), and
   tries again when it next reads the file.

Between the steps the labels may be outdated; the next change computes them from the folder.

Each change holds the lock of the serving folder (`folder_lock`), which several workspaces may share. The command line
also holds the lock of its workspace, so that no change happens during a run.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from schema.errors import GraftError, UsageError
from serving.releases import models_config, versions
from serving.releases.models_config import CANARY, STABLE
from serving.releases.versions import Version
from serving.storage import folder_lock
from serving.storage.gfile import gfile, is_remote
from serving.storage.listing import list_names
from serving.storage.saved_model import EXTRA_ASSETS

_CANARY_MARK = os.path.join(EXTRA_ASSETS, "canary")  # an empty file


@dataclasses.dataclass(frozen=True)
class Releases:
    """Versions of a model.

    Attributes:
        numbered: versions that a model server can load, oldest first.
        withdrawn: versions that are hidden from the servers, oldest first.
    """

    numbered: list[Version]
    withdrawn: list[Version]

    @property
    def live(self) -> Version | None:
        """Live version, the one with the highest number; None without versions."""
        return self.numbered[-1] if self.numbered else None

    @property
    def canary(self) -> Version | None:
        """Canary, a version on trial beside the live version; None if there is no canary."""
        return next((v for v in reversed(self.numbered[:-1]) if _is_marked(v)), None)

    @property
    def before(self) -> Version | None:
        """Version that a rollback makes live; None if there is no such version."""
        return next((v for v in reversed(self.numbered[:-1]) if not _is_marked(v)), None)

    @property
    def labels(self) -> dict[str, int]:
        """Version number by label, for `stable` and `canary`."""
        named = {STABLE: self.live, CANARY: self.canary}
        return {label: version.number for label, version in named.items() if version}


def read(model_dir: str) -> Releases:
    """Returns the versions in the folder of a model; none if the folder is missing."""
    return Releases(versions.find_versions(model_dir), versions.find_withdrawn(model_dir))


@contextlib.contextmanager
def begin_change(model_dir: str) -> Iterator[tuple[Releases, ModelServerConfig]]:
    """Locks the folder, recovers from interrupted changes, and yields the state of the versions.

    The live version loses its canary mark, so that a later push does not turn it into a canary again.

    Yields:
        The versions and the content of models.config. The lock is held until the context ends.
    Raises:
        UsageError: if models.config cannot be read, or two folders have one version number; then nothing is changed.
        GraftError: if a file or folder cannot be changed.
    """
    with contextlib.ExitStack() as stack:
        with _explained(model_dir):
            stack.enter_context(folder_lock.locked(model_dir))
        config = models_config.read(model_dir)
        _refuse_shadowed(model_dir)
        with _explained(model_dir):
            versions.finish_interrupted(model_dir)
            models_config.remove_unfinished(model_dir)
            found = read(model_dir)
            if found.live:
                _unmark(found.live)
        yield found, config


def recover(model_dir: str) -> None:
    """Recovers from interrupted changes, without a change of its own; raises the errors of `begin_change`."""
    with begin_change(model_dir):
        pass


def check_pushable(model_dir: str, canary: bool) -> None:
    """Checks, at the start of a run, the conditions of the push at its end.

    Args:
        model_dir: folder of a model.
        canary: whether the run pushes a canary.
    Raises:
        UsageError: if models.config cannot be read, two folders have one version number, or no higher number is free.
    """
    models_config.read(model_dir)
    _refuse_shadowed(model_dir)
    if not canary:
        versions.next_number(model_dir)


def _refuse_shadowed(model_dir: str) -> None:
    for ignored, taken in versions.list_shadowed(list_names(model_dir)):
        raise UsageError(
            f"{model_dir}: {ignored!r} and {taken!r} are the same version, {versions.parse_number(taken)}, and a model "
            f"server takes {taken!r} alone. Rename one of the folders, or remove it. Nothing was changed."
        )


def roll_back(model_dir: str) -> Version:
    """Withdraws the live version, so that the version before it is live; a canary stays the canary.

    Returns:
        The withdrawn version.
    Raises:
        UsageError: if no version is before the live one, or models.config cannot be read.
        GraftError: if a file or folder cannot be renamed or written.
    """
    with begin_change(model_dir) as (found, config):
        live, before = found.live, found.before
        if live is None or before is None:
            raise UsageError(_explain_no_way_back(found, model_dir))
        untried = [version for version in found.numbered[:-1] if version.number > before.number]
        with _labels_around(model_dir, found, config, leaving=[*untried, live]):
            for canary in untried:
                # The canary would get the highest number and be live, so it is moved below first.
                _move_below(canary, before, model_dir)
            return versions.withdraw(live)


def withdraw_canary(model_dir: str) -> Version:
    """Withdraws the canary; the live version stays.

    Returns:
        The withdrawn version.
    Raises:
        UsageError: if the model has no canary, or models.config cannot be read.
        GraftError: if a file or folder cannot be renamed or written.
    """
    with begin_change(model_dir) as (found, config):
        if found.canary is None:
            raise UsageError(f"{model_dir}: no canary. ./graft run --canary pushes one.")
        with _labels_around(model_dir, found, config, leaving=[found.canary]):
            return versions.withdraw(found.canary)


def promote(model_dir: str, number: int | None = None) -> Version:
    """Makes a version live by giving it the next number.

    Args:
        model_dir: folder of a model.
        number: number of an older or withdrawn version; None for the canary.
    Returns:
        The version with its new number.
    Raises:
        UsageError: if the version is missing or live already, or models.config cannot be read.
        GraftError: if a file or folder cannot be renamed or written.
    """
    with begin_change(model_dir) as (found, config):
        version, next_number = _choose(found, number, model_dir), versions.next_number(model_dir)
        with _labels_around(model_dir, found, config, leaving=[version]):
            live = versions.renumber(version, next_number)
            with contextlib.suppress(OSError):  # the version is live already; the next change removes the mark
                _unmark(live)
        return live


def keep(model_dir: str, count: int) -> list[int]:
    """Removes old versions and writes the labels; the last step of each push.

    The live version and versions with a label always stay, and with a count above 1 also the version before the live
    one.

    Args:
        model_dir: folder of a model.
        count: number of numbered versions that stay, at least 1; also the maximum number of withdrawn versions.
    Returns:
        The numbers of the removed versions, oldest first.
    Raises:
        UsageError: if models.config cannot be read.
        GraftError: if a file or folder cannot be removed or written.
    """
    with begin_change(model_dir) as (found, config):
        needed = {*found.labels.values(), *models_config.read_labels_of_user(model_dir).values()}
        if found.before and count > 1:
            needed.add(found.before.number)
        old = [version for version in found.numbered if version.number not in needed]
        old = [*old[: max(0, len(found.numbered) - count)], *found.withdrawn[: max(0, len(found.withdrawn) - count)]]
        with _labels_around(model_dir, found, config, leaving=old):
            if gfile(model_dir).isdir(model_dir):
                versions.remove(model_dir, old)
        return sorted(version.number for version in old)


def find_canary_number(model_dir: str) -> int:
    """Returns the number for a new canary: the highest free number below the live version's.

    Raises:
        UsageError: if no number is free.
    """
    live = read(model_dir).live
    number = versions.free_number_below(model_dir, live.number) if live else None
    if number is None:
        raise UsageError(
            f"{model_dir}: no number is free below the live version's for a canary. Push without --canary."
        )
    return number


def withdraw_former_canary(model_dir: str) -> None:
    """Withdraws an existing canary before the push of a new one; the caller holds the lock of the folder."""
    found = read(model_dir)
    if found.canary:
        with _labels_around(model_dir, found, models_config.read(model_dir), leaving=[found.canary]):
            versions.withdraw(found.canary)


def mark_canary(path: str) -> None:
    """Marks a SavedModel as a canary; the mark counts while its number is below the live version's."""
    gfile(path).makedirs(os.path.dirname(os.path.join(path, _CANARY_MARK)))
    with gfile(path).GFile(os.path.join(path, _CANARY_MARK), "w") as file:
        file.write("")


def _is_marked(version: Version) -> bool:
    """Tells whether a version has a canary mark; a folder or broken link in its place counts, too."""
    mark = os.path.join(version.path, _CANARY_MARK)
    return bool(gfile(mark).exists(mark)) or (not is_remote(mark) and os.path.islink(mark))


def _unmark(version: Version) -> None:
    if _is_marked(version):
        mark = os.path.join(version.path, _CANARY_MARK)
        is_folder = gfile(mark).isdir(mark) and not (not is_remote(mark) and os.path.islink(mark))
        (gfile(mark).rmtree if is_folder else gfile(mark).remove)(mark)


def _choose(found: Releases, number: int | None, model_dir: str) -> Version:
    """Returns the version to promote."""
    others = [*found.numbered[:-1], *found.withdrawn]
    known = ", ".join(str(version.number) for version in others) or "none"
    if number is None:
        if found.canary is None:
            raise UsageError(f"{model_dir}: no canary to promote. Name one of the other versions: {known}.")
        return found.canary
    if found.live and number == found.live.number:
        raise UsageError(f"{model_dir}: version {number} is live already.")
    for version in others:
        if version.number == number:
            return version
    for version in [*found.numbered, *found.withdrawn]:
        if version.record.pushed_version == number:
            change = "its promotion" if version.number > number else "a rollback"
            way = f"To make it live: ./graft releases promote {version.number}"
            raise UsageError(
                f"{model_dir}: version {number} is version {version.number} since {change}. "
                f"{'It is live already.' if version == found.live else way}"
            )
    raise UsageError(f"{model_dir}: no version {number}. Versions besides the live one: {known}.")


def _explain_no_way_back(found: Releases, model_dir: str) -> str:
    live = f"version {found.live.number} is live, and none before it is there" if found.live else "no version is live"
    others = [*([found.canary] if found.canary else []), *found.withdrawn]
    known = ", ".join(str(version.number) for version in others)
    way = f" ./graft releases promote VERSION makes another one live: {known}." if others else ""
    return f"{model_dir}: nothing to go back to: {live}.{way}"


def _move_below(canary: Version, version: Version, model_dir: str) -> None:
    number = versions.free_number_below(model_dir, version.number)
    if number is None:
        versions.withdraw(canary)
    else:
        versions.renumber(canary, number)


@contextlib.contextmanager
def _labels_around(
    model_dir: str, found: Releases, config: ModelServerConfig, leaving: Sequence[Version]
) -> Iterator[None]:
    """Writes the labels before and after a change of the folders, see the steps at the top; also after a failed change.

    A failure to write the file before the change is ignored, so that it does not prevent a rollback.

    Args:
        model_dir: folder of a model.
        found: versions before the change.
        config: content of models.config before the change.
        leaving: versions that are removed or renumbered.
    Raises:
        GraftError: if a folder cannot be changed, or the file cannot be written after the change.
    """
    paths = {version.path for version in leaving}
    staying = [version for version in found.numbered if version.path not in paths]
    gone = [version.number for version in found.numbered if version.path in paths]
    before = ModelServerConfig()
    before.CopyFrom(config)
    with contextlib.suppress(GraftError):
        numbers = [version.number for version in found.numbered]
        models_config.write(model_dir, before, Releases(staying, []).labels, numbers, gone)
    try:
        with _explained(model_dir):
            yield
    except BaseException:
        with contextlib.suppress(GraftError, OSError):
            _write_labels(model_dir, config)
        raise
    _write_labels(model_dir, config)


def _write_labels(model_dir: str, config: ModelServerConfig) -> None:
    found = read(model_dir)
    models_config.write(model_dir, config, found.labels, [version.number for version in found.numbered])


@contextlib.contextmanager
def _explained(model_dir: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GraftError(
            f"{error.filename or model_dir}: cannot be changed: {error.strerror}. The live version is unchanged."
        ) from error
