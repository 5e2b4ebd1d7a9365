"""The keys below `beam`: the arguments of Beam, and the refusals."""

import pathlib
import socket
import sys
import threading

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners import create_runner
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.transforms.environments import Environment
from flink_job_server import FlinkJobServer, serve

from pipeline.beam import job_server
from pipeline.beam.engines import beam_pipeline_args, check_engine, explain_worker_error
from pipeline.beam.watch import WatchOptions
from pipeline.config.config import Beam
from pipeline.config.load import load_config
from schema.errors import DataError, UsageError
from schema.version import VERSION
from serving.process import cores

SETUP_FILE = str(pathlib.Path(__file__).parents[3] / "setup.py")
HERE = {"data": "/photos", "out": "/graft-out"}
BUCKET = {"data": "gs://bucket/photos", "out": "gs://bucket/graft"}
PORTABLE = {"runner": "portable", "job_endpoint": "localhost:8099"}
FLINK = {"runner": "flink", "job_endpoint": "flink-job-server:8099"}
RETRIES = "--number_of_execution_retries=12"  # an option of Flink's job server
DATAFLOW = {"runner": "dataflow", "project": "my-project", "region": "europe-west4", "sdk_container_image": "graft:1"}


def parse(kind, *args, **keys):
    """Returns the options of one class that Beam parses from the arguments; all of them are known."""
    arguments = beam_pipeline_args(Beam(**keys), *args)
    return PipelineOptions(arguments).view_as(kind)


def test_direct_runner_takes_no_arguments():
    """With any, TFX packs its own sources in every component."""
    assert beam_pipeline_args(Beam(), "/graft-out") == []
    assert beam_pipeline_args(Beam(), "gs://bucket", "graft:1") == []


def test_arguments_of_the_direct_runner_come_with_where_the_code_is():
    """So that TFX packs nothing all the same; Beam itself does nothing with it there."""
    arguments = beam_pipeline_args(Beam(args=("--direct_num_workers=2",)), "/graft-out")
    assert arguments == [f"--setup_file={SETUP_FILE}", "--direct_num_workers=2"]


@pytest.mark.parametrize(
    ("keys", "runner", "environment", "config"),
    [
        (PORTABLE, "PortableRunner", "LOOPBACK", None),
        (PORTABLE | {"environment": "EXTERNAL"}, "PortableRunner", "EXTERNAL", "localhost:50000"),
        (FLINK, "FlinkRunner", "EXTERNAL", "localhost:50000"),
        (FLINK | {"environment_config": "pool:5"}, "FlinkRunner", "EXTERNAL", "pool:5"),
        (FLINK | {"environment": "DOCKER", "sdk_container_image": "graft:1"}, "FlinkRunner", "DOCKER", "graft:1"),
        (FLINK | {"environment": "PROCESS", "environment_config": "a"}, "FlinkRunner", "PROCESS", '{"command": "a"}'),
        (
            FLINK | {"environment": "PROCESS", "environment_config": '{"command": "a", "env": {"A": "1"}}'},
            "FlinkRunner",
            "PROCESS",
            '{"command": "a", "env": {"A": "1"}}',
        ),
    ],
)  # fmt: skip
def test_job_server_and_environment_reach_beam(keys, runner, environment, config):
    """With the defaults of each engine, and a subclass of Beam's runner behind the name."""
    portable = parse(PortableOptions, "/graft-out", **keys)
    assert (portable.job_endpoint, portable.environment_type) == (keys["job_endpoint"], environment)
    assert portable.environment_config == config
    name = portable.view_as(StandardOptions).runner
    assert name == f"pipeline.beam.watch.{runner}"
    assert isinstance(create_runner(name), type(create_runner(runner)))  # Beam's own


def test_parallelism_is_what_each_engine_calls_it():
    """Worker processes, slots, machines."""
    assert parse(PortableOptions, "/out", **PORTABLE, parallelism=3).sdk_worker_parallelism == "3"
    assert parse(FlinkRunnerOptions, "/out", **FLINK, parallelism=3).parallelism == 3
    assert parse(WorkerOptions, "gs://b/root", **DATAFLOW, parallelism=3).max_num_workers == 3


@pytest.mark.parametrize("keys", [PORTABLE, FLINK, DATAFLOW], ids=lambda keys: keys["runner"])
def test_each_worker_bounds_its_thread_pools_when_it_starts(keys, monkeypatch):
    """Beam imports the module before the first step; a worker's container may have a CPU limit that no library sees."""
    [start] = parse(SetupOptions, "gs://bucket/root", **keys).beam_plugins
    monkeypatch.delitem(sys.modules, start, raising=False)
    bounded = []
    monkeypatch.setattr(cores, "bound_thread_pools", lambda: bounded.append(start))
    sdk_worker_main._import_beam_plugins([start])
    assert bounded == [start]


def test_workers_get_the_code_from_the_project_or_from_an_image():
    """An image that the configuration names goes before that of the components; sources would need a package index."""
    options = parse(SetupOptions, "/out", **PORTABLE)
    assert (options.extra_packages, options.setup_file) == ([f"/out/beam/graft-{VERSION}-py3-none-any.whl"], None)
    for keys, image in (({}, "kubeflow:1"), ({"sdk_container_image": "own:2"}, "own:2")):
        options = parse(WorkerOptions, "/out", "kubeflow:1", **FLINK, **keys)
        assert options.sdk_container_image == image
        assert options.view_as(SetupOptions).setup_file is None


def test_workers_that_have_the_code_are_sent_nothing():
    """A Flink cluster then needs no folder for what is staged."""
    for keys in (FLINK | {"sdk_container_image": "own:2"}, PORTABLE | {"sdk_container_image": "own:2"}):
        options = PipelineOptions(beam_pipeline_args(Beam(**keys), "/out"))
        environment = Environment.from_options(options.view_as(PortableOptions))
        assert list(environment.artifacts()) == []


def test_tfx_packs_nothing_for_workers(monkeypatch):
    """It does unless it sees that the code is cared for: 3 s a component, for workers that have TFX anyway."""
    from tfx.utils import dependency_utils

    monkeypatch.setattr(dependency_utils, "build_ephemeral_package", lambda: pytest.fail("TFX packs its sources"))
    for keys in (PORTABLE, FLINK, DATAFLOW, {"args": ("--direct_num_workers=2",)}):
        arguments = beam_pipeline_args(Beam(**keys), "gs://bucket/root")
        assert dependency_utils.make_beam_dependency_flags(arguments) == arguments


def test_dataflow_gets_what_beam_asks_for(monkeypatch):
    """Beam's own validator has nothing to object to."""
    options = PipelineOptions(beam_pipeline_args(Beam(**DATAFLOW), "gs://bucket/graft/"))
    cloud = options.view_as(GoogleCloudOptions)
    assert (cloud.project, cloud.region, cloud.temp_location) == (
        "my-project",
        "europe-west4",
        "gs://bucket/graft/beam",
    )
    runner = create_runner("DataflowRunner")
    monkeypatch.setattr(GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda *_: None)  # asks the bucket
    assert PipelineOptionsValidator(options, runner).validate() == []
    assert options.view_as(SetupOptions).save_main_session is False
    own = Beam(**DATAFLOW, temp_location="gs://other/tmp")
    assert "--temp_location=gs://other/tmp" in beam_pipeline_args(own, "gs://bucket/graft")


def test_arguments_of_ones_own_come_last():
    """Beam uses the last of two equal arguments."""
    keys = PORTABLE | {"parallelism": 2, "args": ("--sdk_worker_parallelism=5",)}
    assert parse(PortableOptions, "/out", **keys).sdk_worker_parallelism == "5"


@pytest.mark.parametrize(
    ("keys", "places", "message"),
    [
        ({"parallelism": 2}, HERE, 'parallelism: expected none, for beam.runner is "direct"; got 2'),
        (PORTABLE | {"project": "p"}, HERE, 'project: expected none, .* set beam.runner to "dataflow"'),
        (DATAFLOW | {"job_endpoint": "a:1"}, BUCKET, 'job_endpoint: expected none, .* to "portable" or "flink"'),
        ({"runner": "portable"}, HERE, r"job_endpoint: missing, .*pipeline\.beam\.job_service --port 8099"),
        ({"runner": "flink"}, HERE, "job_endpoint: missing, .*Flink's job server"),
        ({"runner": "dataflow"}, BUCKET, "project: missing"),
        (DATAFLOW | {"region": None}, BUCKET, "region: missing"),
        (DATAFLOW | {"sdk_container_image": None}, BUCKET, "sdk_container_image: missing"),
        (FLINK | {"environment": "EXTERNAL", "environment_config": "pool"}, HERE, "environment_config: .*; got pool"),
        (FLINK | {"environment": "PROCESS"}, HERE, "environment_config: expected the command of a worker.*; got none"),
        (FLINK | {"environment": "PROCESS", "environment_config": "{"}, HERE, "environment_config: .*; got {"),
        (PORTABLE | {"environment_config": "a:1"}, HERE, "environment_config: expected none, for .* is LOOPBACK"),
        (FLINK | {"environment": "DOCKER"}, BUCKET, "sdk_container_image: missing, and beam.environment is DOCKER"),
        (PORTABLE | {"args": ("--runner=DirectRunner",)}, HERE, "args: --runner=DirectRunner: expected no runner here"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys, places, message):
    """Each with the key, what was expected, what came and what to do; nothing is asked of the network."""
    with pytest.raises(UsageError, match=rf"beam\.{message}"):
        check_engine(Beam(**keys), places, reach=False)


@pytest.mark.parametrize(
    ("keys", "key"),
    [(DATAFLOW, "data"), (FLINK | {"environment": "DOCKER", "sdk_container_image": "graft:1"}, "data")],
)
def test_folder_that_no_worker_would_see_is_refused(keys, key):
    """What a worker reads there is nothing, and what it writes is lost with it."""
    check_engine(Beam(**keys), BUCKET, reach=False)
    with pytest.raises(UsageError, match=rf"{key}: expected .*gs://bucket/folder.*; got /photos"):
        check_engine(Beam(**keys), HERE, reach=False)


def test_image_of_the_components_is_none_for_dataflow():
    """It would start a task of Kubeflow where Beam's boot program is called."""
    with pytest.raises(UsageError, match=r"sdk_container_image: missing, .* That of the tasks, graft:1,"):
        check_engine(Beam(**DATAFLOW | {"sdk_container_image": None}), BUCKET, image="graft:1", reach=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("beam.runner", "spark"),
        ("beam.job_endpoint", "localhost"),
        ("beam.job_endpoint", "http://localhost:8099"),
        ("beam.job_endpoint", "localhost:99999"),
        ("beam.environment", "KUBERNETES"),
        ("beam.environment_config", " "),
        ("beam.parallelism", 0),
        ("beam.temp_location", "/tmp"),
        ("beam.temp_location", "gs://bucket"),
    ],
)
def test_value_of_another_form_names_key_and_value(key, value):
    """As for every other key."""
    option = "--" + key.replace("_", "-").replace(".", "-")
    with pytest.raises(UsageError, match=rf"{option}: expected .*; got"):
        load_config(None, {"data": "photos", key: value})


@pytest.fixture
def patience(monkeypatch):
    """Limits the wait for a job server to half a second instead of five."""
    monkeypatch.setattr(job_server, "_SECONDS", 0.5)


def test_job_server_that_is_not_there_is_named(patience):
    """The error comes within seconds, with the command that starts a server; Beam itself waits for 5 minutes."""
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"job_endpoint: nothing answers within 0.5 s at {endpoint}; .*_service"):
            check_engine(Beam(**PORTABLE | {"job_endpoint": endpoint}), HERE)


def test_port_that_takes_connections_and_says_nothing_is_no_job_server(patience):
    """A wrong port, or a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"nothing answers within 0.5 s at {endpoint}"):
            check_engine(Beam(**FLINK | {"job_endpoint": endpoint}), HERE)


def test_another_server_is_no_job_server():
    """The worker pool is such a server, whose port is easily mistaken."""
    message = r"what answers is no job server \(UNIMPLEMENTED\) at 127.0.0.1:"
    with serve() as (_, endpoint), pytest.raises(UsageError, match=message):
        check_engine(Beam(**PORTABLE | {"job_endpoint": endpoint}), HERE)


def test_job_server_that_answers_is_fine(tmp_path):
    """Beam's own, which has no options of its own."""
    with serve(LocalJobServicer(str(tmp_path))) as (_, endpoint):
        assert check_engine(Beam(**PORTABLE | {"job_endpoint": endpoint}), HERE) == []
        with pytest.raises(UsageError, match=f"{RETRIES} is no argument of Beam;"):
            check_engine(Beam(**PORTABLE | {"job_endpoint": endpoint, "args": (RETRIES,)}), HERE)


@pytest.fixture(scope="module")
def flink():
    """A job server that knows an option of Flink's, and one that Beam's Python has too."""
    kinds = beam_job_api_pb2.PipelineOptionType
    options = [
        {"name": "number_of_execution_retries", "type": kinds.INTEGER},
        {"name": "enable_stable_input_drain", "type": kinds.BOOLEAN, "default_value": "false"},
        {"name": "files_to_stage", "type": kinds.ARRAY},
        {"name": "parallelism", "type": kinds.INTEGER},
    ]
    with serve(FlinkJobServer(options=options)) as (_, endpoint):
        yield endpoint


@pytest.mark.parametrize(
    ("args", "refusal"),
    [
        ((RETRIES, "--enable_stable_input_drain", "--files_to_stage=a", "--parallelism=2"), None),
        (("--number_of_execution_retries=often",), "--number_of_execution_retries: invalid int value: 'often'"),
        (("--number_of_execution_tries=12",), "--number_of_execution_tries=12 is no argument of Beam or of the engine"),
    ],
)
def test_options_of_the_engine_are_those_that_its_job_server_tells(flink, args, refusal):
    """Beam's Python knows them no more than a typing error."""
    config = Beam(**FLINK | {"job_endpoint": flink, "args": args})
    if not refusal:
        assert check_engine(config, HERE) == []
        return
    with pytest.raises(UsageError, match=f"beam.args: (argument )?{refusal}"):
        check_engine(config, HERE)


def test_option_that_nobody_can_be_asked_about_is_passed_on_with_a_note():
    """The job server of a cluster is reached from within; a word that is no option is refused all the same."""
    [note] = check_engine(Beam(**FLINK, args=(RETRIES, "--parallelism=2")), HERE, reach=False)
    assert note == f"beam.args: {RETRIES}: unknown to Beam's Python; passed on to the job server."
    for keys in (FLINK | {"args": ("retries",)}, {"args": (RETRIES,)}, DATAFLOW | {"args": (RETRIES,)}):
        with pytest.raises(UsageError, match="is no argument of Beam"):
            check_engine(Beam(**keys), BUCKET, reach=False)


@pytest.mark.parametrize(
    ("keys", "noted"),
    [
        ({"environment_config": "pool:50000", "parallelism": 2}, True),
        ({"environment_config": "pool:50000"}, True),
        ({"environment_config": "pool:50000", "parallelism": 1}, False),
        ({"environment_config": "localhost:50000", "parallelism": 2}, False),
        ({"environment_config": "127.0.0.1:50000", "parallelism": 2}, False),
        ({"parallelism": 2}, False),
    ],
)
def test_worker_pool_that_taskmanagers_may_share_is_noted(keys, noted):
    """Each TaskManager numbers its workers itself: a shared pool stops the other's."""
    notes = check_engine(Beam(**FLINK, **keys), HERE, reach=False)
    assert ["stop each other's workers" in note for note in notes] == [True] * noted


def test_limit_of_silence_reaches_the_runner():
    """As an option of Beam's pipelines, for a container on Kubeflow gets nothing else."""
    assert parse(WatchOptions, "/out", **FLINK, max_silent_minutes=30).graft_max_silent_minutes == 30
    assert parse(WatchOptions, "/out", **FLINK).graft_max_silent_minutes is None


def test_error_of_ours_in_a_worker_is_the_error_of_the_run():
    """Beam brings it as the text of a traceback; another's stays what it is."""
    text = (
        "Pipeline job-1 failed in state FAILED: Traceback (most recent call last):\n"
        '  File "example_gen.py", line 1, in _read_again\n'
        "schema.errors.DataError: a.jpg: changed. Run again. [while running 'WriteShards-ptransform-9']\n"
    )
    error = explain_worker_error(RuntimeError(text))
    assert (type(error), str(error)) == (DataError, "a.jpg: changed. Run again.")
    assert explain_worker_error(RuntimeError(text.replace("schema.errors.", ""))) is None
    assert explain_worker_error(ValueError(text)) is None
