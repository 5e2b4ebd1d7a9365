"""Ctrl-C, SIGTERM and SIGKILL on `./graft serve`: it ends within 3 s, and its server with it."""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
import tensorflow as tf
from ports import pick_ports

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]
SECONDS = 3.0  # of all that ends a server
SHORT, ENDLESS = 1_000, 1_000_000_000  # steps; a fraction of a second, or hours


class Steps(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="steps")])
    def serve(self, steps):
        grid = tf.fill([128, 128], 0.01)
        loop = tf.while_loop(lambda i, _: i < steps[0], lambda i, x: (i + 1, tf.tanh(x @ x)), [0, grid])
        return {"done": tf.reshape(loop[0], [1])}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    module = Steps()
    tf.saved_model.save(module, str(out / "serving/steps/1"), signatures={"serving_default": module.serve})
    return out


class Serving:
    """A `./graft serve` that has printed its example requests.

    Attributes:
        process: what a user has started.
        group: of `serve` and its server, as on a terminal; the number of the process of `serve`, too.
        ports: of gRPC and REST.
    """

    def __init__(self, warm_python, workspace, folder):
        self.ports = pick_ports(2)
        binary, group = folder / "tensorflow_model_server", folder / "group"
        program = str(warm_python.program)
        binary.write_text(
            f"#!{sys.executable} -IS\nimport os, pathlib, sys\n"
            f"pathlib.Path({str(group)!r}).write_text(str(os.getpgrp()))\n"
            f"os.execv({program!r}, [{program!r}, '-m', 'serving.server', *sys.argv[1:]])\n"
        )
        binary.chmod(0o755)
        flags = [f"--port={self.ports[0]}", f"--rest-port={self.ports[1]}", f"--server={binary}", f"--out={workspace}"]
        self.process = subprocess.Popen(
            [warm_python.program, ROOT, "serve", *flags],
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

    def ask(self, steps):
        """Returns the status of an answer, or the name of the error."""
        url = f"http://127.0.0.1:{self.ports[1]}/v1/models/steps:predict"
        try:
            return requests.post(url, json={"instances": [steps]}, timeout=30).status_code
        except requests.RequestException as error:
            return type(error).__name__

    def wait_until_gone(self, seconds):
        """Tells whether the listeners of the ports end in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not any(is_open(port) for port in self.ports):
                return True
            time.sleep(0.02)
        return False


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def press_ctrl_c(serving):
    os.killpg(serving.group, signal.SIGINT)


def press_ctrl_c_twice(serving):
    press_ctrl_c(serving)
    time.sleep(0.02)
    if serving.process.poll() is None:
        press_ctrl_c(serving)


WAYS = {
    "Ctrl-C": press_ctrl_c,
    "Ctrl-C twice": press_ctrl_c_twice,
    "SIGINT to the parent": lambda serving: serving.process.send_signal(signal.SIGINT),
    "SIGTERM to the parent": lambda serving: serving.process.send_signal(signal.SIGTERM),
}


@pytest.mark.parametrize("trials", [1, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("steps", [pytest.param(0, marks=pytest.mark.long), SHORT], ids=["idle", "asked"])
@pytest.mark.parametrize("way", WAYS)
def test_signal_ends_serve_and_its_server(warm_python, workspace, tmp_path, way, steps, trials):
    """With exit code 0 and without a traceback; a request under way is answered, but for a second Ctrl-C."""
    for _ in range(trials):
        with Serving(warm_python, workspace, tmp_path) as serving, concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(serving.ask, steps)
            if steps:
                time.sleep(0.1)
            else:
                assert answer.result() == 200
            started = time.monotonic()
            WAYS[way](serving)
            _, complaint = serving.process.communicate(timeout=SECONDS)
            assert serving.wait_until_gone(started + SECONDS - time.monotonic())
            assert (serving.process.returncode, "Traceback" in complaint) == (0, False), complaint
            assert answer.result() == 200 or way == "Ctrl-C twice"


def test_request_that_takes_for_ever_holds_up_no_end(warm_python, workspace, tmp_path):
    """It is cut off after 2 s."""
    with Serving(warm_python, workspace, tmp_path) as serving, concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(serving.ask, ENDLESS)
        time.sleep(0.1)
        press_ctrl_c(serving)
        serving.process.communicate(timeout=SECONDS)
        assert serving.wait_until_gone(SECONDS)
        assert answer.result() != 200


def test_second_ctrl_c_does_not_wait_for_a_request(warm_python, workspace, tmp_path):
    """It ends at once; of three trials one may show it, where a machine is busy."""
    assert any(time_second_ctrl_c(warm_python, workspace, tmp_path) < 1.5 for _ in range(3))


def time_second_ctrl_c(warm_python, workspace, tmp_path):
    with Serving(warm_python, workspace, tmp_path) as serving, concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(serving.ask, ENDLESS)
        time.sleep(0.1)
        started = time.monotonic()
        press_ctrl_c_twice(serving)
        serving.process.communicate(timeout=SECONDS)
        assert serving.wait_until_gone(SECONDS)
        return time.monotonic() - started


def test_killed_serve_leaves_no_server_behind(warm_python, workspace, tmp_path):
    """No process can catch SIGKILL: Linux ends the server."""
    with Serving(warm_python, workspace, tmp_path) as serving:
        os.kill(serving.group, signal.SIGKILL)
        serving.process.communicate(timeout=SECONDS)
        assert serving.wait_until_gone(SECONDS)
