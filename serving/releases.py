"""Which version of a model is live, which is its canary, and the ways from one to the other.

The highest number is live: a model server serves it to whoever names no version and no label, and so does a server that
has no `models.config`. A canary therefore has a number below the live version's, and a file inside that says what it
is; one file, so that it is a canary from the rename that brings it, and stays one whatever becomes of `models.config`.

A change is first a rename in the model's folder (in a store, where there is none, a copy and then a removal: see
`remote_versions`) and then a new `models.config`. Never the other way round: a server refuses to move a label to a
version that it has not loaded (unless --allow_version_labels_for_unavailable_models), and tries again when it next
reads the file. Whoever is interrupted in between has changed what is live; the labels lag, and the next change
computes them anew from the folder.

One process at a time: the callers hold the lock of the workspace.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from schema.errors import GraftError, UsageError
from serving import models_config, versions
from serving.gfile import gfile
from serving.models_config import CANARY, STABLE
from serving.versions import Version

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


def settle(model_dir: str) -> tuple[Releases, ModelServerConfig]:
    """What every change begins with: finishes what was interrupted, and looks at what there is.

    A version that is live is no canary any more, not even when the next push has made it an older one.

    Returns:
        The versions, and what models.config says.
    Raises:
        UsageError: if that cannot be read, or two folders are one version; then nothing is changed.
        GraftError: if something cannot be changed.
    """
    config = models_config.read(model_dir)
    _refuse_shadowed(model_dir)
    with _explained(model_dir):
        versions.finish_interrupted(model_dir)
        found = read(model_dir)
        if found.live:
            _unmark(found.live)
    return found, config


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
    for ignored, taken in versions.list_shadowed(versions.list_names(model_dir)):
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
    found, config = settle(model_dir)
    live, before = found.live, found.before
    if live is None or before is None:
        raise UsageError(_explain_no_way_back(found, model_dir))
    with _explained(model_dir):
        for canary in (version for version in found.numbered[:-1] if version.number > before.number):
            # It would be the highest, and so live. It goes below first: at no moment is an untried version live.
            _move_below(canary, before, model_dir)
        withdrawn = versions.withdraw(live)
    _write_labels(model_dir, config)
    return withdrawn


def withdraw_canary(model_dir: str) -> Version:
    """Withdraws the canary; what is live is live.

    Returns:
        The version that was withdrawn.
    Raises:
        UsageError: if there is none, or models.config cannot be read.
        GraftError: if something cannot be renamed or written.
    """
    found, config = settle(model_dir)
    if found.canary is None:
        raise UsageError(f"{model_dir}: no canary. ./graft run --canary pushes one.")
    with _explained(model_dir):
        withdrawn = versions.withdraw(found.canary)
    _write_labels(model_dir, config)
    return withdrawn


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
    found, config = settle(model_dir)
    version = _choose(found, number, model_dir)
    with _explained(model_dir):
        live = versions.renumber(version, versions.next_number(model_dir))
    with contextlib.suppress(OSError):  # it is live already; the next change tries again
        _unmark(live)
    _write_labels(model_dir, config)
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
    found, config = settle(model_dir)
    needed = {*found.labels.values(), *models_config.read_labels_of_user(model_dir).values()}
    if found.before and count > 1:
        needed.add(found.before.number)
    old = [version for version in found.numbered if version.number not in needed]
    old = [*old[: max(0, len(found.numbered) - count)], *found.withdrawn[: max(0, len(found.withdrawn) - count)]]
    if gfile(model_dir).isdir(model_dir):
        with _explained(model_dir):
            versions.remove(model_dir, old)
    _write_labels(model_dir, config)
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
    """Withdraws the canary, if there is one, for a new one."""
    canary = read(model_dir).canary
    if canary:
        versions.withdraw(canary)


def mark_canary(path: str) -> None:
    """Makes a SavedModel a canary, should its number be below the live version's."""
    gfile(path).makedirs(os.path.dirname(os.path.join(path, _CANARY_MARK)))
    with gfile(path).GFile(os.path.join(path, _CANARY_MARK), "w") as file:
        file.write("")


def _is_marked(version: Version) -> bool:
    return bool(gfile(version.path).exists(os.path.join(version.path, _CANARY_MARK)))


def _unmark(version: Version) -> None:
    if _is_marked(version):
        gfile(version.path).remove(os.path.join(version.path, _CANARY_MARK))


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
