"""`./graft serve`: choice of the server, its arguments, and the printed lines."""

import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from command_line import make_typist
from ports import pick_port, pick_ports

from kubeflow.cli import main
from schema.errors import UsageError
from serving.client import launch
from serving.releases.releases import keep

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]


class Echo(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        return {"label": image_bytes}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with a model that returns its input, as version 7, and an image from its data folder."""
    root = tmp_path_factory.mktemp("work space")
    tf.saved_model.save(Echo(), str(root / "out/serving/echo/7"), signatures={"serving_default": Echo().serve})
    (root / "data/cats").mkdir(parents=True)
    (root / "data/cats/it's one.jpg").write_bytes(b"meow")
    (root / "out/serving/echo/7/assets.extra").mkdir()
    record = f'{{"config": {{"data": "{root}/data"}}}}'
    (root / "out/serving/echo/7/assets.extra/graft.json").write_text(record)
    return root


@pytest.fixture
def programs(warm_python, tmp_path):
    """Returns a function that puts a program on a PATH of its own: it writes its arguments down, and serves."""
    program = str(warm_python.program)

    def put(name):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        # As docker, it is to forget what comes before the flags of the server.
        (folder / name).write_text(
            f"#!{sys.executable}\nimport os, sys\n"
            "if sys.argv[1] == 'rm': sys.exit()\n"
            f"open({str(tmp_path / 'arguments')!r}, 'w').write('\\n'.join(sys.argv[1:]))\n"
            "flags = [a for a in sys.argv if a.startswith('--') and '=' in a]\n"
            f"os.execv({program!r}, [{program!r}, '-m', 'serving.server', *flags])\n"
        )
        (folder / name).chmod(0o755)
        return folder

    return put


@pytest.fixture
def serve(warm_python, tmp_path):
    """Returns a function that starts `./graft serve`, and ends it when it has said how to ask: (exit code, lines)."""

    def run(*arguments, path="", ask=False):
        port, rest_port = pick_ports(2)
        ports = [f"--port={port}", f"--rest-port={rest_port}"]
        environment = os.environ | {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [warm_python.program, ROOT, "serve", *ports, *map(str, arguments)],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        lines, answer = [], ""
        deadline = time.monotonic() + 120
        try:
            while time.monotonic() < deadline and (line := process.stdout.readline()):
                lines.append(line.rstrip("\n"))
                if line.startswith("Ask:") and ask:
                    answer = subprocess.check_output(["bash", "-c", line.partition(":")[2]], text=True, timeout=300)
                if line.startswith("or:"):
                    process.send_signal(signal.SIGTERM)
        finally:
            launch.stop(process)
            process.stdout.close()
        return process.returncode, lines, answer

    return run


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_the_built_in_server_is_started_and_the_line_it_prints_works(serve, workspace):
    """Copied into a shell, with a path that has a space and a quote in it; SIGTERM ends both."""
    code, lines, answer = serve("--out", workspace / "out", ask=True)
    assert code == 0
    assert lines[0].startswith("Starting the built-in server (no tensorflow_model_server on PATH)")
    assert '{"predictions":["meow"]}' in answer.replace(" ", "").replace("\n", "")
    image = shlex.quote(str(workspace / "data/cats/it's one.jpg"))
    (last,) = [line for line in lines if line.startswith("or:")]
    assert f"./graft predict {image} --server grpc://127.0.0.1:" in last
    assert last.endswith("--model echo")
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("how", ["on PATH", "named"])
def test_tensorflow_serving_is_started_where_it_is(serve, workspace, programs, tmp_path, how):
    """With the ports, the model and the metrics; and said so."""
    folder = programs("tensorflow_model_server")
    named = ["--server", folder / "tensorflow_model_server"] if how == "named" else []
    code, lines, _ = serve("--out", workspace / "out", *named, path=folder if how == "on PATH" else "")
    binary = f"{folder}/tensorflow_model_server"
    said = f"Starting TensorFlow Serving ({binary}; it listens on all networks) for {workspace}/out/serving/echo"
    assert (code, lines[0]) == (0, said)
    flags = (tmp_path / "arguments").read_text().splitlines()
    assert flags[0].startswith("--port=")
    assert f"--monitoring_config_file={ROOT}/serving/deploy/monitoring.config" in flags
    assert flags[-2:] == ["--model_name=echo", f"--model_base_path={workspace}/out/serving/echo"]


def test_docker_mounts_the_folders_where_they_are(serve, workspace, programs, tmp_path):
    """Read-only, with the ports of this machine alone."""
    code, lines, _ = serve("--out", workspace / "out", "--docker", "--batching", path=programs("docker"))
    assert code == 0
    assert lines[0].startswith("Starting TensorFlow Serving in Docker (tensorflow/serving:")
    arguments = (tmp_path / "arguments").read_text().splitlines()
    mounted = [arguments[i + 1] for i, word in enumerate(arguments) if word == "-v"]
    assert mounted == [f"{path}:{path}:ro" for path in (f"{workspace}/out/serving", f"{ROOT}/serving/deploy")]
    published = [arguments[i + 1] for i, word in enumerate(arguments) if word == "-p"]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert f"--batching_parameters_file={ROOT}/serving/deploy/batching.config" in arguments


def test_models_config_is_used_where_it_is(serve, workspace, programs, tmp_path):
    """So that labels are known and followed."""
    config = workspace / "out/serving/models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "echo" base_path: "{workspace}/out/serving/echo" '
        'model_platform: "tensorflow" } }'
    )
    folder = programs("tensorflow_model_server")
    serve("--out", workspace / "out", path=folder)
    config.unlink()
    flags = (tmp_path / "arguments").read_text().splitlines()
    assert f"--model_config_file={config}" in flags
    assert "--model_config_file_poll_wait_seconds=1" in flags


def test_a_moved_workspace_is_served_from_where_it_is(serve, workspace, programs, tmp_path):
    """Its models.config names the old, empty folder; the path is corrected, with a printed note."""
    shutil.copytree(workspace / "out", tmp_path / "out")
    keep(str(tmp_path / "out/serving/echo"), 5)
    (tmp_path / "out").rename(tmp_path / "moved")
    code, lines, _ = serve("--out", "moved", path=programs("tensorflow_model_server"))
    folder = tmp_path / "moved/serving"
    assert code == 0
    assert lines[0] == f"{folder}/models.config named {tmp_path}/out/serving; it names {folder} now"
    assert f'base_path: "{folder}/echo"' in (folder / "models.config").read_text()
    assert any(line.startswith("Serving:") for line in lines)


BAD = {
    "no workspace": (["--out", "none"], "none: no pushed model here"),
    "no such binary": (["--server", "/none/server"], "/none/server: no program here"),
    "no docker": (["--docker"], "no docker on PATH"),
    "both": (["--docker", "--server", "x"], "one of them"),
    "one port": (["--port=9500", "--rest-port=9500"], "are the same"),
    "no such model": (["--model", "other"], "no model 'other' here"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_served_says_why(monkeypatch, capsys, workspace, tmp_path, arguments, words):
    """With exit code 2, in a line."""
    out = [] if "--out" in arguments else ["--out", str(workspace / "out")]
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)
    typed = make_typist(monkeypatch, capsys, main)("serve", *out, *arguments)
    assert typed.code == 2
    assert words in typed.err
    assert "Traceback" not in typed.err


@pytest.mark.parametrize(("option", "other"), [("--port", "--rest-port"), ("--rest-port", "--port")])
def test_a_port_that_is_taken_is_said(monkeypatch, capsys, workspace, option, other):
    """Before anything is started: the other server would answer, and be taken for this one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = f"{option}={taken.getsockname()[1]}", f"{other}={pick_port()}"
        typed = make_typist(monkeypatch, capsys, main)("serve", "--out", str(workspace / "out"), *ports)
    assert (typed.code, typed.out) == (2, "")
    assert f"name another {option}." in typed.err


def test_a_server_that_does_not_start_says_so(tmp_path, serve):
    """And the exit code is 1."""
    (tmp_path / "out/serving/graft/1").mkdir(parents=True)
    (tmp_path / "out/serving/graft/1/saved_model.pb").write_bytes(b"no protobuf")
    code, lines, _ = serve("--out", "out")
    assert code == 1
    assert any("ended with 1 before it served anything" in line for line in lines)


def test_a_named_binary_must_be_there():
    """Before anything is started."""
    with pytest.raises(UsageError, match="no program here"):
        launch.find_binary("/none/tensorflow_model_server")
