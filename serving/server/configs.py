"""TensorFlow Serving's configuration files, which are text protobufs, for the built-in server that takes its flags."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UsageError

_PLATFORM = "tensorflow"
# As TensorFlow's io::ParseURI takes it apart.
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")
# As TensorFlow's shared_batch_scheduler.h; it takes max_enqueued_batches 0 for 1 without a word, here it is refused.
_LEAST = {
    "max_batch_size": 1,
    "batch_timeout_micros": 0,
    "max_enqueued_batches": 1,
    "num_batch_threads": 1,
    "max_execution_batch_size": 1,
}


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are put together; the defaults are TensorFlow's SharedBatchScheduler's.

    Attributes:
        max_batch_size: images that one request may hold, and without splitting one batch, too.
        batch_timeout_micros: how long the first request of a batch waits for others, in microseconds.
        max_enqueued_batches: batches that may wait; what comes then is turned away.
        num_batch_threads: batches that are computed at the same time.
        thread_pool_name: for the threads' names.
        allowed_batch_sizes: sizes that a batch is filled up to, increasing; any size if empty.
        pad_variable_length_inputs: fill up inputs of different lengths.
        enable_large_batch_splitting: split a request that is larger than a batch.
        max_execution_batch_size: images in a batch, with splitting; by default max_batch_size.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    # The processors that this process may use, as TensorFlow's port::MaxParallelism.
    num_batch_threads: int = dataclasses.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    @property
    def execution_batch_size(self) -> int:
        """The most images that are computed at once; max_execution_batch_size counts with splitting alone."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """Whether metrics are served, and where.

    Attributes:
        enable: serve them.
        path: on the REST port.
    """

    enable: bool = False
    path: str = "/monitoring/prometheus/metrics"


def read_model_config(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads what `--model_config_file` names.

    Raises:
        UsageError: if it cannot be read or parsed, or `check_model_config` refuses it.
    """
    config = _parse(path, model_server_config_pb2.ModelServerConfig())
    try:
        check_model_config(config)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return config


def check_model_config(config: model_server_config_pb2.ModelServerConfig) -> None:
    """Refuses a configuration that TensorFlow Serving would not start with. It does start without any model.

    Raises:
        UsageError: if a model has no name or one that another has, a relative base_path, or another platform. In the
            words of TensorFlow Serving's server_core.cc, where it has any.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise UsageError("ModelServer does not yet support custom model config. Write a model_config_list.")
    names: set[str] = set()
    for model in config.model_config_list.config:
        _check_model(model)
        if model.name in names:
            raise UsageError(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)


def read_batching_parameters(path: str) -> Batching:
    """Reads what `--batching_parameters_file` names.

    Raises:
        UsageError: if it cannot be read or parsed, or a value is out of range.
    """
    message = _parse(path, _BatchingParameters())
    wrapped = [field.name for field in message.DESCRIPTOR.fields if field.message_type and message.HasField(field.name)]
    batching = Batching(
        **{name: getattr(message, name).value for name in wrapped},
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )
    problem = _find_problem(batching)
    if problem:
        raise UsageError(f"{path}: {problem}")
    return batching


def read_monitoring_config(path: str) -> Monitoring:
    """Reads what `--monitoring_config_file` names.

    Raises:
        UsageError: if it cannot be read or parsed, or the path for the metrics is none.
    """
    prometheus = _parse(path, _MonitoringConfig()).prometheus_config
    monitoring = Monitoring(prometheus.enable, prometheus.path or Monitoring.path)
    if not monitoring.path.startswith("/"):
        raise UsageError(f"{path}: prometheus_config.path: expected to begin with /, got {monitoring.path!r}")
    return monitoring


def _parse(path: str, message: Any) -> Any:
    """Fills a message from a file, as strictly as TensorFlow Serving's ParseProtoTextFile."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}. Expected a file with a text protobuf.") from error
    try:
        return text_format.Parse(content.decode("utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        # The first half is ParseProtoTextFile's, the second protobuf's text_format.cc's, which writes it to the log.
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
    """The platform, also of a configuration from before there was `model_platform`."""
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


def _find_problem(batching: Batching) -> str:
    """What is out of range, what was expected and what came; "" if nothing is."""
    for name, least in _LEAST.items():
        value = getattr(batching, name)
        if value is not None and value < least:
            return f"{name}: expected {least} or more, got {value}"
    if batching.execution_batch_size > batching.max_batch_size:
        return (
            f"max_execution_batch_size: expected max_batch_size {batching.max_batch_size} or less, "
            f"got {batching.execution_batch_size}"
        )
    return _find_problem_of_sizes(batching.allowed_batch_sizes, batching.max_batch_size)


def _find_problem_of_sizes(sizes: Sequence[int], largest: int) -> str:
    """As TensorFlow Serving's batching_session.cc and bundle_factory_util.h."""
    if not sizes:
        return ""
    if any(low >= high for low, high in zip((0, *sizes), sizes, strict=False)):
        return f"allowed_batch_sizes: expected numbers above 0 that increase, got {list(sizes)}"
    if sizes[-1] != largest:
        return f"allowed_batch_sizes: expected the last to be max_batch_size {largest}, got {sizes[-1]}"
    return ""


# What follows describes two messages to protobuf, for tensorflow-serving-api has no modules for them.

_Field = descriptor_pb2.FieldDescriptorProto
_INT64 = ".google.protobuf.Int64Value"
_BOOL = ".google.protobuf.BoolValue"
_STRING = ".google.protobuf.StringValue"


def _describe_field(
    name: str, number: int, kind: "int | str", repeated: bool = False
) -> descriptor_pb2.FieldDescriptorProto:
    """A field of a scalar type, or of the message type that `kind` names."""
    field = _Field(name=name, number=number, label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL)
    if isinstance(kind, str):
        field.type, field.type_name = _Field.TYPE_MESSAGE, kind
    else:
        field.type = kind
    return field


def _describe_batching() -> descriptor_pb2.FileDescriptorProto:
    """tensorflow_serving/servables/tensorflow/session_bundle_config.proto, of which this is one message."""
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
    """tensorflow_serving/config/monitoring_config.proto."""
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
    """BatchingParameters and MonitoringConfig.

    In a pool of their own: in the common one they would clash with a module that defines them after all.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    for file in (_describe_batching(), _describe_monitoring()):
        pool.AddSerializedFile(file.SerializeToString())
    batching = _make_class(pool, "tensorflow.serving.BatchingParameters")
    return batching, _make_class(pool, "tensorflow.serving.MonitoringConfig")


_BatchingParameters, _MonitoringConfig = _make_classes()
