"""Jobs that this process has started on another engine. Imports nothing of Beam, which takes seconds."""

import dataclasses


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


_running: list[Job] = []


def add(job: Job) -> None:
    """Notes a job that has started."""
    _running.append(job)


def remove(job: Job) -> None:
    """Forgets a job that has ended."""
    if job in _running:
        _running.remove(job)


def list_running() -> list[Job]:
    """Returns the started jobs of which no end is known."""
    return list(_running)
