"""Ctrl-C ends a command that hangs, and from its first moment on without a traceback."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from waiting import send_signal, wait_until

ROOT = pathlib.Path(__file__).parents[3]
# A thread, or the main thread, in a call of C that never returns, as a read from a network folder that is gone.
HANGING_READ = """
import ctypes, os, pathlib, sys
from components.example_gen import reading
from kubeflow.cli import main
from pipeline.console import ending
ending.GRACE = 600
source, sink = os.pipe()
def read(path):
    pathlib.Path("hangs").touch()
    while True:
        ctypes.CDLL(None).read(source, ctypes.create_string_buffer(1), 1)
reading.read_regular = read
sys.argv = ["graft", "check", "data"]
main()
"""
HANGING_MAIN = """
import ctypes, os, pathlib, signal, sys, threading
from pipeline.console import ending
ending.GRACE = float(sys.argv[1])
with ending.interruptible() as interrupts:
    interrupts.raises = True
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    source, sink = os.pipe()
    threading.Thread(target=lambda: os.read(source, 1) and pathlib.Path("hangs").touch(), daemon=True).start()
    # The signal is kept from this thread, as its call would return for it. A pipe holds 64 KB.
    ctypes.CDLL(None).write(sink, bytes(1 << 20), 1 << 20)
"""


def interrupt(command, folder, signals=1):
    """Sends SIGINT once the command hangs; returns its exit code, and what it printed."""
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or (folder / "hangs").exists())
        for _ in range(signals):
            send_signal(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out + err


def test_a_read_that_never_returns_does_not_hold_up_ctrl_c(warm_python, tmp_path):
    """Its thread is left behind."""
    for name in ("data/cat/1.jpg", "data/dog/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    code, printed = interrupt([warm_python.program, "-c", HANGING_READ], tmp_path)
    assert code == 128 + signal.SIGINT, printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("grace", "signals"), [("0.3", 1), ("600", 2)])
def test_the_main_thread_may_hang_as_well(tmp_path, grace, signals):
    """Some time after the first Ctrl-C a thread ends the process, and at the second at once."""
    status, printed = interrupt([sys.executable, "-c", HANGING_MAIN, grace], tmp_path, signals)
    assert status == 128 + signal.SIGINT, printed
    assert "Traceback" not in printed


# Ctrl-C while protobuf's C code imports a module of Python.
INTERRUPTED_IMPORT = """
import os, signal, sys
class Press:
    def find_spec(name, path, target=None):
        if name == "google.protobuf.internal.well_known_types":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.meta_path.insert(0, Press)
sys.argv = ["graft", "releases"]
from kubeflow.cli import main
main()
"""


def test_ctrl_c_within_the_import_of_protobuf_is_no_crash(tmp_path):
    """It would read a module that is not there, and end by SIGSEGV."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INTERRUPTED_IMPORT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def start_and_interrupt(command, folder, delay):
    """Sends SIGINT some seconds after the start; returns the exit code and the standard error."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=300)[1], process.returncode


def sweep(folder, delays):
    """Interrupts a command with few imports after each of some delays."""
    python = f'exec env --block-signal=INT {sys.executable} "$@"'  # as `graft` does at its end
    for delay in delays:
        complaint, code = start_and_interrupt(["sh", "-c", python, "sh", ROOT, "releases"], folder, delay)
        assert "Traceback" not in complaint, delay
        assert "KeyboardInterrupt" not in complaint, delay
        if not complaint.startswith("graft: graft-out: no pushed model"):
            assert (complaint.strip(), code in (-signal.SIGINT, 130)) == ("", True), delay  # click prints an empty line


def has_gnu_env():
    return (
        shutil.which("env")
        and not subprocess.run(["env", "--block-signal=INT", "true"], capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not has_gnu_env(), reason="env of GNU alone can block a signal")
def test_ctrl_c_in_the_first_moments_prints_no_traceback(tmp_path):
    """Neither Python nor an import says where it was."""
    sweep(tmp_path, [0.0, 0.02, 0.06, 0.15, 0.3])


@pytest.mark.long
@pytest.mark.skipif(not has_gnu_env(), reason="env of GNU alone can block a signal")
def test_ctrl_c_at_any_early_moment_prints_no_traceback(tmp_path):
    """Every 15 ms."""
    sweep(tmp_path, [number * 0.015 for number in range(50)])


def test_quick_end_leaves_no_temporary_file(tmp_path):
    """Modules of TensorFlow's autograph, their bytecode, and folders of Graft."""
    (tmp_path / "__autograph_generated_file7.py").touch()
    (tmp_path / "copies").mkdir()
    code = (
        "import __autograph_generated_file7; from serving.process import temporary_files; "
        "temporary_files.remove_at_exit('copies'); from pipeline.console import ending; ending.end_at_once(7)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 7
    assert not list(tmp_path.iterdir())
