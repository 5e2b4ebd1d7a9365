"""Ctrl-C and SIGTERM: the run ends, and the next one continues."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


def interrupt(command, folder, is_time, number):
    """Starts a run, waits until it is time, sends a signal; returns what was printed, the complaint, and the exit code.

    `is_time` is asked after each line of the standard output, with all lines up to there, and while none comes.
    """
    (folder / "temporary").mkdir(exist_ok=True)
    with (folder / "printed").open("w+") as printed:
        environment = os.environ | {"TMPDIR": str(folder / "temporary")}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.PIPE, text=True
        )
        try:
            while not is_time((folder / "printed").read_text()):
                assert process.poll() is None, process.communicate()[1]  # it would never be time
                time.sleep(0.05)
            process.send_signal(number)
            _, complaint = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
    return (folder / "printed").read_text(), complaint, process.returncode


@pytest.mark.parametrize(
    "base", ["small_base", pytest.param("program", marks=pytest.mark.long)], ids=["small", "ResNet50"]
)
def test_interrupted_run_goes_on_where_it_was(warm_python, small_digits, tmp_path, base):
    """The trainer is stopped twice; then everything before it is unchanged, and its half-written output is gone.

    From the command line to a pushed model.
    """
    command = [getattr(warm_python, base), ROOT, "run", "--data", str(small_digits), "--weights", "random"]
    command += ["--image-size", "32", "--min-accuracy", "0", "--early-stopping-patience", "100000"]
    command += ["--fine-tune-from", "conv5_block3"]  # both bases have it
    endless = [*command, "--head-epochs", "100000"]

    def trains(printed):
        return "head 1/" in printed

    printed, complaint, code = interrupt(endless, tmp_path, trains, signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert complaint == (
        "graft: interrupted in Trainer: it keeps nothing. The same command begins with it and repeats none of "
        "the 9 before it. No version is live.\n"
    )
    assert "Trainer" in printed.splitlines()[-1]
    assert "Traceback" not in printed + complaint
    assert not list((tmp_path / "temporary").iterdir())
    half_written = list((tmp_path / "graft-out" / "pipeline" / "Trainer" / "model_run").iterdir())
    assert half_written

    printed, complaint, code = interrupt(endless, tmp_path, trains, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert printed.count(" unchanged") == 9
    assert not any(folder.exists() for folder in half_written)

    command += ["--head-epochs", "2", "--fine-tune-epochs", "1", "--require-push"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "fine-tuning 1/1" in done.stdout
    assert re.search(r"^Pushed: +graft-out/serving/graft/\d+$", done.stdout, re.MULTILINE)
    check_log(tmp_path / "graft-out")


def check_log(workspace):
    """Each line says when, in which run, how grave and where; nothing is said of every component of every run."""
    lines = (workspace / "graft.log").read_text().splitlines()
    run_id = max(path.name for path in (workspace / "runs").iterdir())
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z (\S+) (?:INFO|WARNING|ERROR|-) (\S+) \S+: .*"
    found = [re.fullmatch(pattern, line).groups() for line in lines]
    components = [component for run, component in found if run == run_id and component != "-"]
    assert list(dict.fromkeys(components))[::12] == ["ExampleGen", "Pusher"]
    assert len({run for run, _ in found}) == 3
    assert not [line for line in lines if "property_predicate" in line]
    assert [line for line in lines if "INFO Trainer graft: finished: " in line]


def test_interrupt_within_a_beam_step_is_one_as_well(warm_python, small_digits, tmp_path):
    """Beam wraps it in an error of its own."""
    command = [warm_python.program, ROOT, "run", str(small_digits), "--weights", "random", "--image-size", "32"]
    folder = tmp_path / "graft-out/pipeline/StatisticsGen/statistics"  # made when the step, nothing but Beam, begins

    printed, complaint, code = interrupt(command, tmp_path, lambda _: folder.exists(), signal.SIGINT)
    assert code == 128 + signal.SIGINT, complaint
    assert re.search(r"^ +StatisticsGen +stopped$", printed, re.MULTILINE)
    assert complaint.startswith("graft: interrupted in ")
