"""A version is in the serving folder whole, or not at all."""

import json
import os
import shutil
import time

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.artifacts import IngestReport
from components.pusher import PusherExecutor, push
from serving import versions


def make_model(folder, variables=b"variables"):
    """A folder with the files of a SavedModel."""
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"index")
    (folder / "variables/variables.data-00000-of-00001").write_bytes(variables)
    return folder


def list_files(folder):
    """Path to content, of every file below."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


@pytest.fixture
def served(tmp_path):
    """A serving folder with a live version."""
    push(str(make_model(tmp_path / "old", b"old")), str(tmp_path / "serving"), {"salt": 1})
    return tmp_path / "serving"


def test_a_push_makes_a_whole_version(model, tmp_path):
    """Every file of the model and the record; the folder of the versions is made as well. The model stays."""
    before = list_files(model)
    version = push(str(model), str(tmp_path / "serving/flowers"), {"classes": ["猫", "dog"]})
    pushed = list_files(tmp_path / "serving/flowers" / str(version.number))
    assert json.loads(pushed.pop("assets.extra/graft.json")) == {"classes": ["猫", "dog"]}
    assert pushed == before == list_files(model)
    assert versions.find_live(str(tmp_path / "serving/flowers")) == version
    assert os.listdir(tmp_path / "serving/flowers") == [str(version.number)]


def test_a_model_with_assets_extra_of_its_own_keeps_them(model, tmp_path):
    """Warm-up requests, say: the record is laid beside."""
    (model / "assets.extra").mkdir()
    (model / "assets.extra/tf_serving_warmup_requests").write_bytes(b"requests")
    version = push(str(model), str(tmp_path / "serving"), {})
    assert set(os.listdir(os.path.join(version.path, "assets.extra"))) == {"graft.json", "tf_serving_warmup_requests"}


def test_the_number_is_the_time_in_seconds(model, tmp_path, monkeypatch):
    """So that versions of two workspaces are in the order in which they were pushed."""
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.9)
    assert push(str(model), str(tmp_path / "serving"), {}).number == 1_790_000_000


def test_the_number_is_higher_than_any_there(model, tmp_path):
    """Even than that of a version of the future, and of a folder that is no complete version."""
    (tmp_path / "serving/9999999999").mkdir(parents=True)
    assert push(str(model), str(tmp_path / "serving"), {}).number == 10_000_000_000
    assert push(str(model), str(tmp_path / "serving"), {}).number == 10_000_000_001


def test_two_pushes_within_a_second_are_two_versions(model, tmp_path, monkeypatch):
    """The second is live."""
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.0)
    numbers = [push(str(model), str(tmp_path / "serving"), {}).number for _ in range(2)]
    assert numbers == [1_790_000_000, 1_790_000_001]
    assert versions.find_live(str(tmp_path / "serving")).number == numbers[1]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("step", ["copy", "rename"])
def test_an_interrupted_push_leaves_the_live_version_untouched(model, served, monkeypatch, step, error):
    """Nothing half is left behind, neither a version nor the staging folder, and the error is not swallowed."""
    before, live = list_files(served), versions.find_live(str(served))
    original, calls = getattr(tf.io.gfile, step), []

    def interrupt(*args, **kwargs):
        calls.append(args)
        if len(calls) == (2 if step == "copy" else 1):  # one file is copied, then comes the interruption
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(tf.io.gfile, step, interrupt)
    with pytest.raises(type(error)):
        push(str(model), str(served), {})
    assert calls
    assert os.listdir(served) == [str(live.number)]
    assert list_files(served) == before
    assert versions.find_live(str(served)) == live


def test_while_it_is_copied_a_push_is_no_version(model, served, monkeypatch):
    """A model server that looks at any moment sees the old versions, until the rename."""
    seen, copy = [], tf.io.gfile.copy

    def look(*args, **kwargs):
        copy(*args, **kwargs)
        seen.append([name for name in os.listdir(served) if name.isdigit()])

    monkeypatch.setattr(tf.io.gfile, "copy", look)
    live = versions.find_live(str(served))
    push(str(model), str(served), {})
    assert seen == [[str(live.number)]] * 3


@pytest.fixture
def run_pusher(tmp_path, model):
    """Returns a function that runs the executor on `model`; gives the PushedModel artifact."""

    def run(blessed=True):
        artifacts = {
            "model": standard_artifacts.Model(),
            "model_blessing": standard_artifacts.ModelBlessing(),
            "evaluation": standard_artifacts.ModelEvaluation(),
            "report": IngestReport(),
        }
        for name, artifact in artifacts.items():
            artifact.uri = str(tmp_path / "artifacts" / name)
            (tmp_path / "artifacts" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "artifacts/report/report.json").write_text('{"salt": 3, "window_end": "2026-11-23", "counts": {}}')
        (tmp_path / "artifacts/evaluation/summary.json").write_text('{"accuracy": 0.9}')
        shutil.copytree(model, tmp_path / "artifacts/model/Format-Serving", dirs_exist_ok=True)
        artifacts["model_blessing"].set_int_custom_property("blessed", int(blessed))
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "artifacts/pushed")
        PusherExecutor().Do(
            {name: [artifact] for name, artifact in artifacts.items()},
            {"pushed_model": [pushed]},
            {
                "model_dir": str(tmp_path / "serving"),
                "record": '{"classes": ["a", "b"]}',
                "keep_versions": 3,
                "served": "",
                "code_digest": "",
            },
        )
        return pushed

    return run


def test_a_blessed_model_is_pushed_with_its_record(run_pusher, tmp_path):
    """What was asked for, and what this run alone knows: salt, window and metrics."""
    pushed = run_pusher()
    live = versions.find_live(str(tmp_path / "serving"))
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(live.number)
    assert live.record == {
        "classes": ["a", "b"],
        "run_id": None,
        "salt": 3,
        "window_end": "2026-11-23",
        "counts": {},
        "metrics": {"accuracy": 0.9},
    }


def test_a_model_that_is_not_blessed_is_not_pushed(run_pusher, served):
    """The live version stays, and the artifact says so."""
    before = list_files(served)
    pushed = run_pusher(blessed=False)
    assert pushed.get_int_custom_property("pushed") == 0
    assert list_files(served) == before


def test_the_same_model_is_not_pushed_twice(run_pusher, tmp_path):
    """The second push names the version that is live already."""
    first, second = run_pusher(), run_pusher()
    assert len(versions.find_versions(str(tmp_path / "serving"))) == 1
    names = [pushed.get_string_custom_property("pushed_version") for pushed in (first, second)]
    assert names[0] == names[1] != ""
    assert second.get_int_custom_property("pushed") == 1
    assert [pushed.get_int_custom_property("new") for pushed in (first, second)] == [1, 0]


def test_a_push_removes_the_versions_beyond_those_to_keep(run_pusher, tmp_path):
    """The oldest; the artifact says which."""
    numbers = [push(str(make_model(tmp_path / n, n.encode())), str(tmp_path / "serving"), {}).number for n in "abc"]
    pushed = run_pusher()
    assert json.loads(pushed.get_string_custom_property("removed_versions")) == numbers[:1]
    live = int(pushed.get_string_custom_property("pushed_version"))
    assert [v.number for v in versions.find_versions(str(tmp_path / "serving"))] == [*numbers[1:], live]


def test_the_same_weights_exported_again_are_not_pushed_again(run_pusher, tmp_path):
    """A second export of one network has another graph file: names in it count on."""
    run_pusher()
    (tmp_path / "model/saved_model.pb").write_bytes(b"the same graph with other names")
    assert run_pusher().get_int_custom_property("new") == 0


@pytest.mark.parametrize(
    "change", [{"config": {"image_size": 64}}, {"classes": ["b", "a"]}, {"resolved": {"code_digest": "2"}}]
)
def test_the_same_weights_for_other_images_classes_or_code_are_pushed(run_pusher, tmp_path, change):
    """What the graph does with them is another thing."""
    run_pusher()
    [version] = versions.find_versions(str(tmp_path / "serving"))
    record = tmp_path / "serving" / str(version.number) / versions.RECORD
    record.write_text(json.dumps(version.record | change))
    assert run_pusher().get_int_custom_property("new") == 1


def test_a_model_that_is_not_the_live_one_is_pushed_again(run_pusher, model, tmp_path):
    """After a push of another model the first one comes back as a third version."""
    run_pusher()
    push(str(make_model(tmp_path / "other", b"other")), str(tmp_path / "serving"), {})
    run_pusher()
    assert len(versions.find_versions(str(tmp_path / "serving"))) == 3
