"""The model of a run that was not pushed."""

import pytest
from manifests import write_manifest

from pipeline.workspace.workspace import find_trained_model
from schema.errors import UsageError


@pytest.fixture
def workspace(tmp_path):
    """A workspace with a run that trained a model, and one that ended before."""
    model = tmp_path / "pipeline/Trainer/model/9/Format-Serving"
    model.mkdir(parents=True)
    (model / "saved_model.pb").touch()
    write_manifest(tmp_path, "a", trained_model=str(model.relative_to(tmp_path)))
    write_manifest(tmp_path, "b", failed="dark")
    return tmp_path


def test_the_model_of_a_run_is_found(workspace):
    assert find_trained_model(str(workspace), "a") == str(workspace / "pipeline/Trainer/model/9/Format-Serving")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("c", "expected the name of a folder in .*/runs, such as b; got 'c'"),
        ("../runs/a", "expected the name of a folder"),
        ("", "expected the name of a folder"),
        ("b", "has trained no model"),
    ],
)
def test_a_run_without_a_model_is_said(workspace, run, words):
    with pytest.raises(UsageError, match=words):
        find_trained_model(str(workspace), run)


def test_a_model_that_is_gone_is_said(workspace):
    (workspace / "pipeline/Trainer/model/9/Format-Serving/saved_model.pb").unlink()
    with pytest.raises(UsageError, match="the model of the run a is gone"):
        find_trained_model(str(workspace), "a")
