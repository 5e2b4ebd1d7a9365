"""The compiled spec passes the checks of the open-source backend of Kubeflow Pipelines."""

import copy
import json

import kfp
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from strict_page import SHOWN
from strict_spec_checks import CheckedSpec

from kubeflow.compile import compile_spec, write_spec
from kubeflow.version import read_version
from pipeline.code_digests import read_code_digests
from pipeline.config.load import load_config
from schema.errors import UsageError

TASKS = {
    "ExampleGen", "RetrainingGate", "SchemaGen", "StatisticsGen", "ExampleValidator", "DataGate", "Transform",
    "Embedder", "DriftGate", "Trainer", "Evaluator", "ServingValidator", "Pusher", "RunPage",
}  # fmt: skip


def read_parameters(spec):
    return spec["root"]["inputDefinitions"]["parameters"]


def find_args(spec, name):
    """Returns the arguments of a task's container."""
    return spec["deploymentSpec"]["executors"][spec["components"][name]["executorLabel"]]["container"]["args"]


def test_the_backend_would_take_the_spec(spec):
    """Every check of the API server and of the compiler to Argo, as the strict executor has them."""
    CheckedSpec(spec)


def test_the_spec_is_one_of_kfps_own_messages(spec):
    """No field is unknown to kfp-pipeline-spec, and the version is the one that the backend asks for."""
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.schema_version == "2.1.0"
    assert set(parsed.root.dag.tasks) == TASKS


def test_kfps_own_client_loads_the_file(spec, tmp_path):
    """With its name, and every parameter as optional."""
    write_spec(spec, str(tmp_path / "graft.yaml"))
    loaded = kfp.components.load_component_from_file(str(tmp_path / "graft.yaml"))
    assert loaded.name == "graft"
    assert set(loaded.component_spec.inputs) == set(read_parameters(spec))
    assert all(parameter.optional for parameter in loaded.component_spec.inputs.values())


def test_all_executors_are_containers_without_hooks(spec):
    """No resolver, no importer, and nothing that is to run before the cache is looked up."""
    executors = spec["deploymentSpec"]["executors"].values()
    assert len(executors) == len(TASKS)
    assert all(set(executor) == {"container"} for executor in executors)
    assert all(set(e["container"]) == {"image", "command", "args", "resources"} for e in executors)
    assert {e["container"]["image"] for e in executors} == {"registry.example/graft:test"}


def test_no_two_containers_are_alike(spec):
    """The backend takes equal containers for the same one."""
    containers = [json.dumps(e) for e in spec["deploymentSpec"]["executors"].values()]
    assert len(set(containers)) == len(containers)


def test_each_task_has_the_digest_of_its_own_code(spec):
    """The ServingValidator's is that of the built-in server, which the Pusher records and the RunPage shows.

    The RunPage has none: no task is taken from a cache.
    """
    digests = read_code_digests().components
    tasks = {name: json.dumps(task) for name, task in spec["root"]["dag"]["tasks"].items()}
    found = {name: {owner for owner, digest in digests.items() if digest in text} for name, text in tasks.items()}
    alike = {"DataGate": {"DataGate", "DriftGate"}, "DriftGate": {"DataGate", "DriftGate"}}
    alike |= {"Pusher": {"Pusher", "ServingValidator"}, "RunPage": {"ServingValidator"}}
    assert found == {name: {name} for name in TASKS} | alike


def test_outputs_of_the_last_task_are_what_kubeflows_page_shows(spec):
    """By the titles that its frontend looks for; no other task has such outputs."""
    titles = {
        (name, key): artifact["artifactType"]["schemaTitle"]
        for name, component in spec["components"].items()
        for key, artifact in component["outputDefinitions"]["artifacts"].items()
        if artifact["artifactType"]["schemaTitle"] in SHOWN
    }
    assert titles == {
        ("RunPage", "metrics"): "system.Metrics",
        ("RunPage", "classification"): "system.ClassificationMetrics",
        ("RunPage", "page"): "system.HTML",
        ("RunPage", "summary"): "system.Markdown",
    }


def test_the_page_waits_for_the_pusher_and_for_no_condition(spec):
    """So it is written for a refused model, too; behind the gate that ends a run it is skipped like the others."""
    task = spec["root"]["dag"]["tasks"]["RunPage"]
    assert "Pusher" in task["dependentTasks"]
    assert "triggerPolicy" not in task or "RetrainingGate" in task["dependentTasks"]


def test_artifacts_have_types_that_kubeflow_knows(spec):
    """`system.*` with a version, and nothing described in line."""
    known = ("system.Artifact", "system.Dataset", "system.Model", *SHOWN)
    for component in spec["components"].values():
        for side in ("inputDefinitions", "outputDefinitions"):
            for artifact in component.get(side, {}).get("artifacts", {}).values():
                assert artifact["artifactType"]["schemaTitle"] in known
                assert artifact["artifactType"]["schemaVersion"] == "0.0.1"


def test_parameters_of_a_run_have_their_defaults(spec):
    """Type, default and a description of each."""
    parameters = read_parameters(spec)
    assert parameters["data"]["defaultValue"] == "gs://bucket/photos"
    assert parameters["model_dir"]["defaultValue"] == "gs://bucket/graft/serving/graft"
    assert parameters["head_epochs"] | {"description": ""} == {
        "parameterType": "NUMBER_INTEGER", "defaultValue": 10, "isOptional": True, "description": "",
    }  # fmt: skip
    assert parameters["window_end"]["defaultValue"] == ""
    assert parameters["window_days"]["defaultValue"] == 0
    assert parameters["max_accuracy_drop"]["parameterType"] == "NUMBER_DOUBLE"
    assert parameters["min_recall"] | {"description": ""} == {
        "parameterType": "NUMBER_DOUBLE", "defaultValue": -1.0, "isOptional": True, "description": "",
    }  # fmt: skip
    assert all(parameter["description"] for parameter in parameters.values())


def test_a_parameter_of_a_run_reaches_whoever_reads_it(spec):
    """Epochs decide what is embedded, what is trained, and whether a model of the same settings is live."""
    tasks = spec["root"]["dag"]["tasks"]
    for name in ("RetrainingGate", "Embedder", "Trainer"):
        inputs = tasks[name]["inputs"]["parameters"]
        assert inputs["fine_tune_epochs"] == {"componentInputParameter": "fine_tune_epochs"}


def test_the_bounds_of_the_verdict_reach_the_evaluator_and_the_gates(spec):
    """The gates refuse a bound out of range, and data on which no model could pass, before the training."""
    tasks = spec["root"]["dag"]["tasks"]
    bounds = {"min_accuracy", "max_accuracy_drop", "min_recall"}
    for name, expected in {"Evaluator": bounds, "RetrainingGate": bounds, "DataGate": {"min_accuracy"}}.items():
        inputs = tasks[name]["inputs"]["parameters"]
        read = {key for key, value in inputs.items() if value == {"componentInputParameter": key}}
        assert read & bounds == expected


def read_settings(spec, component):
    """Returns the settings of a component, without the run parameters."""
    given = spec["root"]["dag"]["tasks"][component]["inputs"]["parameters"]["settings"]
    return json.loads(given["runtimeValue"]["constant"])


@pytest.mark.parametrize("weights", ["gs://bucket/w.h5", "random"])
def test_a_file_of_weights_is_looked_into_by_the_gate_of_each_run(compile_digits, weights):
    """Its bytes may change where the spec stays; random weights are named in the settings."""
    spec = compile_digits("gs://bucket/photos", "gs://bucket/graft", weights=weights)
    assert read_settings(spec, "RetrainingGate")["weights"] == (weights if weights != "random" else "")


@pytest.mark.parametrize("follow_links", [True, False])
def test_whether_links_lead_out_of_the_folder_reaches_the_ingest(compile_digits, follow_links):
    """A folder that is mounted into the pods may have links."""
    spec = compile_digits("gs://bucket/photos", "gs://bucket/graft", follow_links=follow_links)
    assert read_settings(spec, "ExampleGen")["follow_links"] is follow_links


def test_no_task_is_taken_from_kubeflows_cache(spec):
    """It would be taken though its files were removed, or the run has another pipeline root."""
    tasks = spec["root"]["dag"]["tasks"]
    assert {name: task["cachingOptions"] for name, task in tasks.items()} == {name: {} for name in TASKS}


def test_nothing_behind_the_gate_runs_unless_it_says_so(spec):
    """Every training task waits for a task with the condition."""
    tasks = spec["root"]["dag"]["tasks"]
    guarded = {name for name, task in tasks.items() if "triggerPolicy" in task}
    waiting = set(guarded)
    for _ in tasks:
        waiting |= {n for n, task in tasks.items() if set(task.get("dependentTasks", [])) & waiting}
    assert waiting == TASKS - {"ExampleGen", "SchemaGen", "RetrainingGate"}
    assert {tasks[name]["triggerPolicy"]["condition"] for name in guarded} == {
        "inputs.parameter_values['retraining-gate-train'] == 'true'"
    }


def test_each_task_tells_who_compiled_it(spec):
    """So that an image of another version refuses."""
    for name in TASKS:
        args = find_args(spec, name)
        assert args[args.index("--compiled_by") + 1] == read_version()
        assert args[args.index("--component") + 1] == name


def test_the_same_configuration_gives_the_same_spec(compile_digits, spec):
    """A new version is uploaded only after a change."""
    assert compile_digits("gs://bucket/photos", "gs://bucket/graft") == spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "photos"}, "data: expected a URI such as gs://bucket/folder"),
        ({"classes": None}, "classes: missing"),
        ({"weights": "notop.h5"}, "weights: expected a URI"),
    ],
    ids=["local data", "no classes", "local weights"],
)
def test_what_no_pod_would_have_is_refused(options, message, tmp_path):
    """A run on a cluster sees neither this machine's folders nor its prompt."""
    config = load_config(None, {"data": "gs://b/d", "classes": ("a", "b"), "out": str(tmp_path), **options})
    with pytest.raises(UsageError, match=message):
        compile_spec(config, "image", "gs://bucket/graft")


def test_a_pipeline_root_of_this_machine_is_refused(tmp_path):
    """The error names the option."""
    config = load_config(None, {"data": "gs://b/d", "classes": ("a", "b"), "out": str(tmp_path)})
    with pytest.raises(UsageError, match=r"--pipeline-root: expected a URI .* got graft-out"):
        compile_spec(config, "image", "graft-out")


def test_a_spec_is_written_as_yaml_or_not_at_all(spec, tmp_path):
    """Kubeflow requires the suffix; a missing folder is an error of one line."""
    write_spec(spec, str(tmp_path / "graft.yaml"))
    assert yaml.safe_load((tmp_path / "graft.yaml").read_text()) == spec
    with pytest.raises(UsageError, match=r"expected a file named \*.yaml"):
        write_spec(spec, str(tmp_path / "graft.json"))
    with pytest.raises(UsageError, match=r"nowhere/graft\.yaml: cannot be written: No such file or directory"):
        write_spec(copy.deepcopy(spec), str(tmp_path / "nowhere/graft.yaml"))
    assert [path.name for path in tmp_path.iterdir()] == ["graft.yaml"]


@pytest.mark.parametrize("stores", [None, "gs://bucket/graft[1]"])
def test_a_place_in_a_bucket_that_is_a_pattern_is_refused(stores):
    """TFX and TensorFlow expand wildcards in a bucket, too."""
    config = load_config(None, {"data": "gs://bucket/photos[1]", "classes": "cat,dog"})
    root = "gs://bucket/graft" if stores else "gs://bucket/graft?"
    with pytest.raises(
        UsageError, match=f"{'--stores' if stores else '--pipeline-root'}: gs://.*expected a path without"
    ):
        compile_spec(config, "registry.example/graft:test", root, stores)


def test_stores_may_lie_elsewhere_than_artifacts(capsys):
    """Kubeflow's launcher opens minio://, and TensorFlow does not.

    The same compilation shows that an option of Flink's own is passed on, with a note: nobody can be asked from here.
    """
    flink = {"beam.runner": "flink", "beam.job_endpoint": "flink:8099", "beam.args": "--number_of_execution_retries=12"}
    config = load_config(None, {"data": "gs://b/d", "classes": ("a", "b"), "weights": "random", **flink})
    spec = compile_spec(config, "image", "minio://mlpipeline/graft", "gs://bucket/graft")
    assert spec["defaultPipelineRoot"] == "minio://mlpipeline/graft/artifacts"
    assert read_parameters(spec)["model_dir"]["defaultValue"] == "gs://bucket/graft/serving/graft"
    told = f"Note:     beam.args: {flink['beam.args']}: unknown to Beam's Python; passed on to the job server.\n"
    assert capsys.readouterr().err == told
    assert flink["beam.args"] in str(spec["deploymentSpec"])
    embedder = spec["root"]["dag"]["tasks"]["Embedder"]["inputs"]["parameters"]
    assert embedder["store"] == {"runtimeValue": {"constant": "gs://bucket/graft/embeddings"}}
    with pytest.raises(UsageError, match="--stores: expected a folder that TensorFlow opens"):
        compile_spec(config, "image", "minio://mlpipeline/graft")
