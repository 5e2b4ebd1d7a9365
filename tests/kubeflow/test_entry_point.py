"""The entry point between Kubeflow's launcher and TFX: arguments in, output file out."""

import json
import os
import subprocess
import sys
import types

import pytest
from ingest_properties import make_properties

from kubeflow import entry_point
from kubeflow.version import read_version
from pipeline.beam.jobs import Job
from pipeline.beam.watch import EngineError
from schema.errors import GraftError

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
    """Whatever runs Beam, the Trainer is one process."""
    told = run_task(monkeypatch, tmp_path, executor, *beam_args)
    assert all(uri.startswith(str(tmp_path / "root/gcs/bucket")) for uri in told.values())


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


def test_outputs_of_an_earlier_try_are_removed_before_the_next(tmp_path):
    """An executor writes into an empty folder, which is made where there is none."""
    left = tmp_path / "examples/Split-train/data_tfrecord-00000-of-00003"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"images of the first try")
    uris = {key: str(tmp_path / key) for key in ("examples", "report")}
    outputs = {"artifacts": {key: {"artifacts": [{"uri": uri}]} for key, uri in uris.items()}}
    entry_point._make_folders({"outputs": outputs})
    assert {key: list((tmp_path / key).iterdir()) for key in uris} == {"examples": [], "report": []}
