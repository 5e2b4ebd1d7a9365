"""Checks of the table `[kubeflow]` that take several keys, or what Kubeflow puts into each pod itself.

The volumes and folders of a pod are those of backend/src/v2/compiler/argocompiler/container.go of kubeflow/pipelines;
its driver/k8s.go names a volume after the claim, the secret or the config map that it shows.
"""

import re
from collections.abc import Iterator

from pipeline.config.pods import TASKS, Pods, TaskPods
from pipeline.config.quantities import render_cores, render_size

ANSWERS = ("ExampleGen", "RetrainingGate", "DataGate", "DriftGate")  # tasks whose failure is an answer
_VOLUMES = {
    "kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch", "dot-local-scratch", "dot-cache-scratch",
    "dot-config-scratch", "ca-bundle", "kfp-workspace", "var-run-argo", "tmp-dir-argo",
}  # fmt: skip
# Folders that a mount may neither be, nor lie in, nor hold.
_FOLDERS = (
    "/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config", "/kfp", "/kfp-launcher", "/kfp-workspace", "/argo",
    "/var/run/argo", "/opt/graft", "/proc", "/sys", "/dev", "/bin", "/lib", "/usr",
)  # fmt: skip
# Folders that a mount may lie in.
_HOLDERS = ("/etc", "/home/graft", "/home/graft/work", "/tmp", "/var/run")  # noqa: S108  (the pods')
_OWN_LABELS = ("pipelines.kubeflow.org", "workflows.argoproj.io")
_OWN_VARIABLES = ("TMPDIR",)
_LAUNCHER_VARIABLES = re.compile(r"KFP_.*|NAMESPACE|ML_PIPELINE_.*|METADATA_.*|GRAFT_LAUNCHER_ROOT")
_VOLUME_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def list_problems(pods: Pods) -> list[str]:
    """Lists what no pod can have, each with the key and the reason."""
    problems = [*_check_names(pods), *_check_paths(pods), *_check_sources(pods), *_check_metadata(pods)]
    problems += [*_check_scratch(pods), *_check_task("", pods, pods)]
    for task in TASKS:
        own = pods.tasks.get(task, TaskPods())
        problems += [*_check_task(f"tasks.{task}.", own, pods.find_task(task)), *_check_variables(task, own, pods)]
        if task in ANSWERS and own.retries:
            problems.append(
                f"tasks.{task}.retries: expected 0: a failure of {task} is its answer, which a second try repeats."
            )
    return list(dict.fromkeys(problems))


def _check_names(pods: Pods) -> Iterator[str]:
    kinds: dict[str, str] = {}
    for table, name, _ in pods.list_mounts():
        if name in _VOLUMES:
            yield f"{table}: {name} is the name of a volume that Kubeflow puts into each pod. Give it another name."
        if not _VOLUME_NAME.fullmatch(name):
            yield (
                f"{table}: {name}: Kubeflow names the volume like it, and the name of a volume has at most 63 small "
                "letters, digits and -. Give it another name."
            )
        if kinds.setdefault(name, table) != table:
            yield (
                f"{table}: {name} is mounted from {kinds[name]}, too: Kubeflow names both volumes {name}, and a pod "
                "may not have two of one name. Give one another name."
            )


def _check_paths(pods: Pods) -> Iterator[str]:
    taken: set[str] = set()
    for table, name, path in pods.list_mounts():
        if path in taken:
            yield f"{table}: {name}: {path} is mounted twice. Name another mount_path."
        taken.add(path)
        held = [f for f in _FOLDERS if _is_in(path, f) or _is_in(f, path)]
        held += [f for f in _HOLDERS if _is_in(f, path)]
        if held:
            yield f"{table}: {name}: {path} would hide {held[0]} of the pod. Name another mount_path."


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _check_sources(pods: Pods) -> Iterator[str]:
    for table, sources in (("secrets", pods.secrets), ("config_maps", pods.config_maps)):
        for source in sources:
            if not (source.env or source.mount_path):
                yield f"{table}: {source.name}: expected env or mount_path, else nothing of it is in the pod."


def _check_metadata(pods: Pods) -> Iterator[str]:
    for table, metadata in (("labels", pods.labels), ("annotations", pods.annotations)):
        for name in metadata:
            if name.partition("/")[0].endswith(_OWN_LABELS):
                yield f"{table}: {name} belongs to Kubeflow, which sets it itself. Choose another key."


def _check_scratch(pods: Pods) -> Iterator[str]:
    scratch = pods.scratch
    if scratch and scratch.volume == "ephemeral" and scratch.medium:
        yield "scratch.medium: an ephemeral volume has none. Leave it out, or use volume = emptyDir."
    if scratch and scratch.volume == "emptyDir" and scratch.storage_class:
        yield "scratch.storage_class: an emptyDir has none. Leave it out, or use volume = ephemeral."


def _check_task(prefix: str, own: TaskPods, task: TaskPods) -> Iterator[str]:
    """Checks the keys of a task, of which at least one is its own."""
    if own.accelerator_count and not task.accelerator:
        yield f"{prefix}accelerator_count: expected accelerator with it, such as nvidia.com/gpu."
    for request, limit, render in (
        ("cpu_request", "cpu_limit", render_cores),
        ("memory_request", "memory_limit", render_size),
    ):
        wanted, most = getattr(task, request), getattr(task, limit)
        if wanted and most and wanted > most and (getattr(own, request) or getattr(own, limit)):
            yield (
                f"{prefix}{request}: {render(wanted)} is more than {limit}, {render(most)}. Lower the one or raise the "
                "other."
            )
    for toleration in own.tolerations:
        if toleration.operator == "Exists" and toleration.value:
            yield f"{prefix}tolerations: Exists takes no value; got {toleration.value}. Leave it out, or use Equal."
        if toleration.key is None and toleration.operator == "Equal":
            yield f"{prefix}tolerations: expected key, or operator = Exists for all taints."
        if toleration.seconds is not None and toleration.effect != "NoExecute":
            yield f"{prefix}tolerations: seconds needs effect = NoExecute."


def _check_variables(task: str, own: TaskPods, pods: Pods) -> Iterator[str]:
    """Checks the variables of a task, which come from env, secrets, config maps and the scratch volume."""
    from_sources = [
        (table, name)
        for table, sources in (("secrets", pods.secrets), ("config_maps", pods.config_maps))
        for source in sources
        for name in source.env
    ]
    named = [("env", name) for name in pods.env] + from_sources
    named += [(f"tasks.{task}.env", name) for name in own.env if name not in pods.env]
    owners: dict[str, str] = dict.fromkeys(_OWN_VARIABLES, "scratch") if pods.scratch else {}
    for table, name in named:
        if _LAUNCHER_VARIABLES.fullmatch(name):
            yield f"{table}: {name} is a variable that Kubeflow sets. Leave it out."
        if name in owners:
            yield f"{table}: {name} is set by {owners[name]}, too. Keep one."
        owners[name] = table
