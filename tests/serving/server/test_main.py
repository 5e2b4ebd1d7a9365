"""Server process with TensorFlow Serving's flags, after TensorFlow Serving's own server test."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import grpc
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from command_line import make_typist
from ports import pick_port
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from waiting import wait_until

from schema.errors import GraftError
from serving.client import launch
from serving.client.launch import start_server
from serving.server.main import main

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def start(warm_python, tmp_path):
    """Returns a function that starts the server with flags; the servers are stopped at the end."""
    started = []

    def run(*flags):
        process = subprocess.Popen(
            [warm_python.program, "-m", "serving.server", *map(str, flags)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        launch.stop(process)
        process.stderr.close()


def predict(address, value=2.0, name="default", **options):
    """Sends a request to the half-plus-two model; waits until the port is open."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([value])))
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request, timeout=300, wait_for_ready=True)
    return response.outputs["y"].float_val[0]


def test_flags_of_tensorflow_serving_are_taken(start, half_plus_two, tmp_path):
    """gRPC, REST, a UNIX socket, batching, monitoring and channel arguments at once; SIGTERM ends it well."""
    (tmp_path / "batching.config").write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 1000 }")
    (tmp_path / "monitoring.config").write_text('prometheus_config { enable: true, path: "/metrics" }')
    port, rest_port = pick_port(), pick_port()
    process = start(
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        "--rest_api_timeout_in_ms=5000",
        f"--grpc_socket_path={tmp_path}/socket",
        "--model_name=default",
        f"--model_base_path={half_plus_two}",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path}/batching.config",
        f"--monitoring_config_file={tmp_path}/monitoring.config",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
    )
    assert predict(f"localhost:{port}") == 3.0
    assert predict(f"unix:{tmp_path}/socket", 4.0) == 4.0
    answer = requests.post(
        f"http://localhost:{rest_port}/v1/models/default:predict", json={"instances": [2.0]}, timeout=300
    )
    assert answer.json() == {"predictions": [3.0]}
    assert "request_count" in requests.get(f"http://localhost:{rest_port}/metrics", timeout=300).text
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0


def test_models_of_a_file_are_served_and_followed(start, half_plus_two, tmp_path):
    """The file is read again as often as is asked; one that is broken meanwhile changes nothing."""
    config = tmp_path / "models.config"
    entry = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'

    def write(*names):
        entries = " ".join(entry.format(name, half_plus_two) for name in names)
        (tmp_path / "new").write_text(f"model_config_list {{ {entries} }}")
        (tmp_path / "new").rename(config)

    write("one")
    port = pick_port()
    server = start(f"--port={port}", f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1")
    assert predict(f"localhost:{port}", name="one") == 3.0
    (tmp_path / "new").write_text("no protobuf")
    (tmp_path / "new").rename(config)
    while "Invalid protobuf file" not in (line := server.stderr.readline()):
        assert line, "the server has ended"
    assert predict(f"localhost:{port}", name="one") == 3.0
    write("one", "two")
    wait_until(lambda: is_served(f"localhost:{port}", "two"))
    assert predict(f"localhost:{port}", name="two") == 3.0


def is_served(address, name):
    with contextlib.suppress(grpc.RpcError):
        return predict(address, name=name)


BAD = {
    "a broken file of models": (["--model_config_file={}/bad.config"], "Invalid protobuf file: '{}/bad.config'"),
    "no such file": (["--model_config_file={}/none.config"], "none.config"),
    "nothing to serve": ([], "Both --model_base_path and --model_config_file are empty"),
    "no such flag": (["--model_base_path={}", "--colour=red"], "--colour"),
    "one port for both": (["--model_base_path={}", "--port=9", "--rest_api_port=9"], "cannot be the same as --port"),
}


@pytest.mark.parametrize(("flags", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_started_says_why(monkeypatch, capsys, tmp_path, flags, words):
    """In a line, without a traceback."""
    (tmp_path / "bad.config").write_text("improbable { }")
    typed = make_typist(monkeypatch, capsys, main)(*(flag.format(tmp_path) for flag in flags))
    assert typed.code in (1, 2)
    assert words.format(tmp_path) in typed.err
    assert "Traceback" not in typed.err


@pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
def test_a_port_that_is_taken_is_said(start, half_plus_two, flag):
    """The message says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start("--port=0", f"--model_base_path={half_plus_two}", f"{flag}={taken.getsockname()[1]}")
        _, said = process.communicate(timeout=300)
    assert (process.returncode, "cannot listen there" in said) == (2, True)


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(monkeypatch, half_plus_two):
    """Loading takes many seconds."""
    monkeypatch.setattr("serving.server.main._load", lambda *_: pytest.fail("a model was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        main([f"--model_base_path={half_plus_two}", f"--port={taken.getsockname()[1]}"])
    assert ended.value.code == 2


def test_a_server_is_started_on_free_ports_and_ended(half_plus_two, monkeypatch):
    """The ServingValidator starts a server in this way; it takes one that has imported its libraries before."""
    monkeypatch.setattr(launch, "STOP_SECONDS", 120.0)
    with launch.keep_spare({}), start_server("m", str(half_plus_two)) as server:
        assert launch.WAIT_FOR_FLAGS in psutil.Process(server.process.pid).cmdline()
        assert predict(server.grpc_address, name="m") == 3.0
        assert requests.get(f"{server.rest_address}/v1/models/m", timeout=120).status_code == 200
        assert server.memory_bytes > 50e6
    assert server.process.returncode == 0


def test_a_server_that_does_not_start_says_why(tmp_path):
    """With the last that it said, and without a traceback."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1/saved_model.pb").write_bytes(b"no protobuf")
    with pytest.raises(GraftError, match="the built-in server ended with 1 before it served anything:") as caught:
        start_server("m", str(tmp_path)).__enter__()
    assert "did not become available" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_tensorflow_serving_is_started_with_the_same_flags(tmp_path, half_plus_two):
    """Any program that takes them; here one that writes them down and hands over to the built-in server."""
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text(
        f'#!/bin/sh\nprintf \'%s\\n\' "$@" >{tmp_path}/flags\nexec {sys.executable} -m serving.server "$@"\n'
    )
    binary.chmod(0o755)
    with start_server("m", str(half_plus_two), launch.find_binary(str(binary)), ["--enable_batching"]) as server:
        assert server.name == str(binary)
        assert predict(server.grpc_address, name="m") == 3.0
    flags = (tmp_path / "flags").read_text().splitlines()
    assert flags[2:] == ["--model_name=m", f"--model_base_path={half_plus_two}", "--enable_batching"]
    assert json.dumps(flags[0]).startswith('"--port=')
