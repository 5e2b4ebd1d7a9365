"""Platform spec: the second document of a compiled file, with what Kubernetes adds to the pods.

The records are the messages of kubernetes_platform/proto/kubernetes_executor_config.proto of kubeflow/pipelines, as far
as the table `[kubeflow]` needs them. As kfp-kubernetes does, they hold a name twice: as a parameter, and in the
deprecated field that servers before 2.5 read.
"""

from collections.abc import Mapping
from typing import Any

import pydantic
from pydantic.alias_generators import to_camel
from typing_extensions import Self

from pipeline.config.pods import SCRATCH, Pods, Source, TaskPods
from pipeline.config.pods import Scratch as ScratchKeys
from pipeline.config.pods import Toleration as TolerationKeys
from pipeline.config.quantities import render_size


class _Message(pydantic.BaseModel):
    """Message of the proto; its JSON has names in camel case, and no field that is not set."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Constant(_Message):
    """Value of a parameter that is the same in each run."""

    constant: str


class Parameter(_Message):
    """Source of a value; always a constant here."""

    runtime_value: Constant

    @classmethod
    def of(cls, text: str) -> Self:
        """Returns the parameter of a text."""
        return cls(runtime_value=Constant(constant=text))


class PvcMount(_Message):
    """Volume claim in a folder."""

    mount_path: str
    constant: str
    pvc_name_parameter: Parameter


class SecretKey(_Message):
    """Key of a secret as a variable."""

    secret_key: str
    env_var: str


class SecretAsEnv(_Message):
    """Keys of a secret as variables."""

    secret_name: str
    key_to_env: tuple[SecretKey, ...]
    optional: bool
    secret_name_parameter: Parameter


class SecretAsVolume(_Message):
    """Secret as a folder of files."""

    secret_name: str
    mount_path: str
    optional: bool
    secret_name_parameter: Parameter


class ConfigMapKey(_Message):
    """Key of a config map as a variable."""

    config_map_key: str
    env_var: str


class ConfigMapAsEnv(_Message):
    """Keys of a config map as variables."""

    config_map_name: str
    key_to_env: tuple[ConfigMapKey, ...]
    optional: bool
    config_map_name_parameter: Parameter


class ConfigMapAsVolume(_Message):
    """Config map as a folder of files."""

    config_map_name: str
    mount_path: str
    optional: bool
    config_map_name_parameter: Parameter


class ImagePullSecret(_Message):
    """Secret of a registry."""

    secret_name: str
    secret_name_parameter: Parameter


class NodeSelector(_Message):
    """Labels that a node must have."""

    labels: dict[str, str]


class PodMetadata(_Message):
    """Labels and annotations of the pod."""

    labels: dict[str, str] | None
    annotations: dict[str, str] | None


class Toleration(_Message):
    """Taint that is borne; a 64-bit number is a text in the JSON of a proto."""

    key: str | None
    operator: str
    value: str | None
    effect: str | None
    toleration_seconds: str | None


class EmptyDirMount(_Message):
    """Empty folder on the disk or in the memory of the node."""

    volume_name: str
    mount_path: str
    medium: str | None
    size_limit: str


class GenericEphemeralVolume(_Message):
    """Claim that lives as long as the pod."""

    volume_name: str
    mount_path: str
    access_modes: tuple[str, ...]
    size: str
    default_storage_class: bool | None
    storage_class_name: str | None


class KubernetesExecutorConfig(_Message):
    """All that Kubernetes adds to the pods of a task."""

    pvc_mount: tuple[PvcMount, ...] | None
    secret_as_env: tuple[SecretAsEnv, ...] | None
    secret_as_volume: tuple[SecretAsVolume, ...] | None
    config_map_as_env: tuple[ConfigMapAsEnv, ...] | None
    config_map_as_volume: tuple[ConfigMapAsVolume, ...] | None
    node_selector: NodeSelector | None
    tolerations: tuple[Toleration, ...] | None
    image_pull_policy: str | None
    image_pull_secret: tuple[ImagePullSecret, ...] | None
    pod_metadata: PodMetadata | None
    empty_dir_mounts: tuple[EmptyDirMount, ...] | None
    generic_ephemeral_volume: tuple[GenericEphemeralVolume, ...] | None


def make_platform_spec(pods: Pods, executors: Mapping[str, str]) -> dict[str, Any] | None:
    """Makes the platform spec.

    Args:
        pods: the table `[kubeflow]`.
        executors: name of the executor in the pipeline spec, by task.
    Returns:
        A PlatformSpec, as JSON; None if Kubernetes adds nothing to any pod.
    """
    configs = {executor: _to_json(make_config(pods, task)) for task, executor in executors.items()}
    if not any(configs.values()):
        return None
    executors_with_config = {executor: config for executor, config in configs.items() if config}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors_with_config}}}}


def make_config(pods: Pods, task: str) -> KubernetesExecutorConfig:
    """Makes the record of a task's pods."""
    own = pods.find_task(task)
    metadata = PodMetadata(labels=pods.labels or None, annotations=pods.annotations or None)
    return KubernetesExecutorConfig(
        pvc_mount=_claims(pods) or None,
        secret_as_env=tuple(_secret_as_env(source) for source in pods.secrets if source.env) or None,
        secret_as_volume=tuple(_secret_as_volume(source) for source in pods.secrets if source.mount_path) or None,
        config_map_as_env=tuple(_config_map_as_env(source) for source in pods.config_maps if source.env) or None,
        config_map_as_volume=tuple(_config_map_as_volume(s) for s in pods.config_maps if s.mount_path) or None,
        node_selector=NodeSelector(labels=own.node_selector) if own.node_selector else None,
        tolerations=_tolerations(own) or None,
        image_pull_policy=pods.image_pull_policy,
        image_pull_secret=tuple(_pull_secret(name) for name in pods.image_pull_secrets) or None,
        pod_metadata=metadata if pods.labels or pods.annotations else None,
        empty_dir_mounts=_empty_dirs(pods.scratch) or None,
        generic_ephemeral_volume=_ephemeral_volumes(pods.scratch) or None,
    )


def _to_json(config: KubernetesExecutorConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True, exclude_none=True)


def _claims(pods: Pods) -> tuple[PvcMount, ...]:
    return tuple(
        PvcMount(mount_path=claim.mount_path, constant=claim.name, pvc_name_parameter=Parameter.of(claim.name))
        for claim in pods.volume_claims
    )


def _secret_as_env(source: Source) -> SecretAsEnv:
    keys = tuple(SecretKey(secret_key=key, env_var=variable) for variable, key in source.env.items())
    return SecretAsEnv(
        secret_name=source.name,
        key_to_env=keys,
        optional=source.optional,
        secret_name_parameter=Parameter.of(source.name),
    )


def _secret_as_volume(source: Source) -> SecretAsVolume:
    return SecretAsVolume(
        secret_name=source.name,
        mount_path=source.mount_path or "",
        optional=source.optional,
        secret_name_parameter=Parameter.of(source.name),
    )


def _config_map_as_env(source: Source) -> ConfigMapAsEnv:
    keys = tuple(ConfigMapKey(config_map_key=key, env_var=variable) for variable, key in source.env.items())
    return ConfigMapAsEnv(
        config_map_name=source.name,
        key_to_env=keys,
        optional=source.optional,
        config_map_name_parameter=Parameter.of(source.name),
    )


def _config_map_as_volume(source: Source) -> ConfigMapAsVolume:
    return ConfigMapAsVolume(
        config_map_name=source.name,
        mount_path=source.mount_path or "",
        optional=source.optional,
        config_map_name_parameter=Parameter.of(source.name),
    )


def _pull_secret(name: str) -> ImagePullSecret:
    return ImagePullSecret(secret_name=name, secret_name_parameter=Parameter.of(name))


def _tolerations(task: TaskPods) -> tuple[Toleration, ...]:
    return tuple(_toleration(keys) for keys in task.tolerations)


def _toleration(keys: TolerationKeys) -> Toleration:
    seconds = None if keys.seconds is None else str(keys.seconds)
    return Toleration(
        key=keys.key, operator=keys.operator, value=keys.value, effect=keys.effect, toleration_seconds=seconds
    )


def _empty_dirs(scratch: ScratchKeys | None) -> tuple[EmptyDirMount, ...]:
    if scratch is None or scratch.volume != "emptyDir":
        return ()
    size = render_size(scratch.size)
    return (EmptyDirMount(volume_name=SCRATCH, mount_path=scratch.mount_path, medium=scratch.medium, size_limit=size),)


def _ephemeral_volumes(scratch: ScratchKeys | None) -> tuple[GenericEphemeralVolume, ...]:
    if scratch is None or scratch.volume != "ephemeral":
        return ()
    return (
        GenericEphemeralVolume(
            volume_name=SCRATCH,
            mount_path=scratch.mount_path,
            access_modes=("ReadWriteOnce",),
            size=render_size(scratch.size),
            default_storage_class=True if scratch.storage_class is None else None,
            storage_class_name=scratch.storage_class,
        ),
    )
