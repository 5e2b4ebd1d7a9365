"""The pods of a compiled file: the table `[kubeflow]` beside what kfp's SDK writes for the same wishes."""

import copy
import hashlib
import json

import kfp_pods
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from strict_spec_checks import CheckedSpec

from kubeflow.compile import write_spec
from kubeflow.compiled import read_spec
from kubeflow.platform import make_platform_spec
from kubeflow.pod_summary import describe_pods
from kubeflow.resources import list_executors, write_pods
from pipeline.code_digests import COMPONENTS
from pipeline.config.pods import TASKS
from pipeline.config.read_pods import read_pods


def make_small_spec():
    """Returns a spec with the tasks of the pipeline alone; YAML of the whole one takes a second."""
    executors = {f"{task}_executor": {"container": {"image": "image", "command": ["true"]}} for task in TASKS}
    return {
        "pipelineInfo": {"name": "graft"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": {task: {"componentRef": {"name": task}} for task in TASKS}}},
        "components": {task: {"executorLabel": f"{task}_executor"} for task in TASKS},
        "deploymentSpec": {"executors": executors},
    }


@pytest.fixture
def write(tmp_path):
    """Writes a spec with a table, as `compile` does; returns the path."""

    def write_with(table):
        spec, pods = make_small_spec(), read_pods(table, "graft.toml")
        write_pods(spec, pods)
        write_spec(spec, str(tmp_path / "graft.yaml"), pods)
        return tmp_path / "graft.yaml"

    return write_with


def read_task(documents, task):
    """Returns what the documents of a file say of a task, as `kfp_pods.write_with_kfp` does."""
    spec, *rest = documents
    executor = list_executors(spec)[task]
    container = spec["deploymentSpec"]["executors"][executor]["container"]
    platform = rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if rest else {}
    return {
        "container": {field: container[field] for field in ("resources", "env") if field in container},
        "retryPolicy": spec["root"]["dag"]["tasks"][task].get("retryPolicy", {}),
        "kubernetes": platform.get(executor, {}),
    }


@pytest.mark.parametrize("name", kfp_pods.TABLES)
def test_each_executor_is_as_kfps_own_sdk_writes_it(write, name):
    """Volumes, secrets, config maps, placement, image, labels, scratch, resources, variables, retries.

    Without its texts beside the numbers of the resources, which older servers refuse.
    """
    stored, table = json.loads(kfp_pods.STORED.read_text()), kfp_pods.TABLES[name]
    documents = list(yaml.safe_load_all(write(table).read_text()))
    for task in TASKS:
        found, wanted = read_task(documents, task), stored[name][task]
        if "cpu_request" not in table:  # kfp has no defaults
            del found["container"]["resources"]
        assert found == wanted, task


def test_the_stored_result_is_that_of_kfp():
    """Where kfp-kubernetes is installed, which the newer stack has."""
    pytest.importorskip("kfp.kubernetes")
    written = {name: kfp_pods.write_with_kfp(table) for name, table in kfp_pods.TABLES.items()}
    assert written == json.loads(kfp_pods.STORED.read_text())


def test_the_platform_document_is_one_of_kubeflows_own_messages(write):
    """No field is unknown, and each has the type of the proto; the older stack has the proto of the frame alone."""
    _, platform = yaml.safe_load_all(write(kfp_pods.FULL_TABLE).read_text())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    messages = pytest.importorskip("kfp.kubernetes.kubernetes_executor_config_pb2")
    for config in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(config, messages.KubernetesExecutorConfig())


@pytest.mark.parametrize("table", [{}, kfp_pods.FULL_TABLE], ids=["nothing", "everything"])
def test_the_backend_takes_the_pipeline_spec_with_pods(spec, table):
    """Both stacks' proto knows the number form of the resources."""
    spec = copy.deepcopy(spec)
    write_pods(spec, read_pods(table, "graft.toml"))
    CheckedSpec(spec)


def test_each_task_has_a_measured_request_and_no_limit(spec):
    """A name that is missing here would be a task that fits no table."""
    assert set(list_executors(spec)) == set(TASKS) == set(COMPONENTS) == set(kfp_pods.TASKS)
    for executor in spec["deploymentSpec"]["executors"].values():
        assert set(executor["container"]["resources"]) == {"cpuRequest", "memoryRequest"}


def test_a_limit_below_the_default_request_lowers_the_request(write):
    """Kubernetes refuses a pod that requests more than its limit."""
    documents = list(yaml.safe_load_all(write({"memory_limit": "1G", "cpu_limit": "500m"}).read_text()))
    resources = read_task(documents, "Trainer")["container"]["resources"]
    assert resources == {"cpuRequest": 0.5, "cpuLimit": 0.5, "memoryRequest": 1.0, "memoryLimit": 1.0}


def test_retries_spare_the_tasks_whose_failure_is_an_answer(write):
    """A second try would say the same, and a run that fails with 3 would take three times as long."""
    documents = list(yaml.safe_load_all(write({"retries": 1}).read_text()))
    assert {task for task in TASKS if not read_task(documents, task)["retryPolicy"]} == {
        "ExampleGen", "RetrainingGate", "DataGate", "DriftGate",
    }  # fmt: skip


def test_the_name_of_a_version_covers_both_documents(write):
    """Else another secret would not be uploaded."""
    names = [read_spec(str(write({"image_pull_secrets": [name]}))).version_name for name in ("a", "b", "a")]
    assert names[0] == names[2] != names[1]


def test_a_file_of_one_document_has_the_name_that_0_2_0_gave_it(tmp_path):
    """The digest is of the list of documents, which has one entry; its pods have no requests."""
    spec = make_small_spec()
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(spec))
    read = read_spec(str(tmp_path / "old.yaml"))
    assert read.digest == hashlib.sha256(json.dumps([spec], sort_keys=True).encode()).hexdigest()
    assert read.describe_pods() == []


@pytest.mark.parametrize("platform", [{"platforms": {}}, {"platforms": {"kubernetes": 3}}])
def test_a_platform_of_another_tool_is_no_error(platform, tmp_path):
    """The server says what is wrong with it."""
    (tmp_path / "other.yaml").write_text(yaml.safe_dump_all([make_small_spec(), platform]))
    assert read_spec(str(tmp_path / "other.yaml")).describe_pods() == ["not as ./graft kubeflow compile writes them"]


def test_pods_are_described_without_the_values_of_variables(write):
    """What all tasks have is said once."""
    table = {**kfp_pods.FULL_TABLE, "env": {"PASSWORD": "hush"}}
    lines = read_spec(str(write(table))).describe_pods()
    everything = "\n".join(lines)
    assert "hush" not in everything
    for part in (
        "cpu 500m", "memory 2Gi", "memory limit 4G", "PASSWORD", "claim photos at /data", "claim stores at /stores",
        "secret bucket as AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY", "secret certificate at /certificate",
        "config map settings at /settings", "config map store as S3_ENDPOINT", "scratch of 20Gi at /big",
        "tolerates dedicated", "image pulled IfNotPresent", "pull secrets registry mirror", "team=vision",
    ):  # fmt: skip
        assert part in everything
    [trainer] = (line for line in lines if line.startswith("Trainer: "))
    assert "nvidia.com/gpu 2" in trainer
    assert "claim" not in trainer
    assert lines[0].startswith("all tasks: ")


def test_pods_that_kfp_wrote_without_deprecated_names_are_described():
    """A file completed by hand, or by a later kfp."""
    spec = make_small_spec()
    platform = make_platform_spec(read_pods(kfp_pods.FULL_TABLE, "graft.toml"), list_executors(spec))
    described = describe_pods(spec, platform)
    for config in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        for field, name in (("pvcMount", "constant"), ("secretAsEnv", "secretName"), ("imagePullSecret", "secretName")):
            for entry in config[field]:
                del entry[name]
    assert describe_pods(spec, platform) == described


def test_no_table_makes_no_second_document(write):
    """As kfp does; an older server would not know it."""
    assert len(list(yaml.safe_load_all(write({}).read_text()))) == 1
