"""Resources, variables and retries of the containers: what the pipeline spec itself says of the pods."""

from collections.abc import Mapping
from typing import Any

from pipeline.config.pod_checks import ANSWERS
from pipeline.config.pods import Pods, TaskPods
from pipeline.config.quantities import parse_size, to_gigabytes

# Memory that a task requests by default: the peak at 1,000 photographs and a tenth, rounded up to GiB; see
# benchmarks/README.md, "Memory of the pods". A task has one busy thread at least, and takes what else is free.
DEFAULT_MEMORY = {"Embedder": "2Gi", "Evaluator": "2Gi", "Trainer": "3Gi", "ServingValidator": "3Gi"}
MEMORY_OF_OTHERS = "1Gi"
DEFAULT_CORES = 1.0
# Wait before a retry, which doubles up to an hour in all.
_RETRY = {"backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": "3600s"}

Spec = dict[str, Any]


def write_pods(spec: Spec, pods: Pods) -> None:
    """Writes resources, variables and retries into a pipeline spec.

    Args:
        spec: PipelineSpec for Kubeflow; changed in place.
        pods: the table `[kubeflow]`.
    """
    for task, executor in list_executors(spec).items():
        container = spec["deploymentSpec"]["executors"][executor]["container"]
        own = pods.find_task(task)
        container["resources"] = make_resources(task, own)
        if variables := list_variables(pods, own):
            container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
        if own.retries and task not in ANSWERS:
            spec["root"]["dag"]["tasks"][task]["retryPolicy"] = {"maxRetryCount": own.retries, **_RETRY}


def list_executors(spec: Mapping[str, Any]) -> dict[str, str]:
    """Returns the name of each task's executor."""
    return {
        task: spec["components"][definition["componentRef"]["name"]]["executorLabel"]
        for task, definition in spec["root"]["dag"]["tasks"].items()
    }


def make_resources(task: str, keys: TaskPods) -> dict[str, Any]:
    """Makes the resources of a container in the number form, which all servers read: cores, and 10^9 bytes.

    A default request above the user's limit is lowered to the limit, because Kubernetes would refuse the pod.
    """
    cores = keys.cpu_request or DEFAULT_CORES
    memory = keys.memory_request or parse_size(DEFAULT_MEMORY.get(task, MEMORY_OF_OTHERS))
    resources: dict[str, Any] = {
        "cpuRequest": min(cores, keys.cpu_limit or cores),
        "memoryRequest": to_gigabytes(min(memory, keys.memory_limit or memory)),
    }
    if keys.cpu_limit:
        resources["cpuLimit"] = keys.cpu_limit
    if keys.memory_limit:
        resources["memoryLimit"] = to_gigabytes(keys.memory_limit)
    count = 1 if keys.accelerator_count is None else keys.accelerator_count
    if keys.accelerator and count:
        resources["accelerator"] = {"type": keys.accelerator, "count": str(count)}
    return resources


def list_variables(pods: Pods, keys: TaskPods) -> dict[str, str]:
    """Returns the variables of a container; TMPDIR is the scratch volume."""
    return dict(keys.env) | ({"TMPDIR": pods.scratch.mount_path} if pods.scratch else {})
