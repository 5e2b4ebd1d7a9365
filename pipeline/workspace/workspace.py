"""Folder that a run writes to, with the lock that excludes a second run."""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import pathlib
import secrets
import uuid
from collections.abc import Iterator

from pipeline.workspace.example_image import find_image
from pipeline.workspace.manifest import RunManifest, read_failure
from schema.errors import GraftError, UsageError
from schema.text import list_some, quote
from serving.storage.documents import DocumentError
from serving.storage.saved_model import SAVED_MODEL
from serving.storage.whole_files import write_whole

FORMAT = 1  # format of the layout; each change that another version cannot read increments it
_FORMAT_FILE = "workspace.json"
_UNFINISHED = f".{_FORMAT_FILE}-"
_LOCAL_ID = "%Y%m%dT%H%M%S-%f"  # run ids of Graft 0.2
LOST = "lost-"  # prefix of folders with files that were moved aside
PAGE = "report.html"  # page in the folder of a run
_LOCK = ".lock"  # file that a run locks while it is at work
_ELSEWHERE = "choose another folder with --out"
_OWN = {"pipeline", "metadata.sqlite", "runs", "serving", "embeddings", "decoded", "xla", "graft.log", _LOCK}


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Paths of a workspace."""

    root: pathlib.Path

    @property
    def artifacts(self) -> pathlib.Path:
        """TFX's pipeline root."""
        return self.root / "pipeline"

    @property
    def metadata(self) -> pathlib.Path:
        """ML Metadata's SQLite file."""
        return self.root / "metadata.sqlite"

    @property
    def embeddings(self) -> pathlib.Path:
        """Folder of the stored embeddings, which later runs read."""
        return self.root / "embeddings"

    @property
    def decoded(self) -> pathlib.Path:
        """Folder of the decode cache: image size, brightness and EXIF orientation, by digest."""
        return self.root / "decoded"

    @property
    def compiled(self) -> pathlib.Path:
        """Folder of what XLA has compiled for a card, see `pipeline.local.xla_cache`."""
        return self.root / "xla"

    @property
    def runs(self) -> pathlib.Path:
        """Folder with a folder for each run: manifest, history, training curves."""
        return self.root / "runs"

    @property
    def log(self) -> pathlib.Path:
        """Log of TFX, Beam, TensorFlow and the components."""
        return self.root / "graft.log"

    def model_dir(self, model_name: str) -> pathlib.Path:
        """Returns the folder of a model's versions, which TensorFlow Serving watches."""
        return self.root / "serving" / model_name

    def exists(self) -> bool:
        """Tells whether the folder has files of a run."""
        return any(os.path.lexists(path) for path in (self.root / _FORMAT_FILE, self.metadata, self.artifacts))

    def load_manifests(self) -> list[RunManifest]:
        """Reads the manifests of the earlier runs, oldest first; skips unreadable ones."""
        return [manifest for run_id in self.list_runs() if (manifest := self.read_manifest(run_id))]

    def read_manifest(self, run_id: str) -> RunManifest | None:
        """Reads the manifest of a run; returns None if it is missing or unreadable."""
        try:
            return RunManifest.read(str(self.runs / run_id))
        except DocumentError:
            return None

    def follow_artifacts(self, moved_to: pathlib.Path | None) -> None:
        """Corrects the paths of moved artifacts in the manifests, and removes those of deleted ones.

        A later run may make another artifact of the same path, which the manifest must not name.

        Args:
            moved_to: folder in the workspace that has the moved artifacts, under the same relative paths; or None.
        """
        for run_id in self.list_runs():
            manifest = self.read_manifest(run_id)
            if manifest and (followed := _follow(manifest, self.root, moved_to)) != manifest:
                followed.write(str(self.runs / run_id))

    def list_runs(self) -> list[str]:
        """Returns the ids of the runs, oldest first."""
        return sorted((path.name for path in self.runs.glob("*/") if path.is_dir()), key=_age)

    def find_running(self) -> str | None:
        """Returns the id of the run that is at work: the newest one, without a manifest, while the lock is held."""
        newest = self.list_runs()[-1:]
        if not newest or (self.runs / newest[0] / RunManifest.FILE).exists():
            return None
        return newest[0] if _is_locked(self.root / _LOCK) else None


def _is_locked(path: pathlib.Path) -> bool:
    try:
        with open(path, encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _follow(manifest: RunManifest, root: pathlib.Path, moved_to: pathlib.Path | None) -> RunManifest:
    """Returns a manifest with the current paths of its artifacts."""

    def find(path: str | None) -> str | None:
        if path is None or (root / path).exists():
            return path
        return str((moved_to / path).relative_to(root)) if moved_to and (moved_to / path).exists() else None

    changes: dict[str, object] = {}
    if manifest.trained_model:
        changes["trained_model"] = find(manifest.trained_model)
    if embedding := manifest.embedding:
        changes["embedding"] = embedding.model_copy(update={"artifact": find(embedding.artifact)})
    return manifest.model_copy(update=changes)


def prepare(out: str) -> Workspace:
    """Makes the folders and files of a workspace that are missing.

    Raises:
        UsageError: if the folder cannot be written, or holds other files than a workspace.
    """
    workspace = check_writable(out)
    with _explained(out):
        workspace.runs.mkdir(parents=True, exist_ok=True)
        workspace.log.touch()
        _write_format(workspace.root / _FORMAT_FILE)
    return workspace


def check_writable(out: str) -> Workspace:
    """Checks that a run can make or write a workspace; writes nothing.

    Raises:
        UsageError: if the folder cannot be written, or holds other files than a workspace.
    """
    workspace = Workspace(pathlib.Path(os.path.abspath(out)))
    with _explained(out):
        _check_format(out, workspace.root / _FORMAT_FILE)
        _check_access(workspace)
    return workspace


@contextlib.contextmanager
def _explained(out: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}. Choose another folder with --out.") from None


def _check_access(workspace: Workspace) -> None:
    """Refuses a workspace in which another user has run before, such as root in a container, and a read-only disk.

    Raises:
        OSError: if the disk is read-only, or the folder cannot be made.
    """
    existing = next(path for path in (workspace.root, *workspace.root.parents) if os.path.lexists(path))
    if not os.path.isdir(existing):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if existing != workspace.root and not os.access(existing, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    for path in (workspace.root, workspace.runs, workspace.log, workspace.root / _LOCK):
        if path.exists() and not os.access(path, os.W_OK):
            raise UsageError(
                f"{path}: this user may not write there. Change that (chown, chmod), or choose another folder "
                "with --out."
            )


def make_run_id() -> str:
    """Returns a new run id: the time in UTC, and 4 random hex digits to keep two processes apart.

    Ids sort by age. Local time would run backwards when summer time ends.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y%m%dT%H%M%S}-{now.microsecond // 1000:03}Z-{secrets.token_hex(2)}"


def find_start(run_id: str) -> datetime.datetime | None:
    """Returns the start of a run in UTC; None if its id has no time. An id of Graft 0.2 is in local time."""
    with contextlib.suppress(ValueError, OverflowError):
        if "Z" not in run_id:
            return datetime.datetime.strptime(run_id, _LOCAL_ID).astimezone(datetime.timezone.utc)
        start = datetime.datetime.strptime(run_id.partition("Z")[0], _LOCAL_ID)
        return start.replace(tzinfo=datetime.timezone.utc)
    return None


def _age(run_id: str) -> tuple[str, str]:
    """Returns a key that sorts run ids by age; ids of Graft 0.2 are in local time, without a "Z"."""
    if "Z" not in run_id and (start := find_start(run_id)):
        return start.strftime(_LOCAL_ID), run_id
    return run_id, run_id


def _write_format(file: pathlib.Path) -> None:
    """Writes `workspace.json` atomically, unless it exists: other processes may read the file."""
    if file.exists():
        return
    with write_whole(str(file), f"{_UNFINISHED}{uuid.uuid4().hex}") as temporary:
        pathlib.Path(temporary).write_text(json.dumps({"format": FORMAT}), encoding="utf-8")


def _check_format(out: str, file: pathlib.Path) -> None:
    """Refuses a folder with other files than a workspace, and a workspace of another format."""
    if file.exists():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))["format"]
        except (ValueError, KeyError, TypeError):
            found = "unknown"
        if found != FORMAT:
            raise UsageError(
                f"{out}: a workspace of another version of Graft (format {found}; this one writes {FORMAT}). "
                "Choose another folder with --out; copy serving/ into it to go on from the live model."
            )
    elif file.parent.is_dir():
        names = [path.name for path in file.parent.iterdir()]
        own = (_FORMAT_FILE, _UNFINISHED, LOST)
        others = [name for name in names if name not in _OWN and not name.startswith(own)]
        if others:
            raise UsageError(
                f"{out}: expected a new folder, an empty one or a workspace; it holds {list_some(sorted(others))}. "
                "Choose another folder with --out."
            )


def check_idle(out: str) -> None:
    """Checks that no run has the lock of a workspace, which may be missing.

    Raises:
        GraftError: if another run has the lock.
    """
    workspace = Workspace(pathlib.Path(out))
    if _is_locked(workspace.root / _LOCK):
        raise _describe_busy(out, workspace, _ELSEWHERE)


def _describe_busy(out: str, workspace: Workspace, otherwise: str) -> GraftError:
    process = (workspace.root / _LOCK).read_text(encoding="utf-8").strip() or "unknown"
    return GraftError(f"{out}: another run is at work here (process {process}). Wait for it, or {otherwise}.")


@contextlib.contextmanager
def open_workspace(out: str, otherwise: str = _ELSEWHERE) -> Iterator[Workspace]:
    """Makes the workspace if it is missing, and locks it for one run.

    Args:
        out: folder of the workspace.
        otherwise: advice beside "Wait for it", if another run has the lock.
    Raises:
        UsageError: if the folder cannot be written.
        GraftError: if another run has the lock.
    """
    workspace = prepare(out)
    with open(workspace.root / _LOCK, "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _describe_busy(out, workspace, otherwise) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield workspace


def find_trained_model(out: str, run_id: str) -> str:
    """Returns the path of the SavedModel that a run trained, whether it was pushed or not.

    Args:
        out: the workspace.
        run_id: id of the run; the name of a folder below `runs/`.
    Raises:
        UsageError: if there is no such run, or the run has no model.
    """
    workspace = Workspace(pathlib.Path(out))
    runs = workspace.list_runs()
    if run_id not in runs:
        example = f", such as {runs[-1]}" if runs else ", and there is none"
        raise UsageError(f"--run: expected the name of a folder in {workspace.runs}{example}; got {run_id!r}.")
    manifest = workspace.read_manifest(run_id)
    if manifest is None or manifest.trained_model is None:
        raise UsageError(f"--run: the run {run_id} has trained no model, or has not ended. Name another.")
    path = workspace.root / manifest.trained_model
    if not (path / SAVED_MODEL).exists():
        raise UsageError(f"--run: the model of the run {run_id} is gone: there is no {path}. Name another run.")
    return str(path)


def describe_last_run(out: str) -> str:
    """Returns the reason why the last run pushed nothing, after a space; "" if it pushed, or there is no run."""
    manifests = Workspace(pathlib.Path(out)).load_manifests()
    if not manifests:
        return ""
    last = manifests[-1]
    if last.failed:
        reason = read_failure(last.failed)
        return f" The last run, {last.run_id}, {f'stopped: {reason}' if reason else 'was interrupted.'}"
    reasons = [
        *(last.evaluation.failures if last.evaluation else []),
        *(last.serving.reasons if last.serving else []),
    ]
    if not reasons:
        return ""
    image = quote(find_image(last.config.data))
    return (
        f" The model of the last run was not pushed: {'; '.join(reasons)}. "
        f"./graft predict {image} --out {quote(out)} --run {last.run_id} asks it all the same."
    )
