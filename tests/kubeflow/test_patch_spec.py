"""Each patch of TFX's spec for the open-source backend, on a spec of one or two tasks."""

import pytest
from tfx.types import standard_artifacts

from components.artifacts import IngestReport
from kubeflow import patch_spec
from schema.errors import GraftError


def make_spec(**container):
    """Returns a spec as TFX compiles it, of a gate and a task behind it."""
    executors = {
        f"{name}_executor": {"container": {"image": "i", "command": ["c"], "args": ["--x"], **container}}
        for name in ("RetrainingGate", "Trainer")
    }
    task = {"inputs": {}, "cachingOptions": {"enableCache": True}}
    components = {
        name: {
            "executorLabel": f"{name}_executor",
            "inputDefinitions": {"artifacts": {"report": {"artifactType": {"instanceSchema": "title: tfx.X"}}}},
            "outputDefinitions": {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Y"}}}},
        }
        for name in ("RetrainingGate", "Trainer")
    }
    tasks = {"RetrainingGate": task, "Trainer": task | {"inputs": {}, "dependentTasks": ["RetrainingGate"]}}
    root = {"dag": {"tasks": tasks}, "inputDefinitions": {"parameters": {"epochs": {"parameterType": "STRING"}}}}
    return {"root": root, "components": components, "deploymentSpec": {"executors": executors}}


TYPES = {"report": IngestReport, "model": standard_artifacts.Model}


@pytest.mark.parametrize("kind", ["resolver", "importer"])
def test_executors_that_are_no_containers_are_refused(kind):
    """The message names the executor and its kind."""
    spec = make_spec()
    spec["deploymentSpec"]["executors"]["Trainer_executor"] = {kind: {}}
    with pytest.raises(GraftError, match=f"Trainer_executor: expected a container, got {kind}"):
        patch_spec.refuse_unsupported(spec)


def test_a_hook_before_the_cache_is_refused():
    """The backend would never call it."""
    with pytest.raises(GraftError, match="has a hook"):
        patch_spec.refuse_unsupported(make_spec(lifecycle={"preCacheCheck": {}}))


def test_types_become_those_of_the_system():
    """A model stays a model; types that only TFX or Graft know become system.Artifact."""
    spec = make_spec()
    patch_spec.replace_artifact_types(spec, {"RetrainingGate": TYPES, "Trainer": TYPES})
    component = spec["components"]["Trainer"]
    model = component["outputDefinitions"]["artifacts"]["model"]["artifactType"]
    report = component["inputDefinitions"]["artifacts"]["report"]["artifactType"]
    assert model == {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}
    assert report == {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}


def test_metrics_are_plain_artifacts():
    """A property of system.Metrics that is not a number would fail the task."""
    spec, types = make_spec(), {"report": standard_artifacts.ModelEvaluation, "model": standard_artifacts.Model}
    patch_spec.replace_artifact_types(spec, {"RetrainingGate": types, "Trainer": types})
    artifact = spec["components"]["Trainer"]["inputDefinitions"]["artifacts"]["report"]
    assert artifact["artifactType"]["schemaTitle"] == "system.Artifact"


def test_the_entry_point_is_told_types_component_and_version():
    """The arguments precede those of TFX, which stay."""
    spec = make_spec()
    patch_spec.pass_to_entry_point(spec, {"RetrainingGate": TYPES, "Trainer": TYPES}, "1.2.3")
    assert spec["deploymentSpec"]["executors"]["Trainer_executor"]["container"]["args"] == [
        "--component", "Trainer", "--compiled_by", "1.2.3", "--artifact_types",
        '{"model": "tfx.types.standard_artifacts.Model", "report": "components.artifacts.IngestReport"}', "--x",
    ]  # fmt: skip


def test_parameters_get_types_and_defaults():
    """A run without parameters uses the compiled defaults."""
    spec = make_spec()
    patch_spec.write_parameters(spec, {"epochs": patch_spec.Parameter(5, "of phase 1")})
    assert spec["root"]["inputDefinitions"]["parameters"]["epochs"] == {
        "parameterType": "NUMBER_INTEGER", "defaultValue": 5, "isOptional": True, "description": "of phase 1",
    }  # fmt: skip


def test_a_parameter_that_nobody_reads_is_a_mistake():
    """A parameter without a description is refused as well, so that both lists stay equal."""
    with pytest.raises(GraftError, match="no component reads, or without a description: epochs, rate"):
        patch_spec.write_parameters(make_spec(), {"rate": patch_spec.Parameter(0.1, "")})


def test_no_task_is_taken_from_kubeflows_cache():
    """The key has neither the files of an output nor the pipeline root."""
    spec = make_spec()
    patch_spec.disable_caching(spec)
    tasks = spec["root"]["dag"]["tasks"]
    assert {name: task["cachingOptions"] for name, task in tasks.items()} == {"RetrainingGate": {}, "Trainer": {}}


def test_the_gate_decides_on_what_waits_for_it():
    """By an output parameter, the only thing that a condition of this backend can look at."""
    spec = make_spec()
    patch_spec.end_early(spec)
    task = spec["root"]["dag"]["tasks"]["Trainer"]
    [(name, source)] = task["inputs"]["parameters"].items()
    assert source == {"taskOutputParameter": {"producerTask": "RetrainingGate", "outputParameterKey": "train"}}
    assert task["triggerPolicy"]["condition"] == f"inputs.parameter_values['{name}'] == 'true'"
    assert spec["components"]["Trainer"]["inputDefinitions"]["parameters"][name] == {"parameterType": "STRING"}
    assert spec["components"]["RetrainingGate"]["outputDefinitions"]["parameters"]["train"] == {
        "parameterType": "STRING"
    }
    assert "triggerPolicy" not in spec["root"]["dag"]["tasks"]["RetrainingGate"]
