"""Text-protobuf files are read and refused as by TensorFlow Serving, with the same messages."""

import dataclasses

import pytest
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UsageError
from serving.process.cores import count_cores
from serving.server import configs

TWO_MODELS = """
model_config_list: {
  config: {
    name: "plus_two",
    base_path: "/models/plus_two",
    model_platform: "tensorflow"
  },
  config: {
    name: "plus_three",
    base_path: "gs://bucket/plus_three",
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 5 } }
    version_labels { key: "stable" value: 3 }
    version_labels { key: "canary" value: 5 }
  }
}
"""
OF_OLD = 'model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW } }'


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a file of text or bytes and returns its path."""

    def write_file(content):
        path = tmp_path / "some.config"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


def one_model(**fields):
    """Returns a valid configuration of one model, changed by the given fields."""
    config = model_server_config_pb2.ModelServerConfig()
    sound = {"name": "m", "base_path": "/models/m", "model_platform": "tensorflow"}
    config.model_config_list.config.add(**{**sound, **fields})
    return config


def test_models_are_read_with_policy_and_labels(write):
    """With the colons and commas that the real server's own examples have."""
    first, second = configs.read_model_config(write(TWO_MODELS)).model_config_list.config
    assert (first.name, first.base_path, first.model_platform) == ("plus_two", "/models/plus_two", "tensorflow")
    assert list(second.model_version_policy.specific.versions) == [3, 5]
    assert dict(second.version_labels) == {"stable": 3, "canary": 5}


def test_a_configuration_from_before_platforms_is_accepted(write):
    """`model_type: TENSORFLOW` is deprecated, not gone."""
    (model,) = configs.read_model_config(write(OF_OLD)).model_config_list.config
    assert (model.name, model.model_platform) == ("m", "")


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "model_config_list {}"])
def test_a_configuration_without_models_is_none_to_refuse(write, content):
    """The real server takes no action for it: models may come by a reload."""
    assert not configs.read_model_config(write(content)).model_config_list.config


READERS = {
    configs.read_model_config: "ModelServerConfig",
    configs.read_batching_parameters: "BatchingParameters",
    configs.read_monitoring_config: "MonitoringConfig",
}


@pytest.mark.parametrize(("read", "kind"), READERS.items())
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("this is no protobuf", "1:"),
        ("no_such_field: 1", "no_such_field"),
        ("\n\nno_such_field { value: 1 }", "3:1"),
        (b"\xff\xfe\x00", "utf-8"),
    ],
)
def test_what_does_not_parse_is_refused_in_the_real_servers_words(write, read, kind, content, reason):
    """The message goes on with the place and the fault."""
    path = write(content)
    with pytest.raises(UsageError) as caught:
        read(path)
    expected = f"Invalid protobuf file: '{path}': Error parsing text-format tensorflow.serving.{kind}: "
    assert str(caught.value).startswith(expected)
    assert reason in str(caught.value)


@pytest.mark.parametrize("read", READERS)
def test_a_missing_file_is_named(tmp_path, read):
    """It is not called an invalid one."""
    path = str(tmp_path / "nowhere.config")
    with pytest.raises(UsageError, match="No such file") as caught:
        read(path)
    assert path in str(caught.value)
    assert "Invalid" not in str(caught.value)


@pytest.mark.parametrize("read", READERS)
def test_a_folder_is_no_file(tmp_path, read):
    """A wrong mount makes a folder in place of the file."""
    with pytest.raises(UsageError, match="Is a directory"):
        read(str(tmp_path))


@pytest.mark.parametrize("base_path", ["/models/m", "gs://bucket/m", "s3://bucket/m", "file:///models/m", "hdfs://a/b"])
def test_a_base_path_is_absolute_or_a_uri(base_path):
    """As the real server tells them apart."""
    configs.check_model_config(one_model(base_path=base_path))


@pytest.mark.parametrize("base_path", ["", "models/m", "./m", "~/m", "C:\\models", "gs:/bucket", "1s://bucket"])
def test_a_relative_base_path_is_refused(base_path):
    """The base of a relative path is undefined."""
    with pytest.raises(UsageError) as caught:
        configs.check_model_config(one_model(base_path=base_path))
    assert str(caught.value) == f"Expected model m to have an absolute path or URI; got base_path()={base_path}"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "name"),
        ({"model_platform": "other"}, "Model m requests unsupported platform other"),
        ({"model_platform": ""}, "neither"),
        ({"model_type": 1}, "both"),
        ({"model_platform": "", "model_type": 2}, "choice 2 not supported"),
    ],
)
def test_a_model_that_the_real_server_could_not_serve_is_refused(fields, reason):
    """Without a name, or for another platform than TensorFlow."""
    with pytest.raises(UsageError, match=reason):
        configs.check_model_config(one_model(**fields))


def test_no_name_is_given_twice():
    """A request could not tell which is meant."""
    config = one_model()
    config.model_config_list.config.add(name="m", base_path="/elsewhere", model_platform="tensorflow")
    with pytest.raises(UsageError, match="Illegal to list model m multiple times"):
        configs.check_model_config(config)


def test_a_custom_model_config_is_refused():
    """The real server dies of it."""
    config = model_server_config_pb2.ModelServerConfig()
    config.custom_model_config.type_url = "type.googleapis.com/anything"
    with pytest.raises(UsageError, match="does not yet support custom model config"):
        configs.check_model_config(config)


def test_a_refused_model_config_names_the_file(write):
    """Where there is a file; a reload by gRPC has none."""
    path = write('model_config_list { config { name: "m" base_path: "m" model_platform: "tensorflow" } }')
    with pytest.raises(UsageError, match=r"to have an absolute path or URI; got base_path\(\)=m$") as caught:
        configs.read_model_config(path)
    assert str(caught.value).startswith(path)


def test_every_batching_parameter_is_read(write):
    """None is left at its default here, and all nine are in the file."""
    content = """
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 500 }
        max_enqueued_batches { value: 7 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: "mine" }
        allowed_batch_sizes: [16, 64]
        allowed_batch_sizes: 128
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 16 }
    """
    found = configs.read_batching_parameters(write(content))
    assert found == configs.BatchingParameters(128, 500, 7, 3, "mine", (16, 64, 128), True, True, 16)
    assert len(dataclasses.astuple(found)) == 9


def test_batching_defaults_are_the_real_servers(write):
    """An empty file is a valid one."""
    found = configs.read_batching_parameters(write(""))
    assert found == configs.BatchingParameters()
    assert (found.max_batch_size, found.batch_timeout_micros, found.max_enqueued_batches) == (1000, 0, 10)
    assert found.num_batch_threads == count_cores()
    assert found.allowed_batch_sizes == ()


def test_a_number_without_its_wrapper_is_refused(write):
    """A mistake that is often made, and that the real server does not forgive."""
    with pytest.raises(UsageError, match="Invalid protobuf file"):
        configs.read_batching_parameters(write("max_batch_size: 16"))


def test_a_value_given_twice_is_refused(write):
    """The real server's parser forbids it; otherwise the later would win unseen."""
    with pytest.raises(UsageError, match="Invalid protobuf file"):
        configs.read_batching_parameters(write("max_batch_size { value: 16 } max_batch_size { value: 32 }"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size: expected 1 or more, got 0"),
        ("max_batch_size { }", "max_batch_size: expected 1 or more, got 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros: expected 0 or more, got -1"),
        ("num_batch_threads { value: 0 }", "num_batch_threads: expected 1 or more, got 0"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches: expected 1 or more, got 0"),
        (
            "max_batch_size { value: 32 } allowed_batch_sizes: [8, 16]",
            "allowed_batch_sizes: expected the last to be max_batch_size 32, got 16",
        ),
        ("allowed_batch_sizes: [8, 16]", "allowed_batch_sizes: expected the last to be max_batch_size 1000, got 16"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [16, 8]",
            "allowed_batch_sizes: expected numbers above 0 that increase, got [16, 8]",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [8, 8]",
            "allowed_batch_sizes: expected numbers above 0 that increase, got [8, 8]",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [0, 8]",
            "allowed_batch_sizes: expected numbers above 0 that increase, got [0, 8]",
        ),
        (
            "max_batch_size { value: 8 } max_execution_batch_size { value: 9 } "
            "enable_large_batch_splitting { value: true }",
            "max_execution_batch_size: expected max_batch_size 8 or less, got 9",
        ),
    ],
)
def test_a_batching_value_out_of_range_is_refused(write, content, problem):
    """With the file, the field, what was expected and what came."""
    path = write(content)
    with pytest.raises(UsageError) as caught:
        configs.read_batching_parameters(path)
    assert str(caught.value) == f"{path}: {problem}"


def test_a_batch_is_as_large_as_a_request_may_be_unless_it_is_split():
    """max_execution_batch_size counts with enable_large_batch_splitting alone."""
    assert configs.BatchingParameters(128, max_execution_batch_size=16).execution_batch_size == 128
    assert configs.BatchingParameters(128, enable_large_batch_splitting=True).execution_batch_size == 128
    split = configs.BatchingParameters(128, enable_large_batch_splitting=True, max_execution_batch_size=16)
    assert split.execution_batch_size == 16


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", configs.MonitoringConfig(False, "/monitoring/prometheus/metrics")),
        ("prometheus_config { enable: true }", configs.MonitoringConfig(True, "/monitoring/prometheus/metrics")),
        ('prometheus_config: { enable: true, path: "/metrics" }', configs.MonitoringConfig(True, "/metrics")),
    ],
)
def test_metrics_are_off_unless_enabled(write, content, expected):
    """At the real server's path unless the file names another."""
    assert configs.read_monitoring_config(write(content)) == expected


def test_a_metrics_path_begins_with_a_slash(write):
    """No request would ever match another."""
    with pytest.raises(UsageError, match=r"prometheus_config\.path: expected to begin with /, got 'metrics'"):
        configs.read_monitoring_config(write('prometheus_config { enable: true path: "metrics" }'))


def test_messages_are_those_of_the_public_protos():
    """Names, numbers and types, field for field: a file written by any other tool is read alike."""
    fields = {f.name: (f.number, f.message_type and f.message_type.full_name) for f in _fields("_BatchingMessage")}
    integer, boolean = "google.protobuf.Int64Value", "google.protobuf.BoolValue"
    assert fields == {
        "max_batch_size": (1, integer),
        "batch_timeout_micros": (2, integer),
        "max_enqueued_batches": (3, integer),
        "num_batch_threads": (4, integer),
        "thread_pool_name": (5, "google.protobuf.StringValue"),
        "allowed_batch_sizes": (6, None),
        "pad_variable_length_inputs": (7, None),
        "enable_large_batch_splitting": (8, boolean),
        "max_execution_batch_size": (9, integer),
    }
    (prometheus,) = _fields("_MonitoringMessage")
    assert (prometheus.name, prometheus.number) == ("prometheus_config", 1)
    assert [(f.name, f.number) for f in prometheus.message_type.fields] == [("enable", 1), ("path", 2)]


def _fields(name):
    return getattr(configs, name).DESCRIPTOR.fields
