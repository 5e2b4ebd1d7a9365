"""The whole pipeline with its Beam steps in worker processes, which share nothing with the one that starts it.

A job server and worker pools run beside the test, as beside a cluster. Where the system allows it, the workers do not
even see the folder for temporary files of the process that starts them. ResNet50 is replaced by the small base here
and there; test_embedder_worker.py has the real one in a worker.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import apache_beam as beam
import pytest
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.orchestration import metadata
from tfx.types import artifact_utils, standard_artifacts
from warm import start_warm_python

from components.artifacts import IngestReport
from components.embedder.component import EmbedderExecutor
from components.records.history import TrainingHistory
from pipeline.beam.engines import beam_pipeline_args, check_engine, explain_worker_error, prepare_code
from pipeline.beam.worker_check import check_workers
from pipeline.config.config import Beam
from pipeline.config.load import load_config
from schema import features
from schema.errors import GraftError, UsageError

pytestmark = pytest.mark.slow
# A run here and one there: more than a minute. test_embedder_worker.py has a worker in each run of the tests.
WHOLE_RUNS = pytest.mark.long

ROOT = pathlib.Path(__file__).parents[2]
BEAMS_OWN = "apache_beam.runners.portability.local_job_service_main"
CHANGED = {"head_learning_rate": 2e-3}
SECONDS = 900  # that a service lives at the most: a run that waits for it ends then
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
HIDE = ["sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"']


def can_hide():
    with tempfile.TemporaryDirectory() as folder:
        command = [*NAMESPACE, *HIDE, folder, "true"]
        return (
            bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0
        )


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A folder for temporary files that workers do not see, if the system allows it."""
    return tmp_path_factory.mktemp("private")


@pytest.fixture(scope="module")
def workers_python(private, tmp_path_factory):
    """The Python of the workers, which does not see that folder."""
    prefix = [*NAMESPACE, *HIDE, str(private)] if can_hide() else []
    with start_warm_python(tmp_path_factory.mktemp("warm"), prefix) as programs:
        yield programs


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts modules in processes of their own, which end with the tests or after a while, with all they started."""
    logs = tmp_path_factory.mktemp("logs")
    with contextlib.ExitStack() as stack:

        def start_module(name, *arguments, prefix=(), python=sys.executable, path=ROOT):
            environment = os.environ | {
                # A pool starts its workers with `python`.
                "PATH": f"{pathlib.Path(python).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(path),
                "TMPDIR": str(logs),
            }
            with_parent = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
            process = subprocess.Popen(
                [*with_parent, *prefix, sys.executable, "-m", name, *map(str, arguments)],
                cwd=logs,  # and not the project, which `python` would find there
                env=environment,
                stdout=(logs / f"{name}.log").open("ab"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            timer = threading.Timer(SECONDS, stop, [process])
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
            stack.callback(stop, process)
            return process

        yield start_module


def stop(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait(30)


def wait_for(ready, process):
    for _ in range(1200):
        assert process.poll() is None, process.args
        if found := ready():
            return found
        time.sleep(0.1)
    raise TimeoutError(process.args)


def listens(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=10):
        return True
    return False


@pytest.fixture(scope="module")
def start_job_server(start, tmp_path_factory):
    def start_server(module):
        file = tmp_path_factory.mktemp("job") / "port"
        process = start(module, "--port", 0, "--port_file" if module == BEAMS_OWN else "--port-file", file)
        wait_for(file.exists, process)
        return f"127.0.0.1:{file.read_text()}"

    return start_server


@pytest.fixture(scope="module")
def start_pool(start):
    def start_it(**options):
        with socket.socket(socket.AF_INET6) as reserved:  # for gRPC, which shares it, and for no one else meanwhile
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(("::", 0))
            port = reserved.getsockname()[1]
            process = start("apache_beam.runners.worker.worker_pool_main", "--service_port", port, **options)
            wait_for(lambda: listens(port), process)
        return f"127.0.0.1:{port}"

    return start_it


@pytest.fixture(scope="module")
def pool(start_pool, workers_python):
    """Workers that have the project, and a small base."""
    return start_pool(python=workers_python.small_base)


@pytest.fixture(scope="module")
def external(start_job_server, pool):
    """The keys below `beam` for Beam's own job server, and a pool that has the project."""
    keys = {"runner": "portable", "environment": "EXTERNAL", "environment_config": pool}
    return keys | {"job_endpoint": start_job_server(BEAMS_OWN)}


@pytest.fixture(scope="module")
def on_two_workers(start_job_server, external):
    """As `external`, for two worker processes at once."""
    return external | {"job_endpoint": start_job_server("pipeline.beam.job_service"), "parallelism": 2}


@pytest.fixture(scope="module")
def run_elsewhere(warm_python, external, small_digits, settings, private, tmp_path_factory):
    """Runs the pipeline from the command line with workers elsewhere; returns its JSON and the workspace."""
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(serving, **changed):
        shutil.copytree(serving, folder / "out/serving")
        values = {"data": str(small_digits), "out": str(folder / "out"), **settings, **changed}
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["[beam]", *(f"{key} = {json.dumps(value)}" for key, value in external.items())]
        (folder / "graft.toml").write_text("\n".join(lines))
        done = subprocess.run(
            [warm_python.small_base, ROOT, "run", "--json"],
            cwd=folder,
            env=os.environ | {"TMPDIR": str(private)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout), folder / "out"

    return run


@pytest.fixture(scope="module")
def live(run, workspace, tmp_path_factory):
    """A copy of the serving folder behind a first direct run, and the version that is live there."""
    outcome, _ = run()
    folder = tmp_path_factory.mktemp("live") / "serving"
    return shutil.copytree(workspace / "serving", folder), outcome.result.pushed_version


@pytest.fixture(scope="module")
def here(live, run):
    """The outcome of a direct run that is compared with that version, and where its artifacts are."""
    outcome, _ = run(**CHANGED)
    return outcome, {c.name: {key: output.uri for key, output in c.outputs.items()} for c in outcome.components}


@pytest.fixture(scope="module")
def elsewhere(live, run_elsewhere):
    """The same with workers elsewhere, in a workspace where nothing but that version is."""
    return run_elsewhere(live[0], **CHANGED)


def find(out, component, key):
    """The artifact of a workspace's first run."""
    [folder] = (out / "pipeline" / component / key).iterdir()
    return folder


def read_examples(folder):
    """Returns the features of the examples of each file, in order: bytes, or the bits of floats."""
    files = sorted(path for path in pathlib.Path(folder).glob("Split-*/*"))
    return {f"{path.parent.name}/{path.name}": [parse(r) for r in tf.data.TFRecordDataset(str(path))] for path in files}


def parse(record):
    found = tf.train.Example.FromString(record.numpy()).features.feature
    return {name: tuple(value.bytes_list.value) or tuple(value.float_list.value) for name, value in found.items()}


@WHOLE_RUNS
def test_examples_are_those_of_a_direct_run(here, elsewhere):
    """Every image, in the same split, file and place."""
    examples = read_examples(find(elsewhere[1], "ExampleGen", "examples"))
    assert examples == read_examples(here[1]["ExampleGen"]["examples"])
    assert sum(map(len, examples.values())) == 120


@WHOLE_RUNS
def test_embeddings_are_those_of_a_direct_run(here, elsewhere):
    """To the last bit, and of the same images."""
    assert read_examples(find(elsewhere[1], "Embedder", "embeddings")) == read_examples(
        here[1]["Embedder"]["embeddings"]
    )


@WHOLE_RUNS
def test_statistics_are_those_of_a_direct_run(here, elsewhere):
    """TFX's own step, with the schema and the options that it got from us."""
    for split in features.SPLITS:
        name = f"Split-{split}/FeatureStats.pb"
        statistics = find(elsewhere[1], "StatisticsGen", "statistics") / name
        assert statistics.read_bytes() == pathlib.Path(here[1]["StatisticsGen"]["statistics"], name).read_bytes()


@WHOLE_RUNS
def test_model_and_evaluation_are_those_of_a_direct_run(here, elsewhere):
    """Each figure of TFMA's, and each epoch's before."""
    outcome, folder = elsewhere
    assert outcome["evaluation"] == here[0].result.evaluation.model_dump(mode="json")
    history = TrainingHistory.read(str(find(folder, "Trainer", "model_run")))
    assert history.epochs == here[0].history.epochs
    assert outcome["pushed_version"]


@WHOLE_RUNS
def test_live_model_is_compared_with_where_the_workers_are(elsewhere, live):
    """The baseline is handed over at a place that they see."""
    baseline = elsewhere[0]["evaluation"]["baseline"]
    assert (baseline["version"], baseline["compared"]) == (live[1], True)
    assert elsewhere[0]["cached"] == []


def list_children(process):
    """Returns the folders below /proc of a process' children; an ended child stays until the parent reaps it."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(process.pid):
                yield stat.parent


@contextlib.contextmanager
def watch_writes(parent):
    """Yields the bytes written by each process that starts inside the context."""
    written, ended, before = {}, threading.Event(), set(list_children(parent))

    def look():
        while not ended.wait(0.02):
            for child in set(list_children(parent)) - before:
                with contextlib.suppress(OSError):
                    written[child] = int((child / "io").read_text().partition("wchar: ")[2].split()[0])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()


def embed(here, workspace, keys, target):
    """Runs the Embedder once more on the images of a run, with an empty store."""
    outcome, uris = here
    connection = metadata.sqlite_metadata_connection_config(str(workspace / "metadata.sqlite"))
    with metadata.Metadata(connection) as handle:
        execution = handle.store.get_executions_by_type("components.embedder.component.Embedder")[0]
    properties = {k: getattr(v, v.WhichOneof("value")) for k, v in execution.custom_properties.items()}
    kinds = {"examples": standard_artifacts.Examples, "embeddings": standard_artifacts.Examples}
    kinds |= {"transform_graph": standard_artifacts.TransformGraph, "report": IngestReport}
    artifacts = {name: [kind()] for name, kind in kinds.items()}
    for name, component in (("examples", "ExampleGen"), ("report", "ExampleGen"), ("transform_graph", "Transform")):
        artifacts[name][0].uri = uris[component][name]
    artifacts["examples"][0].split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    artifacts["embeddings"][0].uri = str(target / "embeddings")
    arguments = beam_pipeline_args(Beam(**keys), str(target))
    EmbedderExecutor(BaseBeamExecutor.Context(beam_pipeline_args=arguments)).Do(
        artifacts, {"embeddings": artifacts.pop("embeddings")}, properties | {"store": str(target / "store")}
    )
    return read_examples(target / "embeddings"), outcome.result.embedding.images


@WHOLE_RUNS
def test_embedder_on_two_workers_writes_what_one_process_writes(
    here, workspace, on_two_workers, workers_python, tmp_path
):
    """A file of each split; both processes have written embeddings, and these are equal to the last bit."""
    check_engine(Beam(**on_two_workers), {"data": "/", "out": str(tmp_path)})
    prepare_code(Beam(**on_two_workers), str(tmp_path))
    with watch_writes(workers_python.parent) as written:
        embeddings, images = embed(here, workspace, on_two_workers, tmp_path)
    assert embeddings == read_examples(here[1]["Embedder"]["embeddings"])
    per_file = [len(rows) for rows in embeddings.values()]
    assert (len(per_file), sum(per_file)) == (len(features.SPLITS), images)
    row = 4 * 2048  # bytes of an embedding, which goes into the file and into the store
    assert sorted(bytes_written > 2 * row * min(per_file) for bytes_written in written.values()) == [True, True]


def test_workers_that_have_all_they_need_say_so(external, small_digits, tmp_path):
    """And leave nothing behind but the wheel that was sent."""
    check_workers(Beam(**external), {"data": str(small_digits), "out": str(tmp_path)}, seconds=120)
    assert [path.name for path in tmp_path.iterdir()] == ["beam"]


@pytest.mark.skipif(not can_hide(), reason="needs a mount namespace")
def test_folder_that_workers_do_not_see_is_named(external, small_digits, private, tmp_path):
    """To read from, and to write to; else all images would be taken for broken."""
    (private / "photos").mkdir()
    with pytest.raises(UsageError, match=f"data: expected a path that the workers .*does not find {private}/photos"):
        check_workers(Beam(**external), {"data": f"{private}/photos", "out": str(tmp_path)}, seconds=120)
    with pytest.raises(UsageError, match=f"out: expected a folder that the workers .* do not write to {private}"):
        check_workers(Beam(**external), {"data": str(small_digits), "out": str(private)}, seconds=120)


def test_workers_without_the_project_are_refused(external, start_pool, tmp_path):
    """With what they lack, in one line."""
    endpoint = start_pool(path=tmp_path)
    with pytest.raises(
        UsageError, match=r"no worker runs Graft's code: ModuleNotFoundError: No module named 'pipeline'\."
    ):
        check_workers(Beam(**external | {"environment_config": endpoint}), {"out": str(tmp_path)}, seconds=120)


def test_pool_that_is_not_there_is_named(external, tmp_path):
    """By its address, as a pool; Beam's job server finds out when it asks for a worker."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(GraftError, match=f"the worker pool at {endpoint} does not answer: .*refused"):
            check_workers(Beam(**external | {"environment_config": endpoint}), {"out": str(tmp_path)}, seconds=120)


def test_error_of_ours_comes_back_from_a_worker_as_itself(external, tmp_path):
    """With its message, and so its exit code."""
    prepare_code(Beam(**external), str(tmp_path))
    pipeline = beam.Pipeline(argv=beam_pipeline_args(Beam(**external), str(tmp_path)))
    _ = pipeline | beam.Create([{}]) | beam.Map(lambda options: load_config(None, options))
    with pytest.raises(RuntimeError) as caught:
        pipeline.run().wait_until_finish(duration=120_000)
    told = explain_worker_error(caught.value)
    assert isinstance(told, UsageError)
    assert str(told).startswith("data: missing. Name the folder on the command line")
    assert "[while running" not in str(told)
