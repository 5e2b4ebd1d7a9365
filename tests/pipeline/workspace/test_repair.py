"""`./graft repair` moves the database aside and loses nothing."""

import errno
import json
import os
import re
import shlex
import shutil

import pytest
from command_line import make_typist
from manifests import make_use, write_manifest

from pipeline.cli import main
from pipeline.config.keys import all_keys
from pipeline.config.load import load_config
from pipeline.config.reference import render_effective_json
from pipeline.workspace.workspace import find_trained_model, open_workspace, prepare
from schema.errors import UsageError
from serving.releases.record import RunConfig


@pytest.fixture
def graft(monkeypatch, capsys):
    return make_typist(monkeypatch, capsys, main, "repair")


@pytest.fixture
def workspace(tmp_path):
    """A workspace with the files of a run that repair reads."""
    found = prepare(str(tmp_path / "out"))
    stores = ("serving/graft/7/saved_model.pb", "embeddings/kind/a.arrow", "decoded/kind/b.arrow")
    for name in (*stores, "metadata.sqlite"):
        (found.root / name).parent.mkdir(parents=True, exist_ok=True)
        (found.root / name).write_text(name)
    write_run(found, "run-1", 10, "first")
    return found


def write_run(workspace, run_id, number, text):
    """Writes the artifacts of a run, and its manifest."""
    model, embeddings = f"pipeline/Trainer/model/{number}/Format-Serving", f"pipeline/Embedder/embeddings/{number}"
    (workspace.root / model).mkdir(parents=True)
    (workspace.root / model / "saved_model.pb").write_text(text)
    (workspace.root / embeddings).mkdir(parents=True)
    write_manifest(workspace.root, run_id, trained_model=model, embedding=make_use(artifact=embeddings))


def list_files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_database_and_artifacts_are_moved_and_all_else_stays(graft, workspace):
    """Under the same names, in a folder that is printed; no byte is lost."""
    before = list_files(workspace.root)
    ended = graft("--out", workspace.root)
    assert (ended.code, ended.err) == (0, "")
    [lost] = workspace.root.glob("lost-*")
    assert f"to {lost};" in ended.out
    moved = list_files(lost)
    assert set(moved) == {"metadata.sqlite", "pipeline/Trainer/model/10/Format-Serving/saved_model.pb"}
    changed = {".lock", "runs/run-1/manifest.json"}
    after = list_files(workspace.root)
    assert {n: b for n, b in before.items() if n not in moved.keys() | changed} == {
        n: b for n, b in after.items() if not n.startswith("lost-") and n not in changed
    }


@pytest.mark.parametrize(
    ("out", "data", "file", "expected"),
    [
        ("graft-out", "photos", "", "run photos"),
        ("else where", "photos", "", "run photos --out {root}"),
        ("graft-out", "gs://bucket/photos", "", "run gs://bucket/photos"),
        ("graft-out", "gone", "", "run DATA"),
        ("graft-out", "", "", "run DATA"),
        ("graft-demo", "graft-demo/digits", "", "demo"),
        ("mine", "mine/digits", "", "demo --out {root}"),
        ("mine", "photos", 'data = "photos"\nout = "mine"', "run"),
        ("graft-out", "photos", 'data = "photos"\nout = "mine"', "run photos --out {root}"),
        ("mine", "photos", 'out = "mine"', "run photos --out {root}"),
        ("graft-out", "photos", "out = ", "run photos --out {root}"),
    ],
)
def test_the_next_command_runs_in_the_same_workspace_on_the_same_images(
    graft, tmp_path, monkeypatch, out, data, file, expected
):
    """Those of the last run, also where a configuration is damaged, lacks the images or has another workspace."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    root = prepare(out).root
    (root / "metadata.sqlite").write_text("damaged")
    for run_id, images in (("20261126T000000-000Z-0000", "other"), ("20261127T000000-000Z-0000", data)):
        write_manifest(root, run_id, config=RunConfig(data=images))
    if not data:
        shutil.rmtree(root / "runs")
    if file:
        (tmp_path / "graft.toml").write_text(file)
    [told] = re.findall(r"^Next:     (.*)$", graft("--out", out).out, re.MULTILINE)
    assert told == f"./graft {expected.format(root=shlex.quote(str(tmp_path / out)))}"


CHANGED = {
    "size": {"image_size": 64, "weights": "random", "follow_links": True},
    "table": {"augmentation.flip": "horizontal", "fine_tune_learning_rate": 1e-6},
    "lists": {"split_ratios": "8,1,1", "classes": "dogs, cats", "head_units": "auto", "beam.args": "--a='b c' --d"},
    "dates": {"window_end": "2026-11-23", "window_days": 3},
}


@pytest.mark.parametrize("file", ["", 'seed = 7\nweights = "random"\n'])
@pytest.mark.parametrize("options", CHANGED.values(), ids=CHANGED)
def test_the_next_command_has_the_settings_of_the_last_run(tmp_path, monkeypatch, capsys, options, file):
    """Typed where a configuration of another workspace lies or none: only what differs from it is an option."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    root = prepare("mine").root
    (root / "metadata.sqlite").write_text("damaged")
    ran = load_config(None, {"data": "photos", "out": str(root), **options})
    write_manifest(root, "20261127T000000-000Z-0000", config=RunConfig(**ran.model_dump(mode="json")))
    (tmp_path / "graft.toml").write_text(file)
    graft = make_typist(monkeypatch, capsys, main)
    printed = graft("repair", "--out", "mine").out
    [command] = re.findall(r"^Next:     \./graft (.*)$", printed, re.MULTILINE)
    typed = json.loads(graft(*shlex.split(command), "--print-config", "--json").out)
    wanted = json.loads(render_effective_json(ran, dict.fromkeys(all_keys(), "")))
    assert {k: v["value"] for k, v in typed.items()} == {k: v["value"] for k, v in wanted.items()}
    assert "With the options of the last run" not in printed
    assert "--batch-size" not in command


def test_settings_that_options_cannot_give_are_named_as_missing(graft, tmp_path, monkeypatch):
    """Such as those of another version of Graft, and a class with a comma."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    root = prepare("graft-out").root
    for settings in ({"image_size": 64, "brightness": 3}, {"image_size": 64, "classes": ["a,b", "c"]}):
        (root / "metadata.sqlite").write_text("damaged")
        write_manifest(root, "20261127T000000-000Z-0000", config=RunConfig(data="photos", **settings))
        assert "Next:     ./graft run photos\n          With the options of the last run. " in graft().out


def test_it_works_twice(graft, workspace):
    """The second time there is nothing to move."""
    graft("--out", workspace.root)
    before = set(os.listdir(workspace.root))
    ended = graft("--out", workspace.root)
    assert (ended.code, set(os.listdir(workspace.root))) == (0, before)
    assert "Moved:    nothing" in ended.out


def test_the_model_of_a_run_is_found_where_it_was_moved_to(graft, workspace):
    """And is not taken for that of a later run, whose folder has the same name."""
    graft("--out", workspace.root)
    write_run(workspace, "run-2", 10, "second")
    for run_id, text in (("run-1", "first"), ("run-2", "second")):
        with open(os.path.join(find_trained_model(str(workspace.root), run_id), "saved_model.pb")) as file:
            assert file.read() == text
    graft("--out", workspace.root)
    assert find_trained_model(str(workspace.root), "run-1") != find_trained_model(str(workspace.root), "run-2")
    [embedding] = {m.embedding.artifact for m in workspace.load_manifests() if m.run_id == "run-1"}
    assert (workspace.root / embedding).is_dir()


def test_the_model_of_a_run_that_is_gone_is_not_that_of_another(graft, workspace):
    """Somebody has removed the artifacts by hand."""
    (workspace.artifacts / "Trainer/model/10").rename(workspace.root.parent / "elsewhere")
    graft("--out", workspace.root)
    write_run(workspace, "run-2", 10, "second")
    with pytest.raises(UsageError, match="run-1 has trained no model"):
        find_trained_model(str(workspace.root), "run-1")


def test_a_workspace_at_work_is_left_alone(graft, workspace):
    """The lock is that of a run."""
    before = set(os.listdir(workspace.root))
    with open_workspace(str(workspace.root)):
        ended = graft("--out", workspace.root)
    assert ended.code == 1
    assert "another run is at work here" in ended.err
    assert set(os.listdir(workspace.root)) - {".lock"} == before


def test_a_repair_that_the_disk_stops_goes_on(graft, workspace, monkeypatch):
    """The database is moved, then the disk fails; the same command moves the rest."""
    move = shutil.move

    def fail_at_artifacts(source, target):
        if source.name == "pipeline":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", fail_at_artifacts)
        ended = graft("--out", workspace.root)
    assert (ended.code, ended.out) == (1, "")
    assert "out: cannot be changed: Read-only file system. Make it writable" in ended.err
    assert graft("--out", workspace.root).code == 0
    assert len(list(workspace.root.glob("lost-*/*"))) == 2
    assert not workspace.artifacts.exists()


def test_a_folder_that_is_no_workspace_is_left_alone(graft, tmp_path):
    """Nothing is made in it; nor is a folder that is not there."""
    for name in ("photos", "nowhere"):
        ended = graft("--out", tmp_path / name)
        assert ended.code == 2
        assert "no workspace of ./graft run here" in ended.err
    assert not (tmp_path / "nowhere").exists()


def test_a_lost_folder_does_not_make_a_workspace_a_foreign_folder(workspace):
    """Where workspace.json is lost as well."""
    (workspace.root / "lost-1").mkdir()
    (workspace.root / "workspace.json").unlink()
    assert prepare(str(workspace.root)).root == workspace.root
