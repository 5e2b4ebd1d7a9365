"""The table `[kubeflow]` of graft.toml: resources, environment, volumes and placement of the pods on Kubeflow.

`read_pods.py` reads the table, `pod_checks.py` checks what several keys say together, and `kubeflow/platform.py` writes
the pods into the compiled file.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.config.quantities import parse_cores, parse_size

TASKS = (
    "ExampleGen", "RetrainingGate", "SchemaGen", "StatisticsGen", "ExampleValidator", "DataGate", "Transform",
    "Embedder", "DriftGate", "Trainer", "Evaluator", "ServingValidator", "Pusher",
)  # fmt: skip
SCRATCH = "graft-scratch"  # name of the scratch volume

_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_QUALIFIED = rf"({_NAME}/)?{_LABEL}"
_VARIABLE = r"[-._a-zA-Z][-._a-zA-Z0-9]*"
_FILE = r"[-._a-zA-Z0-9]{1,253}"  # key of a secret or a config map
_MOST_RETRIES = 10

_NAMES_EXPECTED = "a name in small letters, digits and -, such as photos"
_LABELS_EXPECTED = "a table of labels in letters, digits, -, _ and ."
_TEXTS_EXPECTED = "a table of texts, without {{ in them"
_PATH_EXPECTED = "an absolute path such as /data"


def _like(pattern: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"not like {pattern}")
        return text

    return check


def _no_template(text: str) -> str:
    """Refuses text that Kubeflow or Argo would replace."""
    if "{{" in text or "\0" in text:
        raise ValueError("a placeholder")
    return text


def _plain_path(path: str) -> str:
    parts = path.split("/")
    if not path.startswith("/") or ":" in path or any(part in ("", ".", "..") for part in parts[1:]):
        raise ValueError("not a plain absolute path")
    return _no_template(path)


def _to_text(value: Any) -> Any:
    """Accepts a number for a text; TOML has both."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


Cores = Annotated[float, BeforeValidator(parse_cores)]
Size = Annotated[int, BeforeValidator(parse_size)]
Name = Annotated[str, AfterValidator(_like(_NAME))]
Path = Annotated[str, AfterValidator(_plain_path)]
Qualified = Annotated[str, AfterValidator(_like(_QUALIFIED))]
Label = Annotated[str, BeforeValidator(_to_text), AfterValidator(_like(rf"({_LABEL})?"))]
Variable = Annotated[str, AfterValidator(_like(_VARIABLE))]
File = Annotated[str, AfterValidator(_like(_FILE))]
Text = Annotated[str, BeforeValidator(_to_text), AfterValidator(_no_template)]
Count = Annotated[int, Field(ge=0, le=64, strict=True)]


def _field(default: Any, description: str, expected: str, example: Any) -> Any:
    """Describes a key: effect, accepted values in words, and an example in TOML."""
    return Field(default, description=description, json_schema_extra={"expected": expected, "example": example})


class Part(pydantic.BaseModel):
    """Part of the table: frozen, without unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Toleration(Part):
    """Toleration of a taint of nodes."""

    key: Qualified | None = _field(None, "key of the taint; by default all", "the key of a taint", "nvidia.com/gpu")
    operator: Literal["Equal", "Exists"] = _field("Equal", "comparison of the value", "Equal or Exists", "Exists")
    value: Label | None = _field(None, "value of the taint", "the value of a taint", "present")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = _field(
        None, "effect of the taint; by default all", "NoSchedule, PreferNoSchedule or NoExecute", "NoSchedule"
    )
    seconds: Annotated[int, Field(ge=0, strict=True)] | None = _field(
        None, "how long a taint NoExecute is borne; by default for ever", "a whole number from 0", 300
    )


class TaskPods(Part):
    """Keys that hold for all tasks, in `[kubeflow]`, or for one, in `[kubeflow.tasks.NAME]`."""

    cpu_request: Cores | None = _field(
        None, "cores that a node must have free; by default what docs/kubeflow.md says", 'cores: 2, 0.5 or "500m"', 2
    )
    memory_request: Size | None = _field(
        None, "memory that a node must have free; by default what docs/kubeflow.md says", "a size such as 4Gi", "4Gi"
    )
    cpu_limit: Cores | None = _field(None, "cores at the most; by default no limit", 'cores: 2, 0.5 or "500m"', 4)
    memory_limit: Size | None = _field(
        None, "memory above which a pod is killed; by default no limit", "a size such as 4Gi", "8Gi"
    )
    accelerator: Annotated[str, AfterValidator(_like(rf"{_NAME}/{_LABEL}"))] | None = _field(
        None,
        "accelerator as the resource of a node; the model of a card is a node_selector",
        "the name of a resource such as nvidia.com/gpu",
        "nvidia.com/gpu",
    )
    accelerator_count: Count | None = _field(
        None, "number of accelerators, 1 by default; 0 for none", "a whole number from 0 to 64", 1
    )
    env: dict[Variable, Text] = _field({}, "environment variables", _TEXTS_EXPECTED, {"AWS_REGION": "eu-central-1"})
    retries: Annotated[int, Field(ge=0, le=_MOST_RETRIES, strict=True)] | None = _field(
        None,
        "how often a failed task is started anew; 0 by default, and always for ExampleGen and the gates",
        f"a whole number from 0 to {_MOST_RETRIES}",
        1,
    )
    node_selector: dict[Qualified, Label] = _field(
        {}, "labels that a node must have", _LABELS_EXPECTED, {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    )
    tolerations: tuple[Toleration, ...] = _field(
        (),
        "taints of nodes that are borne: key, operator, value, effect, seconds",
        "a list of tables",
        [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    )


class VolumeClaim(Part):
    """Persistent volume claim in the pods."""

    name: Name = _field(..., "name of the claim", _NAMES_EXPECTED, "photos")
    mount_path: Path = _field(..., "folder of the pods", _PATH_EXPECTED, "/data")


class Source(Part):
    """Secret or config map as environment variables or as a folder of files."""

    name: Name = _field(..., "name of the secret or config map", _NAMES_EXPECTED, "bucket")
    env: dict[Variable, File] = _field(
        {}, "key for each variable", "a table of keys by variable", {"AWS_ACCESS_KEY_ID": "access-key"}
    )
    mount_path: Path | None = _field(None, "folder with a file for each key", _PATH_EXPECTED, "/secrets/bucket")
    optional: pydantic.StrictBool = _field(False, "whether it may be missing", "true or false", True)


class Scratch(Part):
    """Empty volume of each pod for temporary files."""

    size: Size = _field(..., "size", "a size such as 20Gi", "20Gi")
    mount_path: Path = _field("/scratch", "folder of the pods", _PATH_EXPECTED, "/scratch")
    volume: Literal["emptyDir", "ephemeral"] = _field(
        "emptyDir", "on the node's disk, or a claim of its own for each pod", "emptyDir or ephemeral", "ephemeral"
    )
    medium: Literal["Memory"] | None = _field(None, "Memory for an emptyDir in memory", "Memory", "Memory")
    storage_class: Name | None = _field(
        None, "storage class of an ephemeral volume; by default the cluster's", _NAMES_EXPECTED, "fast"
    )


class Pods(TaskPods):
    """The table `[kubeflow]`."""

    volume_claims: tuple[VolumeClaim, ...] = _field(
        (), "volume claims: name, mount_path", "a list of tables", [{"name": "photos", "mount_path": "/data"}]
    )
    secrets: tuple[Source, ...] = _field(
        (),
        "secrets: name, env (key by variable), mount_path, optional",
        "a list of tables",
        [{"name": "bucket", "env": {"AWS_ACCESS_KEY_ID": "access-key"}}],
    )
    config_maps: tuple[Source, ...] = _field(
        (), "config maps, likewise", "a list of tables", [{"name": "settings", "mount_path": "/settings"}]
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = _field(
        None, "when a node fetches the image", "Always, IfNotPresent or Never", "Always"
    )
    image_pull_secrets: tuple[Name, ...] = _field(
        (), "secrets of the registry", "a list of names of secrets", ["registry"]
    )
    labels: dict[Qualified, Label] = _field({}, "labels of the pods", _LABELS_EXPECTED, {"team": "vision"})
    annotations: dict[Qualified, Text] = _field(
        {}, "annotations of the pods", _TEXTS_EXPECTED, {"sidecar.istio.io/inject": "false"}
    )
    scratch: Scratch | None = _field(
        None,
        "an empty volume for temporary files, TMPDIR: size, mount_path, volume, medium, storage_class",
        "a table",
        {"size": "20Gi"},
    )
    tasks: dict[Literal[TASKS], TaskPods] = _field(  # type: ignore[valid-type]
        {},
        "the keys from cpu_request to tolerations for one task: [kubeflow.tasks.Trainer]; tables are merged, "
        "tolerations added",
        "a table by task",
        {"Trainer": {"memory_request": "8Gi"}},
    )

    def find_task(self, task: str) -> TaskPods:
        """Returns the keys of a task: its own, else those for all tasks; tables and tolerations of both."""
        own: TaskPods = self.tasks.get(task, TaskPods())
        merged = {name: getattr(self, name) for name in TaskPods.model_fields}
        for name, value in own:
            if isinstance(value, dict):
                merged[name] = merged[name] | value
            elif isinstance(value, tuple):
                merged[name] = merged[name] + value
            elif value is not None:
                merged[name] = value
        return TaskPods.model_construct(**merged)

    def list_unmounted(self, paths: Sequence[str]) -> list[str]:
        """Returns the absolute paths that lie in no volume claim: a pod has there what its image has."""
        folders = tuple(f"{claim.mount_path}/" for claim in self.volume_claims)
        return [path for path in paths if path.startswith("/") and not f"{path}/".startswith(folders)]

    def list_mounts(self) -> list[tuple[str, str, str]]:
        """Lists the volumes of a pod: key of the table, name of the volume, path."""
        mounts = [("volume_claims", claim.name, claim.mount_path) for claim in self.volume_claims]
        for table, sources in (("secrets", self.secrets), ("config_maps", self.config_maps)):
            mounts += [(table, source.name, source.mount_path) for source in sources if source.mount_path]
        return mounts + ([("scratch", SCRATCH, self.scratch.mount_path)] if self.scratch else [])
