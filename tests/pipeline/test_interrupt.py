"""Ctrl-C, or what a scheduler sends: the run ends, and the next one goes on."""

import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]


def interrupt(command, folder, line, number):
    """Starts a run, waits for a line, sends a signal; returns what was printed, the complaint, and the exit code."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    printed = ""
    while line not in printed and (read := process.stdout.readline()):
        printed += read
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    return printed + stdout, stderr, process.returncode


def test_interrupted_run_goes_on_where_it_was(small_digits, tmp_path):
    """The trainer is stopped; then everything before it is unchanged, and its half-written output is gone."""
    command = [sys.executable, str(ROOT), "run", "--data", str(small_digits), "--weights", "random"]
    command += ["--image-size", "32", "--head-epochs", "100000", "--early-stopping-patience", "100000"]

    printed, complaint, code = interrupt(command, tmp_path, "head 1/", signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert "graft: interrupted. The same command goes on from there" in complaint
    assert "Trainer" in printed.splitlines()[-1]
    assert "Traceback" not in printed + complaint
    half_written = list((tmp_path / "graft-out" / "pipeline" / "Trainer" / "model_run").iterdir())
    assert half_written

    printed, complaint, code = interrupt(command, tmp_path, "head 1/", signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert printed.count(" unchanged") == 9
    assert not any(folder.exists() for folder in half_written)


def test_interrupt_within_a_beam_step_is_one_as_well(small_digits, tmp_path):
    """Beam wraps it in an error of its own."""
    command = [sys.executable, str(ROOT), "run", str(small_digits), "--weights", "random", "--image-size", "32"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "MakeSchema" not in process.stdout.readline():
        pass
    time.sleep(2)  # StatisticsGen, which is nothing but Beam, takes several seconds
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT, complaint
    assert complaint.endswith("what is finished is kept, and what was live is live.\n")
