"""The two examples of docs/kubeflow.md: their manifests, their graft.toml, and the commands below them."""

import json
import pathlib
import re
import shlex
import types

import pytest
import yaml
from kubeflow_commands import make_graft
from kubernetes import client

from kubeflow.compiled import read_spec
from kubeflow.resources import DEFAULT_CORES, DEFAULT_MEMORY, MEMORY_OF_OTHERS
from pipeline.config.pods import TASKS

PAGE = (pathlib.Path(__file__).parents[2] / "docs/kubeflow.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Pods that fit\n")[2].partition("\n## ")[0]
EXAMPLES = dict(zip(("claim", "bucket"), SECTION.split("\n### ")[1:], strict=True))
KINDS = {"claim": ["PersistentVolumeClaim", "Job", "Pod"], "bucket": ["ConfigMap"]}


def read_blocks(example, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", EXAMPLES[example], re.DOTALL | re.MULTILINE)


def read_manifests(example):
    return [document for block in read_blocks(example, "yaml") for document in yaml.safe_load_all(block)]


def read_commands(example):
    """Returns the words of each line of the commands."""
    return [shlex.split(line) for block in read_blocks(example, "sh") for line in block.splitlines()]


@pytest.fixture
def graft(tmp_path, monkeypatch, capsys):
    """Types a command in an empty folder."""
    return make_graft(tmp_path, monkeypatch, capsys)


@pytest.fixture
def follow(tmp_path, graft):
    """Types the commands of an example beside its graft.toml, without a server; returns both documents."""

    def follow_it(example):
        [toml] = read_blocks(example, "toml")
        (tmp_path / "graft.toml").write_text(toml)
        compiled, *others = (words[2:] for words in read_commands(example) if words[0] == "./graft")
        assert [words[0] for words in (compiled, *others)] == ["compile", "submit", "submit", "schedule"]
        typed = graft(*compiled)
        assert (typed.code, typed.err) == (0, "")
        assert "Note:" not in typed.out
        for words in others[1:]:
            typed = graft(*(word for word in words if word != "--wait"), "--dry-run")
            assert (typed.code, typed.err) == (0, "")
            assert "#   all tasks: cpu 1, " in typed.out
        return read_spec("graft.yaml").documents

    return follow_it


@pytest.mark.parametrize("example", KINDS)
def test_kubernetes_knows_every_field_of_a_manifest(example):
    """Nothing is lost in its types, so nothing is misspelt or in the wrong place."""
    manifests, api = read_manifests(example), client.ApiClient()
    assert [manifest["kind"] for manifest in manifests] == KINDS[example]
    for manifest in manifests:
        response = types.SimpleNamespace(data=json.dumps(manifest))
        assert api.sanitize_for_serialization(api.deserialize(response, f"V1{manifest['kind']}")) == manifest


def test_a_claim_is_in_all_pods_and_no_bucket_is(follow):
    """Images and stores lie in folders that the Job makes, for the user of the image."""
    spec, platform = follow("claim")
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) == len(TASKS)
    claim, job, _ = read_manifests("claim")
    for config in executors.values():
        [mount] = config["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == (claim["metadata"]["name"], "/data")
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    made = container["command"][-1].rpartition("10001:10001 ")[2].split()
    assert parameters["data"]["defaultValue"] in made
    assert parameters["model_dir"]["defaultValue"] == f"{made[1]}/serving/graft"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert not re.search(r"\b(gs|s3)://", yaml.safe_dump(parameters))


def test_three_tasks_have_a_card_and_all_find_the_key_of_the_bucket(follow):
    """The variable names a file in the folder of the secret, which the commands make."""
    spec, platform = follow("bucket")
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in spec["deploymentSpec"]["executors"].items():
        variables = {variable["name"]: variable["value"] for variable in executor["container"]["env"]}
        [secret] = configs[name]["secretAsVolume"]
        assert variables["GOOGLE_APPLICATION_CREDENTIALS"] == f"{secret['mountPath']}/key.json"
        assert ["kubectl", "create", "secret", "generic", secret["secretName"], "--from-file=key.json"] == [
            word for word in read_commands("bucket")[1] if word not in ("-n", "kubeflow")
        ]
    cards = {
        name.removesuffix("_executor")
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if executor["container"]["resources"].get("accelerator") == {"type": "nvidia.com/gpu", "count": "1"}
    }
    assert cards == {"Embedder", "Trainer", "Evaluator"}
    assert {n.removesuffix("_executor") for n, config in configs.items() if "nodeSelector" in config} == cards


def test_the_page_has_the_default_requests():
    """By task; tasks that are not named have that of the last row."""
    rows = dict(re.findall(r"^\| ([\w, ]+) \| (\d+Gi) \|$", PAGE, re.MULTILINE))
    assert rows.pop("all others") == MEMORY_OF_OTHERS
    assert {task: memory for tasks, memory in rows.items() for task in tasks.split(", ")} == DEFAULT_MEMORY
    assert f"A task requests {DEFAULT_CORES:g} core" in PAGE
