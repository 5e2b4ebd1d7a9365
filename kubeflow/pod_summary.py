"""Describes the pods of a compiled spec, for `--dry-run`: a line for each task."""

from collections.abc import Iterator, Mapping
from typing import Any

from kubeflow.resources import list_executors
from pipeline.config.quantities import render_cores, render_size

_NUMBERS = {"cpuRequest": "cpu", "memoryRequest": "memory", "cpuLimit": "cpu limit", "memoryLimit": "memory limit"}


def describe_pods(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> list[str]:
    """Returns a line for what all tasks have, and one for each task; values of variables are not shown.

    Args:
        spec: the first document, a PipelineSpec.
        platform: the second document, a PlatformSpec; {} if there is none.
    """
    try:
        tasks = {task: list(_describe_task(spec, platform, task)) for task in spec["root"]["dag"]["tasks"]}
    except (AttributeError, KeyError, TypeError):  # the API server says what is wrong with a file of other tools
        return ["not as ./graft kubeflow compile writes them"]
    alike = [part for part in next(iter(tasks.values()), []) if all(part in parts for parts in tasks.values())]
    own = {task: [part for part in parts if part not in alike] for task, parts in tasks.items()}
    lines = {"all tasks": alike} | own
    return [f"{name}: {', '.join(parts)}" for name, parts in lines.items() if parts]


def _describe_task(spec: Mapping[str, Any], platform: Mapping[str, Any], task: str) -> Iterator[str]:
    executor = list_executors(spec)[task]
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}
    yield from _describe_container(spec["deploymentSpec"]["executors"][executor]["container"])
    yield from _describe_config(configs.get(executor, {}))
    if retries := spec["root"]["dag"]["tasks"][task].get("retryPolicy", {}).get("maxRetryCount"):
        yield f"retries {retries}"


def _describe_container(container: Mapping[str, Any]) -> Iterator[str]:
    resources = container.get("resources", {})
    for field, name in _NUMBERS.items():
        if value := resources.get(field):
            yield f"{name} {render_cores(value) if 'cpu' in name else render_size(round(value * 10**9))}"
    if accelerator := resources.get("accelerator"):
        yield f"{accelerator['type']} {accelerator['count']}"
    if variables := [variable["name"] for variable in container.get("env", [])]:
        yield f"variables {' '.join(variables)}"


def _describe_config(config: Mapping[str, Any]) -> Iterator[str]:
    for mount in config.get("pvcMount", []):
        yield f"claim {_find_name(mount, 'constant', 'pvcNameParameter')} at {mount['mountPath']}"
    for word, kind in (("secret", "secret"), ("config map", "configMap")):
        for source in config.get(f"{kind}AsEnv", []):
            name = _find_name(source, f"{kind}Name", f"{kind}NameParameter")
            yield f"{word} {name} as {' '.join(key['envVar'] for key in source['keyToEnv'])}"
        for source in config.get(f"{kind}AsVolume", []):
            yield f"{word} {_find_name(source, f'{kind}Name', f'{kind}NameParameter')} at {source['mountPath']}"
    for scratch in config.get("emptyDirMounts", []):
        yield f"scratch of {scratch['sizeLimit']} at {scratch['mountPath']}"
    for scratch in config.get("genericEphemeralVolume", []):
        yield f"scratch of {scratch['size']} at {scratch['mountPath']}"
    if labels := config.get("nodeSelector", {}).get("labels"):
        yield f"nodes with {' '.join(f'{name}={value}' for name, value in labels.items())}"
    for toleration in config.get("tolerations", []):
        yield f"tolerates {toleration.get('key', 'all taints')}"
    if policy := config.get("imagePullPolicy"):
        yield f"image pulled {policy}"
    if secrets := [
        _find_name(secret, "secretName", "secretNameParameter") for secret in config.get("imagePullSecret", [])
    ]:
        yield f"pull secrets {' '.join(secrets)}"
    for word, metadata in config.get("podMetadata", {}).items():
        yield f"{word} {' '.join(f'{name}={value}' for name, value in metadata.items())}"


def _find_name(source: Mapping[str, Any], field: str, parameter: str) -> str:
    """Returns a name from its deprecated field, or from the constant that kfp writes beside it."""
    return str(source.get(field) or source[parameter]["runtimeValue"]["constant"])
