"""Jobs that this process has started on another engine. Imports nothing of Beam, which takes seconds."""

import contextlib
import dataclasses
import json
import os
import pathlib
import uuid
from collections.abc import Iterator

from serving.storage.whole_files import name_temporary, write_whole

PREFIX = "job-"  # of the names of notes


@dataclasses.dataclass(frozen=True)
class Job:
    """Job on another engine.

    Attributes:
        id: id that the job server gave; "" if it gave none.
        endpoint: host:port of the job server.
        flink: whether the engine is Flink.
        pool: address of the worker pool as the engine sees it; "" if workers start in another way.
        parallelism: number of slots or workers that the job asks for; "" for the engine's default.
    """

    id: str
    endpoint: str
    flink: bool = False
    pool: str = ""
    parallelism: str = ""

    @property
    def name(self) -> str:
        """Returns the name that the engine's interface shows: Flink's job server appends an underscore and a UUID."""
        return self.id.rpartition("_")[0] or self.id if self.flink else self.id

    def describe_cancel(self) -> str:
        """Describes how a person cancels the job, which may outlive the run."""
        if self.flink:
            return (
                f"Job {self.name} may run on in Flink and hold its slots: cancel it in Flink's interface, or with "
                "`flink cancel ID`; `flink list` shows the ID beside the name."
            )
        return (
            f"Job {self.name} may run on: cancel it in the interface of the engine behind {self.endpoint}, or stop "
            "that job server."
        )

    def describe_place(self) -> str:
        """Describes where a person looks for a job that makes no progress."""
        place = "the job in Flink's interface" if self.flink else f"the log of the job server at {self.endpoint}"
        return f"{place}, and whether the worker pool at {self.pool} runs" if self.pool else place


_running: dict[Job, str] = {}  # with the path of the note, or ""
_folder = ""


@contextlib.contextmanager
def noted_in(folder: str) -> Iterator[None]:
    """Notes the jobs of this context in a folder, so that a later run knows them after this process was killed."""
    global _folder
    _folder = folder
    try:
        yield
    finally:
        _folder = ""


def add(job: Job) -> None:
    """Notes a job that has started."""
    _running[job] = path = os.path.join(_folder, f"{PREFIX}{uuid.uuid4().hex}.json") if _folder else ""
    if path:
        os.makedirs(_folder, exist_ok=True)
        with write_whole(path, name_temporary(path)) as temporary:
            pathlib.Path(temporary).write_text(json.dumps(dataclasses.asdict(job)))


def remove(job: Job) -> None:
    """Forgets a job that has ended."""
    if path := _running.pop(job, ""):
        pathlib.Path(path).unlink(missing_ok=True)


def read_note(path: str) -> Job | None:
    """Returns the job of a note; None if the note is damaged."""
    try:
        return Job(**json.loads(pathlib.Path(path).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def list_running() -> list[Job]:
    """Returns the started jobs of which no end is known."""
    return list(_running)
