"""No command prints what is not its own: TensorFlow 2.21 writes four lines wherever it is imported."""

import json
import pathlib
import subprocess
import sys

import click
import pytest
from image_files import write_images
from kfp_api_stub import KfpApiStub
from kubeflow_commands import DATA, write_spec
from noisy_imports import IMPORTED, NOISE

from kubeflow.cli import cli

ROOT = pathlib.Path(__file__).parents[2]
CLASSES = ["--classes", "a,b"]
# Each command with arguments that lead as far as they can. Those of IMPORTS come to TensorFlow.
COMMANDS = {
    "check": ["photos"],
    "compare": ["a", "b"],
    "convert": ["photos", "converted"],
    "demo": ["--out", "photos/a/000.jpeg/no-folder"],
    "embeddings": [],
    "init": ["photos"],
    "kubeflow compile": ["gs://b/photos", *CLASSES, "--image", "i", "--pipeline-root", "gs://b/root"],
    "kubeflow delete": ["graft"],
    "kubeflow pause": ["graft"],
    "kubeflow resume": ["graft"],
    "kubeflow schedule": ["--cron", "0 0 3 * * *", DATA],
    "kubeflow schedules": [],
    "kubeflow submit": ["--beside", DATA],
    "model": [],
    "predict": ["photos/a/000.jpeg"],
    "releases keep": ["3"],
    "releases list": [],
    "releases promote": [],
    "releases rollback": [],
    "repair": [],
    "report": [],
    "run": ["gs://b/photos"],
    "runs": [],
    "sample cats-and-dogs": ["photos"],
    "sample digits": ["photos"],
    "serve": [],
    "tensorboard": [],
    "test": ["--quick", "--all"],
    "try": ["--url", "http://127.0.0.1:1", "--no-browser"],
}
SERVER = {"the built-in server": ["-m", "serving.server", "--help"]}
IMPORTS = {"check", "init", "kubeflow compile", "model", "predict", "run", *SERVER}


def list_commands(group, *path):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_commands(command, *path, name)
        else:
            yield " ".join([*path, name])


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """Exit code and both streams of each command, in a folder with images and a spec."""
    folder = tmp_path_factory.mktemp("here")
    for label in "ab":
        write_images(folder / "photos", label, 3)
    write_spec(folder / "graft.yaml")
    with KfpApiStub() as stub:
        typed = {name: [*name.split(), *rest] for name, rest in COMMANDS.items()}
        for name in typed:
            if name.startswith("kubeflow ") and name != "kubeflow compile":
                typed[name] += ["--host", stub.host]
        ended = subprocess.run(
            [sys.executable, ROOT / "tests/fixtures/noisy_imports.py"],
            input=json.dumps(typed | SERVER), cwd=folder, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    return json.loads(ended.stdout)


def test_every_command_is_looked_at():
    assert set(COMMANDS) == set(list_commands(cli))


def test_no_command_prints_what_tensorflow_writes(typed):
    assert {name for name, (code, *_) in typed.items() if code == IMPORTED} == IMPORTS
    shown = {name: err + out for name, (_, out, err) in typed.items()}
    assert {name: text for name, text in shown.items() if any(line in text for line in NOISE.splitlines())} == {}


def test_every_line_of_an_error_is_grafts_own(typed):
    own = ("graft: ", "Usage: ", "Try ", "Error: ", "  ")
    lines = {(name, line) for name, (_, _, err) in typed.items() for line in err.splitlines() if line}
    assert {(name, line) for name, line in lines if not line.startswith(own)} == set()
