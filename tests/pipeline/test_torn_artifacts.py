"""Runs over artifacts that are torn or lost: each ends in a success, or in one line with a way out that works."""

import os
import pathlib
import re
import shlex
import shutil

import pytest
import tensorflow as tf
from command_line import make_typist
from outcomes import find_output, list_executed

from pipeline.cli import main
from pipeline.local import runner
from pipeline.workspace.repair import repair

pytestmark = [pytest.mark.slow, pytest.mark.long]

HEAD = {"fine_tune_epochs": 0, "head_epochs": 2}


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def list_files(component):
    """The files of a component's outputs that are not empty."""
    folders = [pathlib.Path(output.uri) for output in component.outputs.values()]
    return [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_size]


def test_each_kind_of_artifact_is_made_again(run):
    """Component by component, each of its files is cut in two, or removed: the same run makes it again."""
    outcome, _ = run(**HEAD)
    for number in range(len(outcome.components)):
        component = outcome.components[number]
        files = list_files(component)
        for index, file in enumerate(files):
            cut(file) if (number + index) % 2 else file.unlink()
        outcome, printed = run(**HEAD)
        assert outcome.result.pushed_version is not None
        assert (component.name in list_executed(outcome)) == bool(files), printed
        assert not {file for again in outcome.components for file in list_files(again)} & set(files)
    assert list_executed(run(**HEAD)[0]) == []


def test_nothing_of_a_lost_database_is_read(run, workspace, small_digits, digits):
    """Other images, and the folders of the executions before: the report says how many are read, and so many are."""
    shutil.rmtree(small_digits)
    for label in "0123":
        (small_digits / label).mkdir(parents=True)
        for image in sorted((digits / label).iterdir())[40:60]:
            shutil.copy(image, small_digits / label)
    (workspace / "metadata.sqlite").unlink()
    outcome, printed = run(**HEAD)
    assert "has the artifacts of a lost database" in printed
    for key, component in (("examples", "ExampleGen"), ("embeddings", "Embedder")):
        for split, by_label in outcome.result.ingest.counts.items():
            files = pathlib.Path(find_output(outcome, component, key), f"Split-{split}").iterdir()
            records = list(tf.data.TFRecordDataset(list(map(str, files))))
            assert len(records) == sum(by_label.values())


def test_way_out_of_an_artifact_without_a_note_works(run, workspace, small_digits, settings, monkeypatch, capfd):
    """One that an older Graft has written: the run ends as unexpected, and what it prints leads on."""
    repair(str(workspace))
    with monkeypatch.context() as patch:
        patch.setattr(runner, "note_files", lambda store, artifacts: None)
        outcome, _ = run(**HEAD)
    cut(pathlib.Path(find_output(outcome, "Transform", "transform_graph"), "transform_fn/saved_model.pb"))
    values = settings | HEAD | {"dropout": 0.1}
    names = ("weights", "image_size", "head_epochs", "fine_tune_epochs", "min_accuracy", "max_accuracy_drop", "dropout")
    options = [f"--{name.replace('_', '-')}={values[name]}" for name in names]
    graft = make_typist(monkeypatch, capfd, main)
    ended = graft("run", small_digits, "--out", workspace, "--head-units=64", *options)
    assert ended.code == 1
    told = re.search(r"^If it comes again: \./graft (repair .*) moves aside", ended.err, re.MULTILINE)
    assert graft(*shlex.split(told[1])).code == 0
    assert run(**HEAD)[0].result.pushed_version is not None
