"""The message of an interrupted run matches the files that it leaves."""

import json
import pathlib
import shutil

import pytest

from pipeline.local.interruption import describe_interruption


@pytest.fixture
def model_dir(tmp_path):
    """A folder with one live version."""
    (tmp_path / "7" / "variables").mkdir(parents=True)
    (tmp_path / "7" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "7" / "variables" / "variables.index").write_bytes(b"index")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("component", "finished", "words"),
    [
        ("", 0, "interrupted before the first component: nothing was done. Version 7 is live."),
        ("", 3, "interrupted after 3 components, which the same command does not repeat. Version 7 is live."),
        ("ExampleGen", 0, "it keeps which images could be decoded. The same command begins with it. Version 7"),
        ("Embedder", 7, "it keeps the embeddings that it has stored. The same command begins with it and"),
        ("Trainer", 9, "it keeps nothing. The same command begins with it and repeats none of the 9 before it. V"),
        ("Pusher", 12, "a version is pushed whole or not at all"),
    ],
)
def test_each_component_says_what_is_kept_of_it(model_dir, component, finished, words):
    """The message promises nothing untrue."""
    assert words in describe_interruption(component, finished, model_dir, "run")


def test_without_a_live_version_none_is_promised(tmp_path):
    """On a first run nothing was live."""
    assert describe_interruption("Trainer", 9, str(tmp_path), "run").endswith("No version is live.")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("7", "Version 7 is live: this run pushed it."),
        ("6", "Version 7 is live, and this run pushed version 6, the canary."),
    ],
)
def test_a_version_that_the_run_had_pushed_is_named(model_dir, own, told):
    """Ctrl-C while the page is written comes after the push."""
    shutil.copytree(f"{model_dir}/7", f"{model_dir}/6")
    pathlib.Path(model_dir, own, "assets.extra").mkdir()
    pathlib.Path(model_dir, own, "assets.extra/graft.json").write_text(json.dumps({"run_id": "run"}))
    assert describe_interruption("", 13, model_dir, "run").endswith(f"repeat. {told}")
