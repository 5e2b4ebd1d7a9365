"""`./graft test`: runs ruff, mypy and pytest on the project."""

import pathlib
import shlex
import subprocess
import sys
from collections.abc import Sequence

import click

from pipeline.console.printing import echo
from pipeline.downloads.browser import install_browser
from serving.process.cores import count_cores

ROOT = pathlib.Path(__file__).parents[2]
QUICK, NORMAL, ALL = "not slow and not long", "not long", ""
# One process more than cores, because tests wait a fifth of the time for a server or a child process. A file of tests
# stays in one process, because its tests share fixtures. At most 4 processes, because each takes 2 GB.
_PROCESSES = str(min(4, count_cores() + 1))
_SPREAD = ["-n", _PROCESSES, "--dist", "loadfile", "--no-loadscope-reorder"]
LINTERS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
FOLDERS = ["schema", "serving", "components", "pipeline", "kubeflow"]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--quick", is_flag=True, help="Leave out tests that run pipelines or servers: an answer in 2 minutes.")
@click.option("--all", "everything", is_flag=True, help="Add the long forms of some tests, and the browser tests.")
@click.option("--coverage", is_flag=True, help="Measure branch coverage, and print it by folder.")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(quick: bool, everything: bool, coverage: bool, pytest_arguments: tuple[str, ...]) -> int:
    """Check the code: ruff, mypy, pytest. Arguments go to pytest.

    \b
    ./graft test
    ./graft test --quick
    ./graft test tests/components -k gate
    ./graft test -n 0 --pdb tests/schema    one process, and a debugger where it fails

    --all installs Chromium and npm with apt-get, if they are missing and it can become root without a password.
    """
    if quick and everything:
        raise click.UsageError("--quick and --all: expected one of them, got both.")
    selection = QUICK if quick else ALL if everything else NORMAL
    if everything and (advice := install_browser()):
        echo(advice)
    return run_checks(selection, coverage, pytest_arguments)


def run_checks(selection: str, coverage: bool, pytest_arguments: Sequence[str]) -> int:
    """Runs each check and stops at the first that fails.

    Args:
        selection: pytest's expression of marks: `QUICK`, `NORMAL` or `ALL`.
        coverage: whether to measure branch coverage, and print it by folder.
        pytest_arguments: arguments of pytest, behind the project's own: pytest uses the last of two that conflict.
    Returns:
        The exit code of the check that failed, or 0.
    """
    pytest = ["pytest", *_SPREAD, "-m", selection]
    if coverage:
        pytest += ["--cov", "--cov-report="]
    for command in (*LINTERS, [*pytest, *pytest_arguments]):
        if status := _run(command):
            return status
    return _report_coverage() if coverage else 0


def _report_coverage() -> int:
    for folder in FOLDERS:
        if status := _run(["coverage", "report", "--format=total", f"--include={folder}/*"]):
            return status
    return _run(["coverage", "report", "--format=total"])


def _run(command: list[str]) -> int:
    echo(f"$ {shlex.join(command)}")
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
