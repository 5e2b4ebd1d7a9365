"""Small models of TF1 and TF2, and a server in this process."""

import contextlib
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from ports import pick_port
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.server.grpc_service import start_grpc_server
from serving.server.memory import MemoryBudget
from serving.server.metrics import Metrics
from serving.server.models import ModelStore

_DEFS = tf.compat.v1.saved_model.signature_def_utils
_INFO = tf.compat.v1.saved_model.utils.build_tensor_info


def save_half_plus(folder, offset=2.0):
    """Saves TensorFlow Serving's own TF1 test model, y = x / 2 + offset, with a signature of tf.Examples."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        half, plus = v1.Variable(0.5, use_resource=False), v1.Variable(offset, use_resource=False)
        examples = v1.placeholder(tf.string, [None], name="tf_example")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(parsed["x"], name="x")
        y = tf.add(tf.multiply(half, x), plus, name="y")
        session.run(v1.global_variables_initializer())
        inputs, outputs = _INFO(examples), _INFO(y)
        signatures = {
            "serving_default": _DEFS.predict_signature_def({"x": x}, {"y": y}),
            "classify_x_to_y": _DEFS.build_signature_def(
                {"inputs": inputs}, {"scores": outputs}, "tensorflow/serving/classify"
            ),
        }
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return folder


class Scaled(tf.Module):
    """TF2 model that multiplies rows of two floats; a negative value is refused like a damaged image."""

    def __init__(self, scale):
        super().__init__()
        self.scale = tf.Variable(float(scale))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x is negative")]):
            scaled = x * self.scale
        return {"scaled": scaled, "scale": tf.fill([tf.shape(x)[0]], self.scale)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(self, text):
        return {"text": text, "text_bytes": text, "length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="text")])
    def join(self, text):
        return {"joined": tf.strings.join([text, "!"]), "length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def parse(self, examples):
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([], tf.float32, name="factor")]
    )
    def multiply(self, x, factor):
        return {"product": x * factor}


def save_scaled(folder, scale):
    """Saves a TF2 model whose outputs depend on the version. The input `factor` of `multiply` is 3 by default."""
    module = Scaled(scale)
    signatures = {
        "serving_default": module.serve,
        "echo": module.echo,
        "join": module.join,
        "parse": module.parse,
        "multiply": module.multiply,
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    defaults = saved.meta_graphs[0].signature_def["multiply"].defaults
    defaults["factor"].CopyFrom(tf.make_tensor_proto(3.0))
    file.write_bytes(saved.SerializeToString())
    return folder


@pytest.fixture(scope="session")
def half_plus_two(tmp_path_factory):
    """Returns a folder with the TF1 model as version 123."""
    folder = tmp_path_factory.mktemp("half_plus_two")
    save_half_plus(folder / "00000123")
    return folder


@pytest.fixture(scope="session")
def make_scaled():
    """See `save_scaled`."""
    return save_scaled


@pytest.fixture(scope="session")
def scaled(tmp_path_factory):
    """Returns a folder with the TF2 model as versions 1 and 2, which multiply by 1 and 2."""
    folder = tmp_path_factory.mktemp("scaled")
    for number in (1, 2):
        save_scaled(folder / str(number), number)
    return folder


@pytest.fixture(scope="session")
def make_config():
    """Returns a function that makes a configuration from folders by model name, and options for all models."""

    def make(labels=None, policy=None, **folders):
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.SetInParent()  # without a model, too: a configuration that says nothing is refused
        for name, folder in folders.items():
            entry = config.model_config_list.config.add(name=name, base_path=str(folder), model_platform="tensorflow")
            entry.version_labels.update(labels or {})
            if policy == "all":
                entry.model_version_policy.all.SetInParent()
            elif isinstance(policy, list):
                entry.model_version_policy.specific.versions.extend(policy)
            elif policy:
                entry.model_version_policy.latest.num_versions = policy
        return config

    return make


@contextlib.contextmanager
def make_stores(make_config):
    """Yields a function that makes a store of models; the stores are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(batching=None, **arguments):
            store = stack.enter_context(contextlib.closing(ModelStore(batching)))
            store.configure(make_config(**arguments))
            return store

        yield make


@contextlib.contextmanager
def make_connections():
    """Yields a function that serves a store by gRPC and returns stubs."""
    with contextlib.ExitStack() as stack:

        def serve(store, **options):
            options = {"threads": 16, "max_request_bytes": 1 << 20} | options
            budget = MemoryBudget(8, options["max_request_bytes"])
            address = f"127.0.0.1:{pick_port()}"
            server = start_grpc_server(store, Metrics(), [address], budget=budget, **options)
            stack.callback(lambda: server.stop(None).wait())
            channel = stack.enter_context(grpc.insecure_channel(address))
            return types.SimpleNamespace(
                prediction=prediction_service_pb2_grpc.PredictionServiceStub(channel),
                models=model_service_pb2_grpc.ModelServiceStub(channel),
                address=address,
            )

        yield serve


@pytest.fixture
def make_store(make_config):
    """See `make_stores`."""
    with make_stores(make_config) as make:
        yield make


@pytest.fixture
def connect():
    """See `make_connections`."""
    with make_connections() as serve:
        yield serve


@pytest.fixture(scope="module")
def serve_once(make_config):
    """Returns a function that serves a store to all tests of a module and returns stubs."""
    with make_stores(make_config) as make, make_connections() as serve:
        yield lambda **arguments: serve(make(**arguments))


@pytest.fixture
def free_port():
    """Returns a free port of this machine."""
    return pick_port()


@pytest.fixture(scope="session")
def rows():
    """Returns a function that makes rows of two floats: float32 [count, 2]."""
    return lambda count, value=1.0: np.full([count, 2], value, np.float32)
