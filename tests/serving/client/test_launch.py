"""Server processes: start, stop, and end with their parent process."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import psutil
import pytest
import requests
from waiting import wait_until

from schema.errors import GraftError
from serving.client import launch

ROOT = pathlib.Path(__file__).parents[3]
# Stands for a server: it answers that a version is available, writes its process id, and does not end at SIGTERM.
STAND_IN = f"""#!{sys.executable} -IS
import http.server, os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(__file__).with_name("asked").touch())
[port] = [int(flag.partition("=")[2]) for flag in sys.argv if flag.startswith("--rest_api_port")]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"model_version_status": [{{"state": "AVAILABLE"}}]}}')

with http.server.HTTPServer(("127.0.0.1", port), Handler) as server:
    pathlib.Path(__file__).with_name("process").write_text(str(os.getpid()))
    server.serve_forever()
"""
# Stands for a built-in server that waits for its flags, and writes them down.
SPARE = f"""#!{sys.executable} -IS
import json, pathlib, sys
text = sys.stdin.read()
pathlib.Path(__file__).with_name("flags").write_text(text)
sys.argv += json.loads(text) if text else sys.exit()
{STAND_IN}"""
PARENT = """
import pathlib, sys, time
from serving.client import launch
with launch.start_server("m", ".", sys.argv[1]) as server:
    print(server.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def stand_in(tmp_path):
    program = tmp_path / "server"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return program


@pytest.fixture
def spare(tmp_path, monkeypatch):
    program = tmp_path / "spare"
    program.write_text(SPARE)
    program.chmod(0o755)
    monkeypatch.setattr(launch, "make_command", lambda binary: [binary or str(program)])
    return program


def wait_until_gone(process):
    try:
        psutil.Process(process).wait(60)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        os.kill(process, signal.SIGKILL)
        return False
    return True


def test_server_ends_when_the_process_that_started_it_is_killed(stand_in):
    """No server stays behind, with its memory and its port; not even one that does not end at SIGTERM."""
    with subprocess.Popen([sys.executable, "-c", PARENT, stand_in], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        server = int(parent.stdout.readline())
        assert psutil.pid_exists(server)
        parent.kill()
    assert wait_until_gone(server)


def test_process_gets_the_signal_that_was_asked_for_when_its_parent_is_killed(tmp_path):
    """Docker's client passes SIGTERM on to its container, and could not pass on SIGKILL."""
    code = (
        "import signal, sys, time; from serving.client import launch\n"
        "trap = 'trap \"echo asked >told; exit\" TERM; echo; while :; do sleep 0.05; done'\n"
        f"launch.start_process(['sh', '-c', trap], signal.SIGTERM, cwd={str(tmp_path)!r}); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        parent.kill()
    wait_until((tmp_path / "told").exists)


def test_process_whose_parent_has_ended_meanwhile_does_not_start(tmp_path):
    """Between the start of a process and what ties it to its parent, the parent may be killed."""
    program = [sys.executable, "-I", "-S", launch._END_WITH_PARENT, "1", "9", "touch", str(tmp_path / "started")]
    assert subprocess.run(program, timeout=120, check=False).returncode == 0
    assert not (tmp_path / "started").exists()


def test_ctrl_c_reaches_the_server_through_its_parent_alone(stand_in):
    """All processes of a terminal get it; the server would get a second signal, which means "at once"."""
    with launch.start_server("m", ".", str(stand_in)) as server:
        server.process.send_signal(signal.SIGINT)
        assert requests.get(server.rest_address, timeout=300).ok
        assert server.process.poll() is None
        server.process.kill()


def test_server_that_does_not_stop_is_killed(stand_in, monkeypatch):
    """After 2.5 s; here 0.2."""
    monkeypatch.setattr(launch, "STOP_SECONDS", 0.2)
    with launch.start_server("m", ".", str(stand_in)) as server:
        pass
    assert server.process.returncode == -signal.SIGKILL
    assert stand_in.with_name("asked").exists()


def test_program_that_cannot_be_started_is_named(tmp_path):
    """For example, a program for another machine."""
    program = tmp_path / "server"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o755)
    with pytest.raises(GraftError, match=f"ended with 1 .*:\n +{program}: cannot be started: Exec format error$"):
        launch.start_server("m", ".", str(program)).__enter__()


def test_a_wait_for_a_process_is_not_disturbed_by_how_it_was_started(capfd):
    """Its exit code and its output are its own."""
    process = launch.start_process(["sh", "-c", "echo said; exit 3"])
    assert (process.wait(120), capfd.readouterr().out) == (3, "said\n")


def test_a_waiting_server_gets_the_flags_of_the_first_that_is_started(spare):
    """It has imported its libraries by then, so it is the first to answer; the next server is one of its own."""
    with launch.keep_spare({"A": "1"}), launch.start_server("m", "/models", environment={"A": "1"}) as server:
        assert server.process.args[-1] == launch.WAIT_FOR_FLAGS
        flags = json.loads(spare.with_name("flags").read_text())
        assert flags[1:] == [f"--rest_api_port={server.rest_port}", "--model_name=m", "--model_base_path=/models"]
        assert launch._take_spare([], {"A": "1"}) is None


@pytest.mark.parametrize("binary", [None, "own"])
def test_a_server_of_another_kind_leaves_the_waiting_one_alone(spare, stand_in, binary, monkeypatch):
    """Another environment may mean another device, and TensorFlow Serving is another program. The rest is killed."""
    monkeypatch.setattr(launch, "make_command", lambda own: [str(stand_in if own else spare)])
    with launch.keep_spare({"A": "1"}):
        [waiting] = launch._spares
        monkeypatch.setattr(launch, "make_command", lambda own: [str(stand_in)])
        with launch.start_server("m", "/models", binary, environment={"A": "1" if binary else "2"}) as server:
            assert server.process is not waiting.process
            server.process.kill()
        assert waiting.process.poll() is None
    assert (waiting.process.returncode, launch._spares) == (-signal.SIGKILL, [])


def test_a_waiting_server_that_has_ended_is_replaced(spare):
    """Linux may have killed it, for lack of memory."""
    with launch.keep_spare({}):
        [waiting] = launch._spares
        waiting.process.kill()
        waiting.process.wait()
        assert launch._take_spare([], {}) is None


def test_a_waiting_server_ends_with_the_process_that_would_give_it_flags(spare):
    """For example, a run that was killed: the pipe closes."""
    with launch.keep_spare({}):
        [waiting] = launch._spares
        waiting.process.stdin.close()
        assert waiting.process.wait(120) == 0
