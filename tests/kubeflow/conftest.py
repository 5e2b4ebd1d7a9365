"""Fixtures of the Kubeflow tests: the pipeline, compiled for small digits."""

import pytest
from kfp_api_stub import KfpApiStub

from kubeflow.compile import compile_spec
from pipeline.config.load import load_config

SETTINGS = {
    "classes": ("0", "1", "2"),
    "weights": "random",
    "image_size": 32,
    "head_units": (32,),
    "head_epochs": 10,
    "fine_tune_epochs": 0,
    "min_accuracy": 0.0,
    "max_accuracy_drop": 0.3,
}


@pytest.fixture(scope="session")
def compile_digits():
    """Compiles the pipeline for a folder of digits, with all paths below one root."""

    def compile_with(data, root, **settings):
        config = load_config(None, {"data": str(data), **SETTINGS, **settings})
        return compile_spec(config, "registry.example/graft:test", str(root))

    return compile_with


@pytest.fixture(scope="session")
def spec(compile_digits):
    """The compiled pipeline, for folders in a bucket."""
    return compile_digits("gs://bucket/photos", "gs://bucket/graft")


@pytest.fixture
def stub():
    """A stub server of the Kubeflow Pipelines API."""
    with KfpApiStub() as started:
        yield started
