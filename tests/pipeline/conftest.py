"""Fixtures of the pipeline tests: a small real data set, and a run as users start it."""

import io
import shutil

import light_beam  # noqa: F401
import numpy as np
import pytest
from explaining_models import save_explaining, save_silent
from rich.console import Console

from pipeline.config.load import load_config
from pipeline.downloads.sample import write_digits
from pipeline.local.report import print_report
from pipeline.local.run import run_pipeline
from serving.client import launch
from serving.releases.versions import find_versions

IMAGES_A_CLASS = 30
SETTINGS = {
    "weights": "random",
    "image_size": 32,
    "head_units": (64,),
    "head_epochs": 8,
    "fine_tune_epochs": 1,
    "fine_tune_from": "conv5_block3",
    "min_accuracy": 0.0,
    "max_accuracy_drop": 0.2,
}


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The images inside scikit-learn as PNG class folders: all 1797."""
    folder = tmp_path_factory.mktemp("sample") / "digits"
    write_digits(str(folder))
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Returns a folder with a model that explains, one with heat maps of one cell, and one of an earlier Graft."""
    folder = tmp_path_factory.mktemp("models")
    save_explaining(folder / "new")
    save_explaining(folder / "one cell", np.ones((1, 1), np.float32))
    save_silent(folder / "old")
    return folder


@pytest.fixture(scope="module")
def small_digits(digits, tmp_path_factory):
    """30 images of each of 4 digits, in a folder of this module's own."""
    folder = tmp_path_factory.mktemp("data") / "my digits"
    for label in "0123":
        (folder / label).mkdir(parents=True)
        for image in sorted((digits / label).iterdir())[:IMAGES_A_CLASS]:
            shutil.copy(image, folder / label)
    return folder


@pytest.fixture(scope="session")
def settings():
    """Settings of `run`: small, and fast on two cores."""
    return SETTINGS


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """An empty folder for the runs of this module."""
    return tmp_path_factory.mktemp("workspace") / "out"


@pytest.fixture(scope="module")
def warm_servers(warm_python):
    """Starts the model servers of this process as forks: a server of its own takes seconds to import TensorFlow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "make_command", lambda _: [str(warm_python.program), "-m", "serving.server"])
        yield


@pytest.fixture(scope="module")
def run(small_digits, workspace, small_base, warm_servers):
    """Runs the pipeline on a small base with some settings changed; returns the outcome and what was printed."""

    def run_with(**settings):
        defaults = {"data": str(small_digits), "out": str(workspace), **SETTINGS}
        console = Console(file=io.StringIO(), width=120)
        config = load_config(None, defaults | settings)
        outcome = run_pipeline(config, console)
        print_report(outcome, config, console)
        return outcome, console.file.getvalue()

    return run_with


@pytest.fixture(scope="module")
def pushed_versions(workspace):
    """The numbers of the versions in the serving folder."""
    return lambda: [version.number for version in find_versions(str(workspace / "serving" / "graft"))]
