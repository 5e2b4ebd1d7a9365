"""The output of a job that runs on in another engine stays until the job has ended."""

import os
import socket
import time

import ml_metadata as mlmd
import pytest
from flink_job_server import ID, FlinkJobServer, serve
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipeline.beam import jobs
from pipeline.beam.job_server import has_ended
from pipeline.workspace.cleanup import remove_unfinished
from pipeline.workspace.left_jobs import remove_ended

STATES = metadata_store_pb2.Execution
DAY = 24 * 3600.0


@pytest.fixture
def leave(tmp_path, monkeypatch):
    """Returns a function that makes an execution with an output and a note of its job; gives store and folder."""
    monkeypatch.setattr(jobs, "_running", {})
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))
    kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Embedder"))

    def make(state=STATES.RUNNING, endpoint="127.0.0.1:1", flink=True, age=0.0):
        [number] = store.put_executions([STATES(type_id=kind, last_known_state=state)])
        output, system = (
            tmp_path / f"p/Embedder/{name}/{number}" for name in ("embeddings", ".system/executor_execution")
        )
        output.mkdir(parents=True)
        (output / "half").touch()
        with jobs.noted_in(str(system)):
            jobs.add(jobs.Job(ID, endpoint, flink=flink))
        for path in (output, output / "half", system, *system.iterdir()):
            os.utime(path, (time.time() - age,) * 2)
        return store, output

    return make


def clean(store, output, ended=has_ended):
    """Cleans as a run does; returns the numbers of the executions whose outputs stay."""
    artifacts = output.parents[2]
    left = remove_ended(store, artifacts, ended)
    remove_unfinished(store, artifacts, left)
    return list(left)


@pytest.mark.parametrize("state", [STATES.RUNNING, STATES.FAILED])
@pytest.mark.parametrize(("age", "ended", "stays"), [(0, False, True), (0, True, False), (DAY + 60, False, False)])
def test_the_output_stays_until_the_job_has_ended_or_nothing_has_changed_for_a_day(leave, state, age, ended, stays):
    """That of an interrupted run, and that of one that has failed."""
    store, output = leave(state, age=age)
    for _ in range(2):
        assert clean(store, output, lambda job: ended) == ([1] if stays else [])
        assert output.exists() == stays


def test_a_finished_execution_loses_nothing_but_the_note(leave):
    """Of a process that was killed before it could remove the note."""
    store, output = leave(STATES.COMPLETE)
    assert clean(store, output, lambda job: True) == []
    assert (output / "half").exists()
    assert not list(output.parents[2].rglob("job-*.json"))


def test_a_damaged_note_counts_as_none(leave):
    """Of a version with other fields, too."""
    for content in ("", "[]", '{"id": "x", "engine": 7}'):
        store, output = leave()
        [note] = output.parents[2].glob(f"*/.system/*/{output.name}/job-*.json")
        note.write_text(content)
        assert clean(store, output) == []
        assert not output.exists()


@pytest.mark.parametrize(
    ("state", "flink", "ended"),
    [
        ("RUNNING", True, False),
        ("DONE", True, True),
        ("FAILED", True, True),
        ("CANCELLED", True, False),
        ("CANCELLED", False, True),
        (None, True, False),
    ],
)
def test_the_job_server_knows_the_end(state, flink, ended):
    """Flink's calls a job cancelled that runs on, and one that was started anew knows no job."""
    with serve(FlinkJobServer(state=state)) as (_, endpoint):
        assert has_ended(jobs.Job(ID, endpoint, flink=flink)) == ended


def test_a_job_server_that_is_gone_knows_nothing():
    """The answer comes at once."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{closed.getsockname()[1]}"
    assert not has_ended(jobs.Job(ID, endpoint, flink=True))
