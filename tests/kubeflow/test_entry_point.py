"""The entry point between Kubeflow's launcher and TFX: arguments in, output file out."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import tempfile
import types

import pytest
from apache_beam.runners.direct.direct_runner import SwitchingDirectRunner
from ingest_properties import make_properties

from kubeflow import entry_point, folders
from kubeflow.version import read_version
from pipeline.beam.jobs import Job
from pipeline.beam.watch import EngineError
from schema.errors import GraftError
from serving.process import cards

pytestmark = pytest.mark.slow

TYPES = {"examples": "tfx.types.standard_artifacts.Examples", "report": "components.artifacts.IngestReport"}


def make_invocation(root="gs://bucket/artifacts/graft/run-1/ExampleGen/execution-1", output_file="/tmp/output.json"):
    """Returns an ExecutorInput as a driver sends it, without types of inputs."""
    return {
        "inputs": {"artifacts": {"report": {"artifacts": [{"uri": "gs://bucket/r", "type": {"instanceSchema": ""}}]}}},
        "outputs": {
            "artifacts": {
                "examples": {"artifacts": [{"uri": f"{root}/examples", "type": {"schemaTitle": "system.Dataset"}}]},
                "executor-logs": {"artifacts": [{"uri": f"{root}/executor-logs"}]},
            },
            "outputFile": output_file,
        },
    }


def find_uris(invocation):
    return {
        key: artifact["uri"]
        for side in ("inputs", "outputs")
        for key, listed in invocation[side]["artifacts"].items()
        for artifact in listed["artifacts"]
    }


def test_artifacts_get_the_types_that_the_driver_left_out():
    """TFX imports the class of that name; the launcher's own log is not an artifact of the task."""
    invocation = make_invocation()
    entry_point.set_types(invocation, TYPES)
    assert invocation["inputs"]["artifacts"]["report"]["artifacts"][0]["type"] == {
        "schemaTitle": "components.artifacts.IngestReport"
    }
    assert set(invocation["outputs"]["artifacts"]) == {"examples"}


@pytest.mark.parametrize(("scheme", "folder"), [("gs", "gcs"), ("s3", "s3"), ("minio", "minio")])
def test_what_lies_in_a_bucket_is_read_where_the_launcher_copied_it(scheme, folder):
    """And the launcher is told the address in the bucket again."""
    invocation = make_invocation(f"{scheme}://bucket/artifacts/graft/run-1/ExampleGen/execution-1")
    copied = entry_point.move_to_launcher_folders(invocation)
    local = f"/{folder}/bucket/artifacts/graft/run-1/ExampleGen/execution-1/examples"
    assert find_uris(invocation)["examples"] == local
    assert copied[local] == f"{scheme}://bucket/artifacts/graft/run-1/ExampleGen/execution-1/examples"


def test_paths_of_a_volume_stay():
    """The launcher copies no volume."""
    invocation = make_invocation("/mnt/graft/run-1/ExampleGen/execution-1")
    entry_point.move_to_launcher_folders(invocation)
    assert find_uris(invocation)["examples"] == "/mnt/graft/run-1/ExampleGen/execution-1/examples"


def test_the_run_is_told_from_the_address_of_an_output():
    """The run id goes into the record of a pushed version."""
    invocation = make_invocation()
    entry_point.set_types(invocation, TYPES)
    copied = entry_point.move_to_launcher_folders(invocation)
    assert entry_point.find_run_id(invocation, copied) == "run-1"


def test_an_output_parameter_is_a_property_of_an_artifact(tmp_path):
    """And addresses are those of the bucket."""
    written = {"artifacts": {"decision": {"artifacts": [{"uri": "/gcs/b/d", "metadata": {"train": "false"}}]}}}
    path = tmp_path / "output.json"
    path.write_text(json.dumps(written))
    entry_point.finish_output(str(path), {"/gcs/b/d": "gs://b/d"}, ["train"])
    output = json.loads(path.read_text())
    assert output["parameterValues"] == {"train": "false"}
    assert output["artifacts"]["decision"]["artifacts"][0]["uri"] == "gs://b/d"


def test_a_file_of_an_output_has_the_uri_of_the_bucket(tmp_path):
    """An executor may point an output at a file in its folder; the launcher uploads that file alone."""
    path = tmp_path / "output.json"
    path.write_text(json.dumps({"artifacts": {"page": {"artifacts": [{"uri": "/gcs/b/page/report.html"}]}}}))
    entry_point.finish_output(str(path), {"/gcs/b/page": "gs://b/page", "/gcs/b": "gs://b"}, [])
    assert json.loads(path.read_text())["artifacts"]["page"]["artifacts"][0]["uri"] == "gs://b/page/report.html"


def test_numbers_lose_the_version_that_tfx_adds(tmp_path):
    """The types of the spec say which outputs are numbers; the others keep it, for TFX reads it."""
    invocation = make_invocation()
    invocation["outputs"]["artifacts"]["metrics"] = {
        "artifacts": [{"uri": "x", "type": {"schemaTitle": "system.Metrics"}}]
    }
    numbers = entry_point.find_numbers(invocation)
    written = {
        key: {"artifacts": [{"uri": "x", "metadata": {"tfx_version": "1", "n": 2}}]} for key in ("metrics", "page")
    }
    path = tmp_path / "output.json"
    path.write_text(json.dumps({"artifacts": written}))
    entry_point.finish_output(str(path), {}, [], numbers)
    found = json.loads(path.read_text())["artifacts"]
    assert [found[key]["artifacts"][0]["metadata"] for key in written] == [{"n": 2}, {"tfx_version": "1", "n": 2}]


def test_an_output_parameter_that_nobody_wrote_is_an_error(tmp_path):
    """Without the check, the launcher would report a missing file."""
    path = tmp_path / "output.json"
    path.write_text('{"artifacts": {}}')
    with pytest.raises(GraftError, match="output parameter train: no artifact has such a property"):
        entry_point.finish_output(str(path), {}, ["train"])


def run_entry_point(*arguments, cwd):
    environment = {"PYTHONPATH": str(entry_point.__file__).rsplit("/kubeflow/", 1)[0], "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "kubeflow.entry_point", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_an_image_of_another_version_refuses_at_once(tmp_path):
    """In one line that names both, before anything is imported that takes seconds."""
    ended = run_entry_point(
        "--component", "Trainer", "--compiled_by", "0.0.1+abc", "--artifact_types", "{}",
        "--executor_class_path", "x.Y", "--json_serialized_invocation_args", "{}", cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert "compiled by Graft 0.0.1+abc" in line
    assert f"this image holds {read_version()}" in line


def test_bad_data_ends_a_task_with_its_own_exit_code(tmp_path):
    """One line in the log of the pod, and 3; no traceback."""
    invocation = {
        "inputs": {"parameterValues": make_properties("/nowhere", decoded="")},
        "outputs": {
            "artifacts": {
                key: {"artifacts": [{"uri": str(tmp_path / "root/graft/run/ExampleGen/1" / key)}]} for key in TYPES
            },
            "outputFile": str(tmp_path / "output/output.json"),
        },
    }
    spec = {"parameters": {"window_days": {"parameterType": "NUMBER_INTEGER"}}}
    ended = run_entry_point(
        "--component", "ExampleGen", "--compiled_by", read_version(), "--artifact_types", json.dumps(TYPES),
        "--executor_class_path", "components.example_gen.component.ExampleGenExecutor",
        "--json_serialized_invocation_args", json.dumps(invocation),
        "--json_serialized_inputs_spec_args", json.dumps(spec), cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("graft: /nowhere: no such folder")
    assert "Traceback" not in ended.stderr


@contextlib.contextmanager
def as_user_of_the_image():
    """Takes the rights of user 10001 where the tests run as root, whom no mode refuses anything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(10001)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def mounted():
    """A folder of another user, below folders that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder


def run_main(root, component="ExampleGen", **properties):
    """Runs the entry point in this process up to the checks; TFX is not imported."""
    values = {"data": f"{root}/photos", "model_dir": "gs://b/serving", "settings": "{}", **properties}
    invocation = {"inputs": {"parameterValues": values}, "outputs": {"artifacts": {}, "outputFile": f"{root}/o.json"}}
    arguments = ["--component", component, "--compiled_by", read_version(), "--artifact_types", "{}"]
    arguments += ["--executor_class_path", "x.Y", "--json_serialized_invocation_args", json.dumps(invocation)]
    with as_user_of_the_image():
        return entry_point.main(arguments)


@pytest.mark.parametrize(
    "properties",
    [
        {"settings": '{"decoded": "STORES/decoded"}'},
        {"model_dir": "STORES/serving/graft"},
        {"store": "STORES/embeddings", "settings": "no JSON"},
    ],
    ids=["decoded", "model_dir", "embeddings"],
)
def test_a_store_that_cannot_be_written_is_one_line_before_any_work(mounted, capsys, properties):
    stores = os.path.join(mounted, "stores")
    os.mkdir(stores, 0o555)
    code = run_main(mounted, **{key: value.replace("STORES", stores) for key, value in properties.items()})
    [line] = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.startswith(f"graft: {stores}: cannot be written by this task, which runs as user ")
    assert "Permission denied. Give that user the rights on the volume" in line
    assert os.listdir(stores) == []


def test_images_that_cannot_be_read_are_one_line(mounted, capsys):
    os.mkdir(os.path.join(mounted, "photos"), 0o000)
    code = run_main(mounted)
    [line] = capsys.readouterr().err.splitlines()
    assert code == 3
    assert line.startswith(f"graft: {mounted}/photos: cannot be read by this task, which runs as user ")


def test_a_folder_that_can_be_written_is_left_as_it_is(mounted):
    os.chmod(mounted, 0o777)
    values = {"model_dir": f"{mounted}/serving/graft", "settings": json.dumps({"decoded": f"{mounted}/decoded"})}
    with as_user_of_the_image():
        folders.check_folders({"inputs": {"parameterValues": {"data": mounted, **values}}})
    assert os.listdir(mounted) == []


@pytest.mark.parametrize(
    "values", [{}, {"data": "gs://b/photos", "model_dir": "s3://b/m"}, {"data": "/nowhere/at/all"}]
)
def test_folders_elsewhere_are_not_looked_at(values):
    folders.check_folders({"inputs": {"parameterValues": values}})


def test_a_folder_of_the_launcher_that_cannot_be_written_is_one_line(mounted):
    """TensorFlow says so in words of its own."""
    os.chmod(mounted, 0o555)
    outputs = {"artifacts": {"examples": {"artifacts": [{"uri": f"{mounted}/minio/b/examples"}]}}}
    with as_user_of_the_image(), pytest.raises(Exception, match="Permission denied") as raised:
        entry_point._make_folders({"outputs": outputs})
    explained = str(folders.explain_refused_file(raised.value))
    assert explained.startswith(f"{mounted}/minio")
    assert ": cannot be read or written by this task" in explained


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/stores/x"), "/stores/x"),
        (OSError(errno.ENOSPC, "No space left on device", "/stores/x"), "/stores/x"),
        (PermissionError(errno.EACCES, "denied", "gs://b/x"), "gs://b/x"),
        (RuntimeError("OSError: {{node save}} /stores/x; Read-only file system [while running 'Read']"), "/stores/x"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/stores/x"), None),
        (ValueError("/a; Permission denied? no"), "/a"),
        (ValueError("wrong"), None),
    ],
)
def test_a_refused_file_is_found_below_other_errors(error, path):
    wrapped = RuntimeError("Beam")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        explained = folders.explain_refused_file(raised)
        assert (explained is None) == (path is None)
        assert explained is None or str(explained).startswith(f"{path}: cannot be read or written by this task")


@pytest.mark.parametrize(("before", "after"), [(0, 0o022), (0o022, 0o022), (0o077, 0o077), (0o002, 0o022)])
def test_what_a_task_makes_only_its_user_may_change(before, after):
    """Argo sets the umask 0; a stricter one stays."""
    here = os.umask(before)
    try:
        entry_point.main(
            ["--component", "Trainer", "--compiled_by", "0.0.1", "--artifact_types", "{}",
             "--executor_class_path", "x.Y", "--json_serialized_invocation_args", "{}"]
        )  # fmt: skip
        assert os.umask(here) == after
    finally:
        os.umask(here)


def run_task(monkeypatch, tmp_path, executor, *beam_args):
    """Runs a task whose executor is told, and does nothing; returns the addresses that it was told."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    told = {}

    def execute(parsed):
        args, _ = parsed
        told.update(find_uris(json.loads(args.json_serialized_invocation_args)))
        (tmp_path / "output.json").write_text('{"artifacts": {}}')

    monkeypatch.setattr(kubeflow_v2_run_executor, "main", execute)
    monkeypatch.setattr(entry_point, "_make_folders", lambda invocation: None)
    monkeypatch.setenv("GRAFT_LAUNCHER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("GRAFT_RUN_ID", "")
    args = types.SimpleNamespace(
        executor_class_path=executor,
        artifact_types=json.dumps(TYPES),
        json_serialized_invocation_args=json.dumps(make_invocation(output_file=str(tmp_path / "output.json"))),
    )
    entry_point.run_task(args, list(beam_args))
    return told


def test_what_workers_elsewhere_write_stays_in_the_bucket(monkeypatch, tmp_path):
    """They see no folder of this pod; the launcher finds a small file in its own, and is content."""
    told = run_task(
        monkeypatch,
        tmp_path,
        "components.example_gen.component.ExampleGenExecutor",
        "--runner=FlinkRunner",
        "--parallelism=2",
    )
    assert all(uri.startswith("gs://bucket/") for uri in told.values())
    [written] = (path for path in (tmp_path / "root/gcs/bucket").rglob("*") if path.is_file())
    assert written.parent.name == "examples"


@pytest.mark.parametrize(
    ("executor", "beam_args"),
    [
        ("components.example_gen.component.ExampleGenExecutor", []),
        ("components.trainer.component.TrainerExecutor", ["--runner=FlinkRunner"]),
    ],
    ids=["Beam in this pod", "no Beam"],
)
def test_what_this_pod_writes_goes_where_the_launcher_looks(monkeypatch, tmp_path, executor, beam_args):
    """Whatever runs Beam, the Trainer is one process; and Beam's direct runner stays in it."""
    monkeypatch.setattr(SwitchingDirectRunner, "_is_interactive", False)
    told = run_task(monkeypatch, tmp_path, executor, *beam_args)
    assert all(uri.startswith(str(tmp_path / "root/gcs/bucket")) for uri in told.values())
    assert SwitchingDirectRunner._is_interactive


def test_fault_of_the_engine_is_told_and_its_chain_is_in_the_log(monkeypatch, capsys):
    """In a pod there is no graft.log; Kubeflow shows the end of the pod's own."""

    def fail(*_):
        lost = "Heartbeat of TaskManager with id 10.0.0.3:39951-5ab6a0 timed out."
        raise EngineError(f"java.util.concurrent.TimeoutException: {lost}", Job("job_1", "flink:8099", flink=True))

    monkeypatch.setattr(entry_point, "_parse", lambda _: (types.SimpleNamespace(compiled_by=""), []))
    monkeypatch.setattr(entry_point, "check_version", lambda _: None)
    monkeypatch.setattr(entry_point, "run_task", fail)
    assert entry_point.main([]) == 1
    *chain, told = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" in chain
    assert told.startswith(
        "graft: Flink has lost a TaskManager: Heartbeat of TaskManager with id 10.0.0.3:39951-5ab6a0"
    )


def test_task_bounds_its_thread_pools_before_it_runs(monkeypatch):
    """A pod with a limit of 2 on a node of 64 cores has 2 threads a pool; TensorFlow is imported later."""
    done = []
    monkeypatch.setattr(entry_point, "bound_thread_pools", lambda: done.append("bounded"))
    monkeypatch.setattr(entry_point, "_parse", lambda _: (types.SimpleNamespace(compiled_by=""), []))
    monkeypatch.setattr(entry_point, "check_version", lambda _: None)
    monkeypatch.setattr(entry_point, "run_task", lambda *_: done.append("run"))
    assert entry_point.main([]) == 0
    assert done == ["bounded", "run"]


def test_outputs_of_an_earlier_try_are_removed_before_the_next(tmp_path):
    """An executor writes into an empty folder, which is made where there is none."""
    left = tmp_path / "examples/Split-train/data_tfrecord-00000-of-00003"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"images of the first try")
    uris = {key: str(tmp_path / key) for key in ("examples", "report")}
    outputs = {"artifacts": {key: {"artifacts": [{"uri": uri}]} for key, uri in uris.items()}}
    entry_point._make_folders({"outputs": outputs})
    assert {key: list((tmp_path / key).iterdir()) for key in uris} == {"examples": [], "report": []}


def test_pod_with_a_card_that_its_image_cannot_use_says_so(monkeypatch, tmp_path, capsys):
    """The task goes on, on the processor; the advice is about the image."""
    monkeypatch.setattr(entry_point, "describe_unused_card", lambda remedy: f"NVIDIA L4 is here; {remedy}")
    run_task(monkeypatch, tmp_path, "components.trainer.component.TrainerExecutor")
    told = "graft: NVIDIA L4 is here; an image that is built with --build-arg CUDA=1 has them"
    assert told in capsys.readouterr().err.splitlines()


def test_card_without_free_memory_ends_a_task_with_an_advice(monkeypatch, capsys):
    """And with the whole error in the log of the pod."""

    def fail(*_):
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")

    monkeypatch.setattr(entry_point, "_parse", lambda _: (types.SimpleNamespace(compiled_by=""), []))
    monkeypatch.setattr(entry_point, "check_version", lambda _: None)
    monkeypatch.setattr(entry_point, "run_task", fail)
    monkeypatch.setattr(cards, "_DEVICES", os.devnull)
    assert entry_point.main([]) == 1
    *chain, told = capsys.readouterr().err.splitlines()
    assert "RuntimeError: CUDA_ERROR_OUT_OF_MEMORY: out of memory" in chain
    assert told.startswith("graft: the memory of the card is full. End other processes on it")
