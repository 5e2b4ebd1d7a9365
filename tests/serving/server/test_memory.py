"""Requests that would take gigabytes, sent to a server process whose memory is measured."""

import contextlib
import http.client
import os
import pathlib
import subprocess
import threading

import grpc
import psutil
import pytest
import tensorflow as tf
from ports import pick_port
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2
from waiting import wait_until

from serving.client import launch

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]
SIZE = 30 << 20
MB = 1 << 20


class Attacked:
    """Server under attack, with functions that send requests."""

    def __init__(self, pid, grpc_port, rest_port):
        """Takes the number of a process that listens."""
        self.pid, self.grpc_port, self.rest_port = pid, grpc_port, rest_port

    def read_memory(self, key="VmRSS"):
        """Returns the resident bytes; of VmHWM, the most since `forget_peak`."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(key))

    def read_seconds(self):
        """Returns the processor time so far, which other processes do not change."""
        times = psutil.Process(int(self.pid)).cpu_times()
        return times.user + times.system

    def forget_peak(self):
        """Starts VmHWM anew."""
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def post(self, body):
        """Sends JSON; returns the status and the answer."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=120)) as connection:
            connection.request("POST", "/v1/models/m:predict", body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def call(self, message):
        """Sends the bytes of a PredictRequest; returns the code and the message."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            try:
                channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(message, timeout=120)
            except grpc.RpcError as error:
                return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    def send_together(self, send, body, count):
        """Sends a body several times at once; returns the answers."""
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(send(body))) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers


@pytest.fixture(scope="module")
def attacked(warm_python, tmp_path_factory):
    """Yields a server of a model with strings and pixels, which has answered by gRPC and REST."""

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def measure(self, image_bytes):
            return {"length": tf.strings.length(image_bytes)}

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="pixels")])
        def convolve(self, pixels):
            return {"mean": tf.reduce_mean(tf.nn.conv2d(pixels, tf.ones([3, 3, 3, 1]), 1, "SAME"), [1, 2, 3])}

    folder = tmp_path_factory.mktemp("attacked")
    module = Module()
    signatures = {"serving_default": module.measure, "convolve": module.convolve}
    tf.saved_model.save(module, str(folder / "model" / "1"), signatures=signatures)
    grpc_port, rest_port = pick_port(), pick_port()
    flags = [f"--port={grpc_port}", f"--rest_api_port={rest_port}", "--model_name=m"]
    before = list_forks(warm_python.parent)
    process = subprocess.Popen(
        [warm_python.program, "-m", "serving.server", *flags, f"--model_base_path={folder}/model"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        launch.wait_until_available(process, f"http://127.0.0.1:{rest_port}", "m", 300)
        (pid,) = list_forks(warm_python.parent) - before
        server = Attacked(pid, grpc_port, rest_port)
        assert server.post(b'{"instances": ["abc"]}')[0] == 200
        assert server.call(make_message(tf.make_tensor_proto([b"abc"]).SerializeToString()))[0] is grpc.StatusCode.OK
        yield server
    finally:
        launch.stop(process)


def list_forks(parent):
    """The processes that a warm Python runs; what a test starts only stands for one."""
    return set(pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())


def make_message(tensor):
    """Returns a PredictRequest with one input as bytes; protobuf cannot write such a TensorProto."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    entry = write_field(1, b"image_bytes") + write_field(2, tensor)
    return request.SerializeToString() + write_field(2, entry)


def write_field(number, content):
    """Encodes a field of bytes as protobuf does."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def make_head(dtype, *dims):
    """Encodes the type and shape of a TensorProto."""
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    for size in dims:
        tensor.tensor_shape.dim.add(size=size)
    return tensor.SerializeToString()


def fill(unit, begin=b'{"instances":[', end=b"]}"):
    """Returns a body of 30 MB that repeats one element."""
    return begin + unit * ((SIZE - len(begin) - len(end)) // len(unit)) + unit.rstrip(b",") + end


def make_names():
    """Returns an object of two million members."""
    return b"{" + b",".join(b'"%x":0' % number for number in range(SIZE // 12)) + b"}"


ONE_STRING = make_head(types_pb2.DT_STRING, 1) + write_field(8, b"")
BODIES = {
    "empty lists": lambda: fill(b"[],"),
    "lists in lists": lambda: b'{"instances":' + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"}",
    "30 levels of lists": lambda: fill(b"[" * 30 + b"]" * 30 + b","),
    "small numbers": lambda: fill(b"0,"),
    "a column of numbers": lambda: fill(b"0,", b'{"inputs":['),
    "floats": lambda: fill(b"0.5,"),
    "empty strings": lambda: fill(b'"",'),
    "strings": lambda: fill(b'"ab",'),
    "empty objects": lambda: fill(b"{},"),
    "empty base64": lambda: fill(b'{"b64":""},'),
    "one name twice": lambda: fill(b'"a":0,', b"{", b"}"),
    "names": make_names,
    "wide text": lambda: fill(b"a", b'{"instances":["\xf0\x9f\x98\x80', b'"]}'),
}
MESSAGES = {
    "empty strings": lambda: make_message(make_head(types_pb2.DT_STRING, SIZE // 2) + b"\x42\x00" * (SIZE // 2)),
    "variants": lambda: make_message(make_head(types_pb2.DT_VARIANT, SIZE // 2) + b"\x7a\x00" * (SIZE // 2)),
    "dimensions": lambda: make_message(b"\x08\x07" + write_field(2, b"\x12\x00" * (SIZE // 2))),
    "small integers": lambda: make_message(make_head(types_pb2.DT_INT64, SIZE) + write_field(10, bytes(SIZE))),
    "unknown fields": lambda: make_message(ONE_STRING) + b"\xf8\x01\x00" * (SIZE // 3),
    "unknown groups": lambda: make_message(ONE_STRING) + b"\xfb\x01\xfc\x01" * (SIZE // 4),
    "outputs": lambda: make_message(ONE_STRING) + b"\x1a\x00" * (SIZE // 2),
}


def test_a_request_of_39_bytes_is_refused(attacked):
    """It says that an empty string is there a hundred million times; TensorFlow would make 6 GB of it."""
    for dims in ([100_000_000], [1000, 100_000]):
        message = make_message(make_head(types_pb2.DT_STRING, *dims) + write_field(8, b""))
        attacked.forget_peak()
        before, start = attacked.read_memory(), attacked.read_seconds()
        code, words = attacked.call(message)
        assert attacked.read_seconds() - start < 1
        assert attacked.read_memory("VmHWM") - before < 100 * MB
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    code, words = attacked.call(make_message(make_head(types_pb2.DT_STRING, 1001) + write_field(8, b"")))
    assert "Task size 1001 is larger than maximum input batch size 1000" in words
    assert "--max_batch" in words


def test_thirty_megabytes_of_lists_are_refused(attacked):
    """Four at once, before they are parsed; the error says what to do."""
    attacked.forget_peak()
    idle, start = attacked.read_memory(), attacked.read_seconds()
    answers = attacked.send_together(attacked.post, fill(b"[],"), 4)
    assert attacked.read_seconds() - start < 5
    assert attacked.read_memory("VmHWM") < 1500 * MB
    assert {status for status, _ in answers} == {400}
    assert all("unfolds to" in words and "Send fewer instances" in words for _, words in answers)
    wait_until(lambda: attacked.read_memory() <= idle + 200 * MB)


def test_a_wrong_rank_does_not_end_the_server(attacked):
    """TensorFlow's CHECK in tensor_format.h would, with all that is served."""
    for values in (b"1.0", b"[1.0]", b"[[1.0]]", b"[[[1.0]]]", b"[[[[[1.0]]]]]"):
        status, words = attacked.post(b'{"signature_name": "convolve", "inputs": %s}' % values)
        assert (status, "input shape is wrong, expected : [?,?,?,3]" in words) == (400, True)
    assert attacked.post(b'{"instances": ["abc"]}') == (200, '{"predictions":[3]}')


@pytest.mark.long
@pytest.mark.parametrize(
    "make", [*BODIES.values(), *MESSAGES.values()], ids=[*BODIES, *(f"gRPC: {name}" for name in MESSAGES)]
)
def test_four_large_requests_at_once_stay_in_bounds(attacked, make):
    """With any content; small requests are answered meanwhile."""
    body, send = make(), attacked.post if make in BODIES.values() else attacked.call
    idle = attacked.read_memory()
    attacked.forget_peak()
    answers = attacked.send_together(send, body, 4)
    assert attacked.read_memory("VmHWM") < 1500 * MB
    assert len(answers) == 4
    assert attacked.post(b'{"instances": ["abc"]}') == (200, '{"predictions":[3]}')
    wait_until(lambda: attacked.read_memory() <= idle + 200 * MB)
