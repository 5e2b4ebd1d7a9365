"""Checks before a run reads an image, from names, sizes and the workspace: cheap ones, without TensorFlow.

A run applies them before its slow imports, and those of data and settings again when it has locked the workspace;
`./graft check` lists what they find. None writes a file.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable

from components.example_gen.layout import Listing
from components.example_gen.lineage import check_record
from components.gates.retraining_rules import check_window
from components.records.ingest import find_newest_day
from pipeline.check.classes import find_early_problems, resolve_classes
from pipeline.config.config import Beam, Config
from pipeline.downloads.weights import check_file
from pipeline.workspace.database import check_database
from pipeline.workspace.disk import MODEL_BYTES, check_free_space
from pipeline.workspace.workspace import Workspace, check_idle, check_writable
from schema.errors import DataError, GraftError
from serving.releases import releases, versions

Check = Callable[[], object]


def check_start(config: Config, listing: Listing, workspace: Workspace) -> None:
    """Raises the first error of the checks of data and settings.

    Raises:
        DataError: if the classes or the numbers of files are unfit to train on.
        UsageError: if weights, models.config, the record of the live version or the free disk space are unfit.
    """
    live = versions.find_live(str(workspace.model_dir(config.model_name)))
    for check in (*list_data_checks(config, listing, live), *list_settings_checks(config, listing, workspace)):
        check()


def check_workspace(out: str) -> None:
    """Checks that a run can write its workspace, that no run is at work there, and that its database is whole.

    Raises:
        UsageError: if the workspace cannot be written, or is none.
        GraftError: if another run has the lock, or the database cannot be used.
    """
    workspace = check_writable(out)
    check_idle(out)
    check_database(workspace, read_only=True)


@dataclasses.dataclass(frozen=True)
class EarlyProblems:
    """Reasons why a run would stop before it reads an image.

    Attributes:
        data: reasons in the names and numbers of files, with what to do.
        other: reasons in the workspace, the disk and the settings.
    """

    data: list[str]
    other: list[str]

    @property
    def problems(self) -> list[str]:
        """All reasons."""
        return self.data + self.other


def find_early(config: Config, listing: Listing) -> EarlyProblems:
    """Finds the problems of a listing, the workspace, the disk and the settings; reads no image."""
    workspace = Workspace(pathlib.Path(config.out))
    live = versions.find_live(str(workspace.model_dir(config.model_name)))
    other = [*list_workspace_checks(config), *list_settings_checks(config, listing, workspace)]
    return EarlyProblems(find_problems(list_data_checks(config, listing, live)), find_problems(other))


def list_data_checks(config: Config, listing: Listing, live: versions.Version | None) -> list[Check]:
    """Returns the checks of a listing, alone and beside the live version."""
    return [
        functools.partial(check_record, live, config.force),
        functools.partial(_check_window, config, listing, live),
        functools.partial(_check_classes, config, listing, live),
    ]


def list_settings_checks(config: Config, listing: Listing, workspace: Workspace) -> list[Check]:
    """Returns the checks of the weights, the serving folder and the disk."""
    model_dir = str(workspace.model_dir(config.model_name))
    return [
        functools.partial(check_file, config.weights),
        functools.partial(releases.check_pushable, model_dir, config.canary),
        lambda: check_free_space(config.out, estimate_needed(listing, workspace)),
    ]


def list_workspace_checks(config: Config) -> list[Check]:
    """Returns the checks of the workspace and of Beam's engine."""
    return [functools.partial(check_workspace, config.out), functools.partial(_check_engine, config)]


def find_problems(checks: Iterable[Check]) -> list[str]:
    """Returns the messages of all checks that fail."""
    problems: list[str] = []
    for check in checks:
        try:
            check()
        except GraftError as error:
            problems += error.args
    return problems


def estimate_needed(listing: Listing, workspace: Workspace) -> int:
    """Estimates the disk space of a run in bytes: the models, and the images unless an earlier run has read them."""
    manifests = workspace.load_manifests()
    known = any(m.ingest and m.resolved.fingerprint == listing.fingerprint for m in manifests)
    return MODEL_BYTES + (0 if known else sum(file.size for file in listing.files))


def _check_window(config: Config, listing: Listing, live: versions.Version | None) -> None:
    if live:
        check_window(find_newest_day({file.span for file in listing.files}), live, config.force)


def _check_classes(config: Config, listing: Listing, live: versions.Version | None) -> None:
    if problems := find_early_problems(config, listing, resolve_classes(config, listing, live), live):
        raise DataError(*problems)


def _check_engine(config: Config) -> None:
    """Checks the engine of Beam; skips the default one, because the import of Beam takes seconds."""
    if config.beam == Beam():
        return
    from pipeline.beam.engines import check_engine

    check_engine(config.beam, {"data": config.data, "out": config.out})
