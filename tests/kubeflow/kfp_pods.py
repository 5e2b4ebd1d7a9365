"""Writes with kfp's own SDK what the table `[kubeflow]` asks for: the oracle of the platform spec.

It needs kfp-kubernetes, which the newer stack has. `kfp_pods.json` is the result for FULL_TABLE, for the older stack:

    .venv/bin/python tests/kubeflow/kfp_pods.py tests/kubeflow/kfp_pods.json
"""

import json
import pathlib
import sys
import tempfile
from typing import Any

import yaml

STORED = pathlib.Path(__file__).with_name("kfp_pods.json")
TASKS = (
    "DataGate", "DriftGate", "Embedder", "Evaluator", "ExampleGen", "ExampleValidator", "Pusher", "RetrainingGate",
    "SchemaGen", "ServingValidator", "StatisticsGen", "Trainer", "Transform",
)  # fmt: skip
WITHOUT_RETRIES = ("ExampleGen", "RetrainingGate", "DataGate", "DriftGate")
FULL_TABLE: dict[str, Any] = {
    "cpu_request": "500m",
    "memory_request": "2Gi",
    "cpu_limit": 2,
    "memory_limit": "4G",
    "env": {"AWS_REGION": "eu-central-1", "S3_USE_HTTPS": 1},
    "retries": 2,
    "node_selector": {"pool": "train"},
    "tolerations": [
        {"key": "dedicated", "value": "graft", "effect": "NoExecute", "seconds": 300},
        {"operator": "Exists"},
    ],
    "volume_claims": [
        {"name": "photos", "mount_path": "/data"},
        {"name": "photos", "mount_path": "/again"},
        {"name": "stores", "mount_path": "/stores"},
    ],
    "secrets": [
        {"name": "bucket", "env": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}},
        {"name": "certificate", "mount_path": "/certificate", "optional": True},
        {"name": "both", "env": {"TOKEN": "token"}, "mount_path": "/both"},
    ],
    "config_maps": [
        {"name": "settings", "mount_path": "/settings"},
        {"name": "store", "env": {"S3_ENDPOINT": "endpoint"}, "optional": True},
    ],
    "image_pull_policy": "IfNotPresent",
    "image_pull_secrets": ["registry", "mirror"],
    "labels": {"team": "vision", "example.com/cost": "7"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "scratch": {"size": "20Gi", "medium": "Memory", "mount_path": "/big"},
    "tasks": {
        "Trainer": {
            "memory_request": "4Gi",
            "memory_limit": "16Gi",
            "accelerator": "nvidia.com/gpu",
            "accelerator_count": 2,
            "env": {"AWS_REGION": "us-east-1", "NCCL_DEBUG": "INFO"},
            "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "retries": 0,
        },
        "Pusher": {"retries": 1},
    },
}
EPHEMERAL = {"scratch": {"size": "5G", "volume": "ephemeral", "storage_class": "fast"}}
EPHEMERAL_BY_DEFAULT = {"scratch": {"size": "5G", "volume": "ephemeral"}}
TABLES = {"full": FULL_TABLE, "ephemeral": EPHEMERAL, "ephemeral_by_default": EPHEMERAL_BY_DEFAULT}


def write_with_kfp(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Compiles a pipeline with a task for each of Graft's.

    Returns:
        By task: "container" with resources and env, "retryPolicy", and "kubernetes", as kfp writes them.
    """
    from kfp import compiler, dsl

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "pods.yaml")

        @dsl.pipeline(name="pods")
        def pods() -> None:
            for name in TASKS:
                configure(_make_component(name)(), name, table)

        compiler.Compiler().compile(pods, str(path))
        spec, *rest = yaml.safe_load_all(path.read_text())
    platform = rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if rest else {}
    return {name: _pick(spec, platform, name.lower()) for name in TASKS}


def _make_component(name: str) -> Any:
    from kfp import dsl

    def component():
        return dsl.ContainerSpec(image="image", command=["true"])

    component.__name__ = name.lower()
    return dsl.container_component(component)


def _pick(spec: Any, platform: Any, label: str) -> dict[str, Any]:
    container = spec["deploymentSpec"]["executors"][f"exec-{label}"]["container"]
    resources = container.get("resources", {})
    for part in (resources, resources.get("accelerator", {})):
        for duplicate in [field for field in part if field.startswith("resource")]:
            del part[duplicate]
    return {
        "container": {field: container[field] for field in ("resources", "env") if container.get(field)},
        "retryPolicy": spec["root"]["dag"]["tasks"][label].get("retryPolicy", {}),
        "kubernetes": platform.get(f"exec-{label}", {}),
    }


def configure(task: Any, name: str, table: dict[str, Any]) -> None:
    """Tells kfp's task what the table says of it."""
    from kfp import kubernetes

    own = table.get("tasks", {}).get(name, {})
    _set_resources(task, {**table, **own})
    scratch = table.get("scratch", {})
    variables = {**table.get("env", {}), **own.get("env", {})}
    if scratch:
        variables["TMPDIR"] = scratch.get("mount_path", "/scratch")
    for variable, value in variables.items():
        task.set_env_variable(variable, str(value))
    retries = own.get("retries", table.get("retries", 0))
    if retries and name not in WITHOUT_RETRIES:
        task.set_retry(retries, "60s", 2.0, "3600s")
    for label, value in {**table.get("node_selector", {}), **own.get("node_selector", {})}.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in [*table.get("tolerations", []), *own.get("tolerations", [])]:
        words = {"operator": "Equal", **toleration}
        words["toleration_seconds"] = words.pop("seconds", None)
        kubernetes.add_toleration(task, **words)
    _add_volumes(task, table)
    if policy := table.get("image_pull_policy"):
        kubernetes.set_image_pull_policy(task, policy)
    if names := table.get("image_pull_secrets"):
        kubernetes.set_image_pull_secrets(task, names)
    for label, value in table.get("labels", {}).items():
        kubernetes.add_pod_label(task, label, value)
    for annotation, value in table.get("annotations", {}).items():
        kubernetes.add_pod_annotation(task, annotation, value)


def _set_resources(task: Any, table: dict[str, Any]) -> None:
    if "cpu_request" in table:
        task.set_cpu_request(str(table["cpu_request"]))
        task.set_memory_request(table["memory_request"])
        task.set_cpu_limit(str(table["cpu_limit"]))
        task.set_memory_limit(table["memory_limit"])
    if "accelerator" in table:
        task.set_accelerator_type(table["accelerator"])
        task.set_accelerator_limit(table["accelerator_count"])


def _add_volumes(task: Any, table: dict[str, Any]) -> None:
    from kfp import kubernetes

    for claim in table.get("volume_claims", []):
        kubernetes.mount_pvc(task, claim["name"], claim["mount_path"])
    for kind in ("secret", "config_map"):
        for source in table.get(f"{kind}s", []):
            name, optional = source["name"], source.get("optional", False)
            if "env" in source:
                keys = {key: variable for variable, key in source["env"].items()}
                getattr(kubernetes, f"use_{kind}_as_env")(task, name, keys, optional)
            if "mount_path" in source:
                getattr(kubernetes, f"use_{kind}_as_volume")(task, name, source["mount_path"], optional)
    if scratch := table.get("scratch"):
        path = scratch.get("mount_path", "/scratch")
        if scratch.get("volume") == "ephemeral":
            kubernetes.add_ephemeral_volume(
                task, "graft-scratch", path, ["ReadWriteOnce"], scratch["size"], scratch.get("storage_class")
            )
        else:
            kubernetes.empty_dir_mount(task, "graft-scratch", path, scratch.get("medium"), scratch["size"])


if __name__ == "__main__":
    written = {name: write_with_kfp(table) for name, table in TABLES.items()}
    pathlib.Path(sys.argv[1]).write_text(json.dumps(written, sort_keys=True) + "\n")
