"""Faults of an engine are told to a person; the job server answers as Flink's did on 2026-11-26."""

import itertools
import logging
import re
import threading
import types

import apache_beam as beam
import grpc
import pytest
from flink_job_server import ID, JOB, FlinkJobServer, serve

from components import progress
from pipeline.beam import jobs, watch, worker_check
from pipeline.beam.engines import beam_pipeline_args, explain_worker_error
from pipeline.beam.faults import explain_engine_error
from pipeline.beam.watch import EngineError
from pipeline.config.config import Beam
from schema.errors import DataError, GraftError, UsageError

KEPT = "stopped in Embedder: it keeps the embeddings that it has stored."
REFUSED = "java.net.ConnectException: Connection refused"
NO_MANAGER = """\
java.util.concurrent.ExecutionException: org.apache.flink.util.concurrent.FutureUtils$RetryException: Could not complete
\tat org.apache.flink.client.program.rest.RestClusterClient.lambda$submitJob$11(RestClusterClient.java:433)
Caused by: org.apache.flink.shaded.netty4.io.netty.channel.AbstractChannel$AnnotatedConnectException: \
Connection refused: graft-flink-rest/10.0.0.1:8081
Caused by: java.net.ConnectException: Connection refused
"""
NO_POOL = """\
org.apache.beam.vendor.grpc.v1p69p0.io.grpc.StatusRuntimeException: UNAVAILABLE: io exception
\tat org.apache.beam.runners.fnexecution.environment.ExternalEnvironmentFactory.createEnvironment(E.java:153)
Caused by: org.apache.beam.vendor.grpc.v1p69p0.io.netty.channel.AbstractChannel$AnnotatedConnectException: \
finishConnect(..) failed: Connection refused: localhost/127.0.0.1:50000
Caused by: java.net.ConnectException: Connection refused
"""
LOST = "java.util.concurrent.TimeoutException: Heartbeat of TaskManager with id 10.0.0.3:39951-5ab6a0 timed out."
TIMEOUT = "java.util.concurrent.TimeoutException: Timeout has occurred: 300000 ms"
NO_SLOT = f"""\
org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
Caused by: org.apache.flink.runtime.jobmanager.scheduler.NoResourceAvailableException: Slot request bulk is not \
fulfillable! Could not allocate the required slot within slot request timeout
Caused by: {TIMEOUT}
"""
BUFFERS = "java.io.IOException: Insufficient number of network buffers: required 512, but only 414 available. The total"
SHARED = "org.apache.beam.vendor.grpc.v1p69p0.io.grpc.StatusRuntimeException: CANCELLED: client cancelled"


@pytest.fixture(autouse=True)
def _no_other_jobs(monkeypatch):
    monkeypatch.setattr(jobs, "_running", {})
    monkeypatch.setattr(watch, "_POLL", 0.02)


def configure(endpoint, **keys):
    keys = {"runner": "flink", "sdk_container_image": "graft:1", "parallelism": 3} | keys
    return Beam(job_endpoint=endpoint, **keys)


def start(endpoint, **keys):
    pipeline = beam.Pipeline(argv=beam_pipeline_args(configure(endpoint, **keys), "/out"))
    _ = pipeline | beam.Create([1])
    return pipeline.run()


def fail(server):
    """Runs a job until its error comes."""
    with serve(server) as (_, endpoint), pytest.raises(EngineError) as caught:
        start(endpoint).wait_until_finish()
    return caught.value, endpoint


@pytest.mark.parametrize(
    ("error", "chain", "words", "look"),
    [
        (LOST, "", "lost a TaskManager: Heartbeat of TaskManager with id 10.0.0.3:39951-5ab6a0 timed out", "log"),
        (TIMEOUT, NO_SLOT, f"fewer free slots than job {JOB} asks for", r"set beam.parallelism \(3\)"),
        (BUFFERS, "", "required 512, but only 414 available", "sort-shuffle.min-parallelism: 1000"),
        (SHARED, "", "CANCELLED: client cancelled", "worker pool of its own at localhost:50000"),
        (REFUSED, NO_MANAGER, "JobManager does not answer at graft-flink-rest/10.0.0.1:8081", "--flink-master"),
        (REFUSED, NO_POOL, "the worker pool at localhost:50000 does not answer", "runs where the engine sees it"),
        (REFUSED, "", "Flink reached no server: .*Connection refused", "log of the job server at 127.0.0.1:"),
    ],
)
def test_each_fault_of_flink_says_what_happened_and_what_to_look_at(error, chain, words, look):
    """And what is kept; the root cause alone, which the server calls the error, has no address."""
    found, _ = fail(FlinkJobServer(error=error, chain=chain))
    assert str(found) == f"Pipeline {ID} failed in state FAILED: {error}"
    told = explain_engine_error(found, KEPT)
    assert type(told) is GraftError
    first, *others = told.args
    assert others == [KEPT]
    assert re.search(words, first)
    assert re.search(look, first)
    assert jobs.list_running() == []


def test_unknown_fault_stays_unexpected_and_its_chain_is_in_the_log(caplog):
    """Flink's job server tells the chain in a message for debugging, which Beam drops."""
    chain = "java.lang.RuntimeException: a\n\tat b.C\nCaused by: java.lang.IllegalStateException: the useful part\n"
    with caplog.at_level(logging.WARNING):
        found, _ = fail(FlinkJobServer(error="java.lang.IllegalStateException: the useful part", chain=chain))
    assert explain_engine_error(found, KEPT) is None
    assert f"job {ID}: {chain}" in caplog.text


def test_error_of_ours_is_found_in_the_chain():
    """A worker's DataError is the error of the run, also where the first cause of Java's hides it."""
    chain = "RuntimeException: Error received from SDK harness: Traceback (most recent call last):\n  File\n"
    chain += "schema.errors.DataError: a.jpg: changed. Run again. [while running 'Read']\n\tat org.apache"
    found, _ = fail(FlinkJobServer(error="java.lang.RuntimeException: x", chain=chain))
    told = explain_worker_error(found)
    assert (type(told), str(told)) == (DataError, "a.jpg: changed. Run again.")


# Beam reads the messages in a thread of its own, which ends so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_job_server_that_goes_is_named_and_its_job_too():
    """`_MultiThreadedRendezvous` says nothing to a person; the job runs on in Flink."""
    server = FlinkJobServer()
    with serve(server) as (process, endpoint):
        result = start(endpoint)
        threading.Thread(target=lambda: server.running.wait(120) and process.stop(None), daemon=True).start()
        with pytest.raises(EngineError) as caught:
            result.wait_until_finish()
    first, left, kept = explain_engine_error(caught.value, KEPT).args
    assert first.startswith(f"the job server at {endpoint} answers no more: ")
    assert "Rendezvous" not in first
    assert f"Job {JOB} may run on in Flink and hold its slots" in left
    assert kept == KEPT


def test_job_server_that_is_gone_before_a_job_is_named():
    """A later component starts a job of its own."""

    class Gone(FlinkJobServer):
        def Prepare(self, request, context):  # noqa: N802 - as gRPC calls it
            context.abort(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")

    with serve(Gone()) as (_, endpoint), pytest.raises(EngineError) as caught:
        start(endpoint)
    first, *others = explain_engine_error(caught.value, KEPT).args
    assert first.startswith(f"the job server at {endpoint} answers no more: failed to connect to all addresses. Look")
    assert others == [KEPT]


def test_silence_is_told_with_the_place_to_look_at(monkeypatch):
    """Every 2, 4, 8 minutes; Beam's runners wait without a word."""
    monkeypatch.setattr(watch, "_MINUTE", 0.02)
    server, notes = FlinkJobServer(counts=(b"\xac\x02", b"\x01")), []

    def note(event):
        notes.append(event.note)
        if len(notes) == 2:
            server.ended.set()

    with serve(server) as (_, endpoint), progress.listen(note):
        assert start(endpoint).wait_until_finish() == "DONE"
    assert notes[0].startswith(f"no progress was told of job {JOB} for 2 minutes; 301 elements done by all steps")
    assert notes[0].endswith("Flink's interface, and whether the worker pool at localhost:50000 runs.")
    assert jobs.list_running() == []


def test_note_of_silence_is_no_sign_of_progress(monkeypatch):
    """It would put off the limit for ever."""
    thirds = itertools.count()  # of a minute: the clock is read three times between two looks at the job
    monkeypatch.setattr(watch, "time", types.SimpleNamespace(monotonic=lambda: next(thirds) * 20.0))
    server, told = FlinkJobServer(), []
    with serve(server) as (_, endpoint), progress.listen(told.append), pytest.raises(EngineError) as caught:
        start(endpoint, max_silent_minutes=5).wait_until_finish()
    first, left, _ = explain_engine_error(caught.value, KEPT).args
    assert first.startswith(
        f"the job server at {endpoint} has told of no progress for 5 minutes, the limit of beam.max"
    )
    assert JOB in left
    assert server.cancelled == [ID]
    assert len(told) == 2  # after 2 and 4 minutes


def test_job_that_an_engine_has_cancelled_is_not_called_running(monkeypatch):
    """Other engines than Flink end a job that is cancelled."""
    monkeypatch.setattr(watch, "_MINUTE", 0.02)
    with serve(FlinkJobServer()) as (_, endpoint), pytest.raises(EngineError) as caught:
        start(endpoint, runner="portable", environment="EXTERNAL", max_silent_minutes=1).wait_until_finish()
    assert len(explain_engine_error(caught.value, KEPT).args) == 2
    assert jobs.list_running() == []


def test_interrupt_cancels_the_job_and_keeps_its_name(monkeypatch):
    """Beam's cancel does not reach Flink's job, whatever state the job server tells."""
    server = FlinkJobServer()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch._Silence, "check", interrupt)
    with serve(server) as (_, endpoint), pytest.raises(KeyboardInterrupt):
        start(endpoint).wait_until_finish()
    assert server.cancelled == [ID]
    [left] = jobs.list_running()
    assert left.describe_cancel().startswith(f"Job {JOB} may run on in Flink and hold its slots: cancel it in Flink's")


def fail_check(server, out, seconds):
    with serve(server) as (_, endpoint), pytest.raises(GraftError) as caught:
        worker_check.check_workers(configure(endpoint), {"out": str(out)}, seconds)
    return caught.value


def test_check_without_an_answer_names_log_and_job(tmp_path):
    """The reason stands in the TaskManager's log: there pip could not install what was sent, or no worker came up."""
    told = fail_check(FlinkJobServer(), tmp_path, 0.1)
    assert type(told) is UsageError
    assert re.search("no worker has answered within 0.1 s.* the TaskManager's, and not the job server's", told.args[0])
    assert JOB in told.args[1]


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (NO_MANAGER, "Flink's JobManager does not answer at graft-flink-rest/10.0.0.1:8081"),
        (NO_POOL, "the worker pool at localhost:50000 does not answer"),
    ],
)
def test_check_tells_a_missing_manager_from_a_missing_pool(tmp_path, chain, words):
    """Both were "no worker runs Graft's code", without an address."""
    told = fail_check(FlinkJobServer(error=REFUSED, chain=chain), tmp_path, 120)
    assert told.args[0].startswith(words)
    assert told.args[1:] == worker_check._ENDED


@pytest.mark.parametrize("prepared", [JOB, ID], ids=["as Flink's", "as Python's"])
def test_job_may_last_longer_than_the_answer_of_a_job_server(prepared):
    """Beam ended each job of more than 300 s on a server that gives a prepared job the id of the job."""
    server = FlinkJobServer(prepared=prepared)
    server.ended.set()
    with serve(server) as (_, endpoint):
        assert start(endpoint).wait_until_finish() == "DONE"
    assert [limit > 1000 for limit in server.remaining] == [False, True]


def test_watched_runner_is_not_named_to_the_job_server():
    """Java would look for a class of that name; the other options reach it as Beam's own runner sends them."""
    server = FlinkJobServer(error=LOST)
    fail(server)
    assert server.sent["beam:option:parallelism:v1"] == "3"
    assert "beam:option:runner:v1" not in server.sent.fields or not server.sent["beam:option:runner:v1"]
