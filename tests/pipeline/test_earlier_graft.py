"""A workspace of Graft 0.2.0 stays readable: its version and its runs; see tests/fixtures/graft_0_2_0."""

import json
import pathlib
import shutil

import pytest
from command_line import make_typist

from components.example_gen import layout
from components.records.history import TrainingHistory
from pipeline import resolve
from pipeline.cli import main
from pipeline.config.load import load_config
from pipeline.workspace.workspace import describe_last_run, find_trained_model, prepare
from schema.errors import UsageError
from serving.releases import versions

WRITTEN = pathlib.Path(__file__).parents[1] / "fixtures" / "graft_0_2_0"
PUSHED, REFUSED, SKIPPED = "20261127T012914-162536", "20261127T013047-170836", "20261127T013201-036445"
VERSION = 1795743029
EMBEDDINGS = "pipeline/Embedder/embeddings/8"


@pytest.fixture
def workspace(tmp_path):
    """The files of 0.2.0, with placeholders for the weights."""
    found = prepare(str(tmp_path / "out"))
    version = found.model_dir("graft") / str(VERSION)
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/graft.json"):
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).touch()
    shutil.copy(WRITTEN / "graft.json", version / "assets.extra/graft.json")
    shutil.copytree(WRITTEN / "runs", found.runs, dirs_exist_ok=True)
    return found


def test_its_version_is_listed(workspace, monkeypatch, capsys):
    """With time, accuracy and run; there is no problem."""
    ended = make_typist(monkeypatch, capsys, main, "releases")("list", "--json", "--out", workspace.root)
    [listed] = json.loads(ended.out)["versions"]
    told = {key: listed[key] for key in ("version", "state", "pushed_at", "accuracy", "run_id", "problem")}
    assert told == {
        "version": VERSION,
        "state": "live",
        "pushed_at": "2026-11-27T01:30:29+00:00",
        "accuracy": 1.0,
        "run_id": PUSHED,
        "problem": None,
    }


def test_its_manifests_are_read(workspace):
    """Of the run that pushed, of the one that was refused, and of the one that ended early; none is passed over."""
    pushed, refused, skipped = workspace.load_manifests()
    assert [m.run_id for m in (pushed, refused, skipped)] == workspace.list_runs() == [PUSHED, REFUSED, SKIPPED]
    assert (pushed.pushed_version, pushed.pushed_now, pushed.kept, pushed.failed) == (VERSION, True, "fine-tune", None)
    assert (pushed.embedding.images, pushed.embedding.artifact) == (78, EMBEDDINGS)
    assert pushed.ingest.ignored == {}
    assert refused.evaluation.failures == ["test accuracy 0.250 is below min_accuracy 0.990"]
    assert (refused.pushed_version, refused.serving, refused.evaluation.baseline.version) == (None, None, VERSION)
    assert (skipped.evaluation, skipped.live_version, skipped.decision.train) == (None, VERSION, False)
    assert {m.config.data for m in (pushed, refused, skipped)} == {"/home/user/photos"}


def test_what_it_writes_of_them_is_what_was_read(workspace):
    """Where artifacts were moved: each field stays, but for the path, formats, and what 0.2.0 did not count by kind."""
    before = json.loads((workspace.runs / PUSHED / "manifest.json").read_text())
    moved = workspace.root / "lost-1" / EMBEDDINGS
    moved.mkdir(parents=True)
    workspace.follow_artifacts(workspace.root / "lost-1")
    after = json.loads((workspace.runs / PUSHED / "manifest.json").read_text())
    assert after["format"] == 1
    before["embedding"]["artifact"] = f"lost-1/{EMBEDDINGS}"
    before["ingest"]["ignored"] = {}
    before["evaluation"] |= {"min_accuracy_reason": "", "logistic_regression": None, "best": None}
    before["evaluation"] |= {"calibration": None, "acceptance": None}
    before["resolved"]["best"] = None
    assert remove_formats(after) == before


def remove_formats(value):
    if not isinstance(value, dict):
        return value
    return {key: remove_formats(inner) for key, inner in value.items() if key != "format"}


@pytest.fixture
def config(workspace, tmp_path):
    """The configuration of a run on images of the same classes, in the same workspace."""
    for label in "012":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(12):
            (tmp_path / "photos" / label / f"{index}.png").write_bytes(b"image")
    return load_config(None, {"data": str(tmp_path / "photos"), "out": str(workspace.root), "weights": "random"})


def test_its_version_is_compared_with_as_the_best_that_is_kept(workspace, config):
    """Behind a live version of a lower accuracy; the identity is a property of the Evaluator, for TFX's cache.

    Where its files are damaged, that stops no run.
    """
    model_dir = workspace.model_dir("graft")
    best = versions.find_live(str(model_dir))
    shutil.copytree(model_dir / str(VERSION), model_dir / str(VERSION + 1))
    record = model_dir / str(VERSION + 1) / "assets.extra/graft.json"
    value = json.loads(record.read_text())
    record.write_text(json.dumps(value | {"metrics": value["metrics"] | {"accuracy": 0.5}}))
    assert resolve.resolve(config, workspace).best == best.identity
    shutil.rmtree(model_dir / str(VERSION) / "variables")
    assert resolve.resolve(config, workspace).best == f"{VERSION}:unreadable"


def test_a_run_deals_the_images_as_it_did(workspace, config, monkeypatch):
    """With the salt of its live version, in the words in which its runs asked; the version is compared with."""
    found = resolve.resolve(config, workspace)
    live = versions.find_live(str(workspace.model_dir("graft")))
    assert (found.salt, found.classes) == ("0", ["0", "1", "2"])
    assert (found.baseline, found.best) == (live.identity, "none")
    state = {"present": [VERSION], "gone": [], "withdrawn": [], "labels": {"stable": VERSION}}
    assert json.loads(found.served) == state

    monkeypatch.setattr(layout.Listing, "fingerprint", live.record.fingerprint)
    assert resolve.resolve(config, workspace).salt == ""


def test_its_last_run_is_told(workspace):
    """That it trained nothing, or that it was refused; 0.2.0 did not note the model of a run."""
    assert describe_last_run(str(workspace.root)) == ""
    shutil.rmtree(workspace.runs / SKIPPED)
    told = describe_last_run(str(workspace.root))
    assert told.startswith(" The model of the last run was not pushed: test accuracy 0.250 is below min_accuracy 0.990")
    with pytest.raises(UsageError, match=f"{REFUSED} has trained no model"):
        find_trained_model(str(workspace.root), REFUSED)


def test_its_history_is_read():
    """Phases and figures; which epoch was best is not known."""
    history = TrainingHistory.read(str(WRITTEN / "runs" / PUSHED))
    assert (history.kept, history.scores, history.trunk_computed) == ("fine-tune", {}, 0)
    assert [(row.phase, row.epoch, row.best) for row in history.epochs][2:] == [
        ("head", 3, False),
        ("fine-tune", 1, False),
    ]
