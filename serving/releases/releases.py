"""Which version of a model is live, which is its canary, and the ways from one to the other.

The highest number is live: a model server serves it to whoever names no version and no label, and so does a server that
has no `models.config`. A canary therefore has a number below the live version's, and a file inside that says what it
is; one file, so that it is a canary from the rename that brings it, and stays one whatever becomes of `models.config`.

A change is three steps, so that whoever is killed between them leaves no label on a version that is gone:

1. `models.config` without the labels of the versions that go or get another number. `stable` moves to what will be live
   without them, which is there already and loaded.
2. Renames in the model's folder (in a store, where there is none, a copy and then a removal: see `remote_versions`),
   and removals.
3. `models.config` by what the folder has now. A new version gets its label here and not before: a server refuses to
   move a label to a version that it has not loaded (unless --allow_version_labels_for_unavailable_models), and tries
   again when it next reads the file.

Between the steps the labels lag behind what is live; the next change computes them anew from the folder.

One process at a time: each change holds the lock of the folder (`folder_lock`), in which two workspaces may meet. The
lock of a workspace is held by the command line besides, so that nothing changes beside a run.
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

_CANARY_MARK = os.path.join("assets.extra", "canary")  # a file; a server ignores what it does not know there


@dataclasses.dataclass(frozen=True)
class Releases:
    """What there is of a model.

    Attributes:
        numbered: what a model server sees, oldest first.
        withdrawn: what it no longer sees, oldest first.
    """

    numbered: list[Version]
    withdrawn: list[Version]

    @property
    def live(self) -> Version | None:
        """The highest."""
        return self.numbered[-1] if self.numbered else None

    @property
    def canary(self) -> Version | None:
        """What was pushed to be tried beside the live version."""
        return next((v for v in reversed(self.numbered[:-1]) if _is_marked(v)), None)

    @property
    def before(self) -> Version | None:
        """What a rollback makes live."""
        return next((v for v in reversed(self.numbered[:-1]) if not _is_marked(v)), None)

    @property
    def labels(self) -> dict[str, int]:
        """Which version each label means."""
        named = {STABLE: self.live, CANARY: self.canary}
        return {label: version.number for label, version in named.items() if version}


def read(model_dir: str) -> Releases:
    """Looks into the folder of a model; there may be none."""
    return Releases(versions.find_versions(model_dir), versions.find_withdrawn(model_dir))


@contextlib.contextmanager
def begin_change(model_dir: str) -> Iterator[tuple[Releases, ModelServerConfig]]:
    """Takes the lock of the folder, finishes what was interrupted, and looks at what there is.

    A version that is live is no canary any more, not even when the next push has made it an older one.

    Yields:
        The versions, and what models.config says; the lock is held until the end.
    Raises:
        UsageError: if that cannot be read, or two folders are one version; then nothing is changed.
        GraftError: if something cannot be changed.
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


def settle(model_dir: str) -> None:
    """Finishes what was interrupted; else as `begin_change`, and changes nothing."""
    with begin_change(model_dir):
        pass


def check_pushable(model_dir: str, canary: bool) -> None:
    """Refuses what the push at the end of a run would refuse.

    Args:
        model_dir: the folder of a model.
        canary: whether a canary is to be pushed.
    Raises:
        UsageError: if models.config cannot be read, two folders are one version, or no higher number is free.
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
    """Withdraws the live version, so that the one before it is live. A canary stays the canary.

    Returns:
        The version that was withdrawn.
    Raises:
        UsageError: if there is none before, or models.config cannot be read.
        GraftError: if something cannot be renamed or written.
    """
    with begin_change(model_dir) as (found, config):
        live, before = found.live, found.before
        if live is None or before is None:
            raise UsageError(_explain_no_way_back(found, model_dir))
        untried = [version for version in found.numbered[:-1] if version.number > before.number]
        with _labels_around(model_dir, found, config, leaving=[*untried, live]):
            for canary in untried:
                # It would be the highest, and so live. It goes below first: at no moment is an untried version live.
                _move_below(canary, before, model_dir)
            return versions.withdraw(live)


def withdraw_canary(model_dir: str) -> Version:
    """Withdraws the canary; what is live is live.

    Returns:
        The version that was withdrawn.
    Raises:
        UsageError: if there is none, or models.config cannot be read.
        GraftError: if something cannot be renamed or written.
    """
    with begin_change(model_dir) as (found, config):
        if found.canary is None:
            raise UsageError(f"{model_dir}: no canary. ./graft run --canary pushes one.")
        with _labels_around(model_dir, found, config, leaving=[found.canary]):
            return versions.withdraw(found.canary)


def promote(model_dir: str, number: int | None = None) -> Version:
    """Makes a version live: it gets the next number.

    Args:
        model_dir: the folder of a model.
        number: of an older version or one that was withdrawn; None for the canary.
    Returns:
        The version, with its new number.
    Raises:
        UsageError: if there is no such version, it is live already, or models.config cannot be read.
        GraftError: if something cannot be renamed or written.
    """
    with begin_change(model_dir) as (found, config):
        version, next_number = _choose(found, number, model_dir), versions.next_number(model_dir)
        with _labels_around(model_dir, found, config, leaving=[version]):
            live = versions.renumber(version, next_number)
            with contextlib.suppress(OSError):  # it is live already; the next change tries again
                _unmark(live)
        return live


def keep(model_dir: str, count: int) -> list[int]:
    """Removes old versions, and writes the labels: what every push ends with.

    Args:
        model_dir: the folder of a model.
        count: how many versions with a number stay, at least 1. More do if need be: the live one, what has a label,
            and with a count above 1 the one before the live one are never removed. Of those that were withdrawn,
            as many stay at the most.
    Returns:
        The numbers of those that are gone, oldest first.
    Raises:
        UsageError: if models.config cannot be read.
        GraftError: if something cannot be removed or written.
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
    """The number for a new canary: the highest that is free below the live version's.

    Raises:
        UsageError: if none is.
    """
    live = read(model_dir).live
    number = versions.free_number_below(model_dir, live.number) if live else None
    if number is None:
        raise UsageError(
            f"{model_dir}: no number is free below the live version's for a canary. Push without --canary."
        )
    return number


def make_way(model_dir: str) -> None:
    """Withdraws the canary, if there is one, for a new one; to be called with the lock of the folder held."""
    found = read(model_dir)
    if found.canary:
        with _labels_around(model_dir, found, models_config.read(model_dir), leaving=[found.canary]):
            versions.withdraw(found.canary)


def mark_canary(path: str) -> None:
    """Makes a SavedModel a canary, should its number be below the live version's."""
    gfile(path).makedirs(os.path.dirname(os.path.join(path, _CANARY_MARK)))
    with gfile(path).GFile(os.path.join(path, _CANARY_MARK), "w") as file:
        file.write("")


def _is_marked(version: Version) -> bool:
    """Says whether there is a mark, be it a file, or what a damaged disk or a copy made of it."""
    mark = os.path.join(version.path, _CANARY_MARK)
    return bool(gfile(mark).exists(mark)) or (not is_remote(mark) and os.path.islink(mark))


def _unmark(version: Version) -> None:
    if _is_marked(version):
        mark = os.path.join(version.path, _CANARY_MARK)
        is_folder = gfile(mark).isdir(mark) and not (not is_remote(mark) and os.path.islink(mark))
        (gfile(mark).rmtree if is_folder else gfile(mark).remove)(mark)


def _choose(found: Releases, number: int | None, model_dir: str) -> Version:
    """The version to promote."""
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
    raise UsageError(f"{model_dir}: no version {number}. Others than the live one: {known}.")


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
    """Writes the labels before and after a change of the folders, see above; and if it fails, as the folders are then.

    Args:
        model_dir: the folder of a model.
        found: the versions before the change.
        config: of models.config, before the change.
        leaving: the versions that go, or get another number.
    Raises:
        GraftError: if something cannot be changed or written. A file that cannot be written before the change is no
            reason to refuse a rollback.
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
            f"{error.filename or model_dir}: cannot be changed: {error.strerror}. What was live is live."
        ) from error
