"""Readers of TensorFlow Serving's configuration files, which are text protobufs."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UsageError
from serving.process.cores import count_cores

_PLATFORM = "tensorflow"
# Scheme of a URI, as in TensorFlow's io::ParseURI.
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")
# Lower bounds, as in TensorFlow's shared_batch_scheduler.h. TensorFlow silently reads max_enqueued_batches 0 as 1; this
# server refuses it.
_MINIMUM = {
    "max_batch_size": 1,
    "batch_timeout_micros": 0,
    "max_enqueued_batches": 1,
    "num_batch_threads": 1,
    "max_execution_batch_size": 1,
}


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """Parameters of dynamic batching; the defaults are those of TensorFlow's SharedBatchScheduler.

    Attributes:
        max_batch_size: maximum rows of a request and, without splitting, of a batch.
        batch_timeout_micros: time that the first request of a batch waits for others, in microseconds.
        max_enqueued_batches: maximum number of batches in a queue; further requests are refused.
        num_batch_threads: number of batches that are computed at the same time.
        thread_pool_name: read and ignored.
        allowed_batch_sizes: increasing sizes that a batch is padded to; any size if empty.
        pad_variable_length_inputs: read and ignored with a warning; inputs of other shapes are other batches.
        enable_large_batch_splitting: whether a request that is larger than a batch is split.
        max_execution_batch_size: maximum rows of a batch, with splitting; None for max_batch_size.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    # As TensorFlow's port::MaxParallelism, which does not know the CPU limit of a container.
    num_batch_threads: int = dataclasses.field(default_factory=count_cores)
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    @property
    def execution_batch_size(self) -> int:
        """Maximum rows of a batch; max_execution_batch_size counts only with splitting."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size


@dataclasses.dataclass(frozen=True)
class MonitoringConfig:
    """Settings of the metrics page for Prometheus.

    Attributes:
        enable: whether the page is served.
        path: path of the page on the REST port.
    """

    enable: bool = False
    path: str = "/monitoring/prometheus/metrics"


def read_model_config(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads the file of `--model_config_file`.

    Raises:
        UsageError: if the file cannot be read or parsed, or `check_model_config` refuses its content.
    """
    config = _parse(path, model_server_config_pb2.ModelServerConfig())
    try:
        check_model_config(config)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return config


def check_model_config(config: model_server_config_pb2.ModelServerConfig) -> None:
    """Refuses a configuration that TensorFlow Serving would not start with.

    A configuration without any model is valid, as in TensorFlow Serving. The messages are those of TensorFlow Serving's
    server_core.cc where it has one.

    Raises:
        UsageError: if a model has no name, the name of another model, a relative base_path, or another platform.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise UsageError("ModelServer does not yet support custom model config. Write a model_config_list.")
    names: set[str] = set()
    for model in config.model_config_list.config:
        _check_model(model)
        if model.name in names:
            raise UsageError(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)


def read_batching_parameters(path: str) -> BatchingParameters:
    """Reads the file of `--batching_parameters_file`.

    Raises:
        UsageError: if the file cannot be read or parsed, or a value is out of range.
    """
    message = _parse(path, _BatchingMessage())
    wrapped = [field.name for field in message.DESCRIPTOR.fields if field.message_type and message.HasField(field.name)]
    batching = BatchingParameters(
        **{name: getattr(message, name).value for name in wrapped},
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )
    problem = _find_problem(batching)
    if problem:
        raise UsageError(f"{path}: {problem}")
    return batching


def read_monitoring_config(path: str) -> MonitoringConfig:
    """Reads the file of `--monitoring_config_file`.

    Raises:
        UsageError: if the file cannot be read or parsed, or the path of the metrics does not begin with "/".
    """
    prometheus = _parse(path, _MonitoringMessage()).prometheus_config
    monitoring = MonitoringConfig(prometheus.enable, prometheus.path or MonitoringConfig.path)
    if not monitoring.path.startswith("/"):
        raise UsageError(f"{path}: prometheus_config.path: expected to begin with /, got {monitoring.path!r}")
    return monitoring


def _parse(path: str, message: Any) -> Any:
    """Parses a text protobuf file into a message, as strictly as TensorFlow Serving's ParseProtoTextFile."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}. Expected a file with a text protobuf.") from error
    try:
        return text_format.Parse(content.decode("utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        # The first half of the message is ParseProtoTextFile's; text_format.cc of protobuf logs the second half.
        kind = message.DESCRIPTOR.full_name
        raise UsageError(f"Invalid protobuf file: '{path}': Error parsing text-format {kind}: {error}") from error


def _check_model(model: model_server_config_pb2.ModelConfig) -> None:
    if not model.name:
        raise UsageError(f"Expected each model to have a name; got none for base_path {model.base_path!r}.")
    if not (_URI.match(model.base_path) or os.path.isabs(model.base_path)):
        raise UsageError(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
        )
    platform = _read_platform(model)
    if platform != _PLATFORM:
        raise UsageError(f"Model {model.name} requests unsupported platform {platform}. Expected {_PLATFORM}.")


def _read_platform(model: model_server_config_pb2.ModelConfig) -> str:
    """Returns the platform of a model, from `model_platform` or the deprecated `model_type`."""
    if model.model_type == model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if not model.model_platform:
            raise UsageError(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f'ModelServerConfig::model_platform. Write model_platform: "{_PLATFORM}" for model {model.name}.'
            )
        return str(model.model_platform)
    if model.model_platform:
        raise UsageError(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform. "
            f"Keep model_platform of model {model.name}."
        )
    if model.model_type != model_server_config_pb2.TENSORFLOW:
        raise UsageError(f"ModelServerConfig::model_type choice {model.model_type} not supported. Expected TENSORFLOW.")
    return _PLATFORM


def _find_problem(batching: BatchingParameters) -> str:
    """Returns a message about the first value that is out of range; "" if all values are valid."""
    for name, minimum in _MINIMUM.items():
        value = getattr(batching, name)
        if value is not None and value < minimum:
            return f"{name}: expected {minimum} or more, got {value}"
    if batching.execution_batch_size > batching.max_batch_size:
        return (
            f"max_execution_batch_size: expected max_batch_size {batching.max_batch_size} or less, "
            f"got {batching.execution_batch_size}"
        )
    return _find_problem_of_sizes(batching.allowed_batch_sizes, batching.max_batch_size)


def _find_problem_of_sizes(sizes: Sequence[int], largest: int) -> str:
    """Returns a message about invalid batch sizes, by the rules of TensorFlow Serving's batching_session.cc; or ""."""
    if not sizes:
        return ""
    if any(low >= high for low, high in zip((0, *sizes), sizes, strict=False)):
        return f"allowed_batch_sizes: expected numbers above 0 that increase, got {list(sizes)}"
    if sizes[-1] != largest:
        return f"allowed_batch_sizes: expected the last to be max_batch_size {largest}, got {sizes[-1]}"
    return ""


# Descriptors of two protobuf messages: tensorflow-serving-api has no modules for them.

_Field = descriptor_pb2.FieldDescriptorProto
_INT64 = ".google.protobuf.Int64Value"
_BOOL = ".google.protobuf.BoolValue"
_STRING = ".google.protobuf.StringValue"


def _describe_field(
    name: str, number: int, kind: "int | str", repeated: bool = False
) -> descriptor_pb2.FieldDescriptorProto:
    """Describes a field; `kind` is the number of a scalar type or the name of a message type."""
    field = _Field(name=name, number=number, label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL)
    if isinstance(kind, str):
        field.type, field.type_name = _Field.TYPE_MESSAGE, kind
    else:
        field.type = kind
    return field


def _describe_batching() -> descriptor_pb2.FileDescriptorProto:
    """Describes the message BatchingParameters of servables/tensorflow/session_bundle_config.proto."""
    fields = [
        _describe_field("max_batch_size", 1, _INT64),
        _describe_field("batch_timeout_micros", 2, _INT64),
        _describe_field("max_enqueued_batches", 3, _INT64),
        _describe_field("num_batch_threads", 4, _INT64),
        _describe_field("thread_pool_name", 5, _STRING),
        _describe_field("allowed_batch_sizes", 6, _Field.TYPE_INT64, repeated=True),
        _describe_field("pad_variable_length_inputs", 7, _Field.TYPE_BOOL),
        _describe_field("enable_large_batch_splitting", 8, _BOOL),
        _describe_field("max_execution_batch_size", 9, _INT64),
    ]
    return descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/servables/tensorflow/session_bundle_config.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
        message_type=[descriptor_pb2.DescriptorProto(name="BatchingParameters", field=fields)],
    )


def _describe_monitoring() -> descriptor_pb2.FileDescriptorProto:
    """Describes the messages of tensorflow_serving/config/monitoring_config.proto."""
    prometheus = [_describe_field("enable", 1, _Field.TYPE_BOOL), _describe_field("path", 2, _Field.TYPE_STRING)]
    monitoring = [_describe_field("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")]
    return descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/config/monitoring_config.proto",
        package="tensorflow.serving",
        syntax="proto3",
        message_type=[
            descriptor_pb2.DescriptorProto(name="PrometheusConfig", field=prometheus),
            descriptor_pb2.DescriptorProto(name="MonitoringConfig", field=monitoring),
        ],
    )


def _make_class(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf before 4.22


def _make_classes() -> tuple[Any, Any]:
    """Makes the message classes BatchingParameters and MonitoringConfig.

    The classes have a descriptor pool of their own: in the default pool they would clash with a module that defines the
    same messages.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    for file in (_describe_batching(), _describe_monitoring()):
        pool.AddSerializedFile(file.SerializeToString())
    batching = _make_class(pool, "tensorflow.serving.BatchingParameters")
    return batching, _make_class(pool, "tensorflow.serving.MonitoringConfig")


_BatchingMessage, _MonitoringMessage = _make_classes()
