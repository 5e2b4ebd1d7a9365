"""Ctrl-C, SIGTERM and SIGKILL on `./graft serve`: it ends within seconds, and its server with it."""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
import requests
import tensorflow as tf
from ports import pick_ports
from waiting import send_signal, wait_until

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]
SECONDS = 60.0  # for all to end: 3 on a machine of one's own
# Both wait as long as a request takes, unless there is a second signal.
PATIENT_SERVE = """
import sys
from kubeflow.cli import main
from serving.client import launch
launch.STOP_SECONDS = 600.0
sys.argv[0] = "graft"
main()
"""
PATIENT_SERVER = "import sys; from serving.server import main; main._GRACE = 600.0; main.main(sys.argv[1:])"


class Waits(tf.Module):
    """Model that answers once there is a file; beside that file, it tells that it has begun."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="file")])
    def serve(self, file):
        with tf.control_dependencies([tf.io.write_file(file[0] + ".begun", "")]):
            return {"done": tf.reshape(tf.while_loop(lambda i: is_missing(file[0], i), lambda i: i + 1, [0]), [1])}


def is_missing(file, step):
    """Tells whether there is no such file; TensorFlow would look once, did the name not depend on the step."""
    return tf.equal(tf.size(tf.io.matching_files(tf.strings.substr(file, 0, 9999 + step))), 0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    module = Waits()
    tf.saved_model.save(module, str(out / "serving/waits/1"), signatures={"serving_default": module.serve})
    return out


class Serving:
    """A `./graft serve` that has printed its example requests.

    Attributes:
        process: what a user has started.
        group: of `serve` and its server, as on a terminal; the number of the process of `serve`, too.
        ports: of gRPC and REST.
        file: what the model waits for.
    """

    def __init__(self, warm_python, workspace, folder, patient=False):
        self.ports, self.file = pick_ports(2), folder / "file"
        for name in ("file", "file.begun"):
            (folder / name).unlink(missing_ok=True)
        binary, group = folder / "tensorflow_model_server", folder / "group"
        program = str(warm_python.program)
        server = ["-c", PATIENT_SERVER] if patient else ["-m", "serving.server"]
        binary.write_text(
            f"#!{sys.executable} -IS\nimport os, pathlib, sys\n"
            f"pathlib.Path({str(group)!r}).write_text(str(os.getpgrp()))\n"
            f"os.execv({program!r}, [{program!r}, *{server!r}, *sys.argv[1:]])\n"
        )
        binary.chmod(0o755)
        flags = [f"--port={self.ports[0]}", f"--rest-port={self.ports[1]}", f"--server={binary}", f"--out={workspace}"]
        self.process = subprocess.Popen(
            [warm_python.program, *(["-c", PATIENT_SERVE] if patient else [ROOT]), "serve", *flags],
            env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not self.process.stdout.readline().startswith("or:"):
            assert self.process.poll() is None, self.process.communicate()[1]
        self.group = int(group.read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)  # a server that stays would hold the pipes open
        self.process.kill()
        self.process.communicate()

    def ask(self):
        """Returns the status of an answer, or the name of the error."""
        url = f"http://127.0.0.1:{self.ports[1]}/v1/models/waits:predict"
        try:
            return requests.post(url, json={"instances": [str(self.file)]}, timeout=120).status_code
        except requests.RequestException as error:
            return type(error).__name__

    def wait_for_request(self):
        """Waits until the model computes."""
        wait_until(self.file.with_name("file.begun").exists)

    def wait_for_end(self):
        """Waits until all have ended; returns what `serve` wrote to its standard error."""
        _, complaint = self.process.communicate(timeout=SECONDS)
        wait_until(lambda: not any(is_open(port) for port in self.ports))
        return complaint


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def press_ctrl_c(serving):
    send_signal(serving.group, signal.SIGINT, os.killpg)


def press_ctrl_c_twice(serving):
    press_ctrl_c(serving)
    press_ctrl_c(serving)


WAYS = {
    "Ctrl-C": press_ctrl_c,
    "Ctrl-C twice": press_ctrl_c_twice,
    "SIGINT to the parent": lambda serving: serving.process.send_signal(signal.SIGINT),
    "SIGTERM to the parent": lambda serving: serving.process.send_signal(signal.SIGTERM),
}


@pytest.mark.parametrize("trials", [1, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("idle", [pytest.param(True, marks=pytest.mark.long), False], ids=["idle", "asked"])
@pytest.mark.parametrize("way", WAYS)
def test_signal_ends_serve_and_its_server(warm_python, workspace, tmp_path, way, idle, trials):
    """With exit code 0 and without a traceback; a request under way is answered, but for a second Ctrl-C."""
    for _ in range(trials):
        with (
            Serving(warm_python, workspace, tmp_path, patient=True) as serving,
            concurrent.futures.ThreadPoolExecutor(1) as pool,
        ):
            if idle:
                serving.file.touch()
            answer = pool.submit(serving.ask)
            serving.wait_for_request()
            if idle:
                assert answer.result() == 200
            WAYS[way](serving)
            serving.file.touch()
            complaint = serving.wait_for_end()
            assert (serving.process.returncode, "Traceback" in complaint) == (0, False), complaint
            assert answer.result() == 200 or way == "Ctrl-C twice"


def test_request_that_takes_for_ever_holds_up_no_end(warm_python, workspace, tmp_path):
    """It is cut off after 2 s."""
    with Serving(warm_python, workspace, tmp_path) as serving, concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(serving.ask)
        serving.wait_for_request()
        press_ctrl_c(serving)
        serving.wait_for_end()
        assert answer.result() != 200


def test_second_ctrl_c_does_not_wait_for_a_request(warm_python, workspace, tmp_path):
    """It ends at once, where a single one would wait for 600 s."""
    with (
        Serving(warm_python, workspace, tmp_path, patient=True) as serving,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(serving.ask)
        serving.wait_for_request()
        press_ctrl_c_twice(serving)
        serving.wait_for_end()
        assert answer.result() != 200


def test_killed_serve_leaves_no_server_behind(warm_python, workspace, tmp_path):
    """No process can catch SIGKILL: Linux ends the server."""
    with Serving(warm_python, workspace, tmp_path) as serving:
        os.kill(serving.group, signal.SIGKILL)
        serving.wait_for_end()
