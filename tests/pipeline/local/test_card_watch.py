"""Share of the time that the card waited: a script stands in for nvidia-smi."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from waiting import wait_until

from pipeline.local.card_watch import CardWatch, watch_card

ROOT = pathlib.Path(__file__).parents[3]
# Notes its process id and arguments, complains, and prints a sample every 10 ms.
STAND_IN = """#!/bin/sh
echo $$ "$@" >"$STARTED"
echo "Failed to initialize NVML" >&2
while :; do echo 25; sleep 0.01; done
"""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Puts the stand-in on the PATH; returns the path of the note that it writes."""
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "started"


def is_running(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{process}/status").read_text()
    return False


def test_samples_count_for_the_components_that_run():
    """Two cards give two lines; what is no number, and what runs on a processor, counts nothing."""
    watch = CardWatch()
    watch.add("100")
    for component in ("ExampleGen", "Embedder"):
        watch.start(component)
    for line in ("0\n", "[N/A]\n", "50\n", ""):
        watch.add(line)
    watch.start("Trainer")
    watch.add("100")
    watch.finish("Embedder")
    watch.add("80")
    watch.finish("Evaluator")
    assert watch.waited == {"Embedder": 0.5, "Trainer": 0.1}


def test_the_program_ends_with_the_run_and_prints_nothing(started, capfd):
    with watch_card() as watch:
        watch.start("Trainer")
        wait_until(lambda: watch.waited)
        process, *arguments = started.read_text().split()
    assert watch.waited == {"Trainer": 0.75}
    assert arguments == ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=500"]
    assert not is_running(int(process))
    assert capfd.readouterr() == ("", "")


def test_the_program_ends_with_a_run_that_is_killed(started):
    code = "import time; from pipeline.local.card_watch import watch_card\nwith watch_card(): time.sleep(600)"
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_until(lambda: started.exists() and started.read_text())
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_until(lambda: not is_running(int(started.read_text().split()[0])))


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_run_that_hides_all_cards_starts_no_program(started, monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    with watch_card() as watch:
        watch.start("Trainer")
        time.sleep(0.1)
    assert watch.waited is None
    assert not started.exists()


def test_only_visible_cards_are_asked_for(started, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with watch_card():
        wait_until(lambda: started.exists() and started.read_text())
    assert started.read_text().split()[-1] == "--id=1,2"


def test_a_machine_without_the_program_has_no_figure(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with watch_card() as watch:
        watch.start("Trainer")
    assert watch.waited is None
