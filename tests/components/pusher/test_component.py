"""A version is in the serving folder whole, or not at all."""

import datetime
import json
import os
import pathlib
import shutil
import time

import pytest
import tensorflow as tf
from damaged_files import DAMAGES
from data_reports import NOTHING
from made_up_evaluation import EVALUATION
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import IngestReport, RunDecision
from components.evaluator.comparison import describe_uncompared
from components.pusher.component import PusherExecutor, PushSettings
from components.pusher.push import SupersededError, push
from components.records.decision import RetrainingDecision
from components.records.push import PushOutcome
from components.records.serving_verdict import ServingVerdict
from schema.errors import UsageError
from serving.releases import models_config, releases, versions
from serving.releases.record import VersionRecord
from serving.storage.gfile import gfile

MEMORY = "not_pushed.json"  # beside the versions
AS_NOW = object()
DECISION = RetrainingDecision(
    train=True, reason="no version is live yet", new_images=1, gone_images=0, settings_key="s1", images_digest="d1"
)


def make_model(folder, variables=b"variables"):
    """A folder with the files of a SavedModel."""
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"index")
    (folder / "variables/variables.data-00000-of-00001").write_bytes(variables)
    return folder


def list_files(folder):
    """Path to content, of every file below; but for what is remembered of models that were not pushed."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != MEMORY)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def read_outcome(pushed):
    """Returns the outcome of the push from the artifact."""
    return PushOutcome.read({PushOutcome.PROPERTY: pushed.get_string_custom_property(PushOutcome.PROPERTY)})


def read_flags(pushed):
    """Returns three flags of the artifact: pushed, pushed by this push, canary."""
    outcome = read_outcome(pushed)
    return [pushed.get_int_custom_property("pushed"), outcome.new, outcome.canary]


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


@pytest.fixture
def served(tmp_path):
    """A serving folder with a live version."""
    push(str(make_model(tmp_path / "old", b"old")), str(tmp_path / "serving"), VersionRecord(salt=1))
    return tmp_path / "serving"


def test_a_push_makes_a_whole_version(model, tmp_path):
    """Every file of the model and the record; the folder of the versions is made as well. The model stays."""
    before = list_files(model)
    version = push(str(model), str(tmp_path / "serving/flowers"), VersionRecord(classes=["猫", "dog"], salt=3))
    pushed = list_files(tmp_path / "serving/flowers" / str(version.number))
    record = json.loads(pushed.pop("assets.extra/graft.json"))
    assert record["classes"] == ["猫", "dog"]
    assert pushed == before == list_files(model)
    assert versions.find_live(str(tmp_path / "serving/flowers")) == version
    assert os.listdir(tmp_path / "serving/flowers") == [str(version.number)]


def test_a_version_says_what_it_is_and_when_it_was_pushed(model, tmp_path):
    """The record has number, time and digest, so a renamed folder is still known."""
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    version = push(str(model), str(tmp_path / "serving"), VersionRecord())
    pushed_at = datetime.datetime.fromisoformat(version.record.pushed_at)
    assert before <= pushed_at <= datetime.datetime.now(datetime.timezone.utc)
    digest = versions.digest_model(str(model))
    told = {"pushed_version": version.number, "canary": False, "model_digest": digest}
    assert version.record == VersionRecord(pushed_at=version.record.pushed_at, **told)


def test_a_model_with_assets_extra_of_its_own_keeps_them(model, tmp_path):
    """The record is added beside such files, for example warm-up requests."""
    (model / "assets.extra").mkdir()
    (model / "assets.extra/tf_serving_warmup_requests").write_bytes(b"requests")
    version = push(str(model), str(tmp_path / "serving"), VersionRecord())
    assert set(os.listdir(os.path.join(version.path, "assets.extra"))) == {"graft.json", "tf_serving_warmup_requests"}


def test_the_number_is_the_time_in_seconds(model, tmp_path, monkeypatch):
    """So that versions of two workspaces are in the order in which they were pushed."""
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.9)
    assert push(str(model), str(tmp_path / "serving"), VersionRecord()).number == 1_790_000_000


def test_the_number_is_higher_than_any_there(model, tmp_path):
    """Even than that of a version of the future, and of a folder that is no complete version."""
    (tmp_path / "serving/9999999999").mkdir(parents=True)
    assert push(str(model), str(tmp_path / "serving"), VersionRecord()).number == 10_000_000_000
    assert push(str(model), str(tmp_path / "serving"), VersionRecord()).number == 10_000_000_001


def test_two_pushes_within_a_second_are_two_versions(model, tmp_path, monkeypatch):
    """The second is live."""
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.0)
    numbers = [push(str(model), str(tmp_path / "serving"), VersionRecord()).number for _ in range(2)]
    assert numbers == [1_790_000_000, 1_790_000_001]
    assert versions.find_live(str(tmp_path / "serving")).number == numbers[1]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("step", ["copy", "rename"])
def test_an_interrupted_push_leaves_the_live_version_untouched(model, served, monkeypatch, step, error):
    """Nothing half is left behind, neither a version nor the staging folder, and the error is not swallowed."""
    before, live = list_files(served), versions.find_live(str(served))
    owner = tf.io.gfile if step == "copy" else gfile(str(served))
    original, calls = getattr(owner, step), []

    def interrupt(*args, **kwargs):
        calls.append(args)
        if len(calls) == (2 if step == "copy" else 1):  # one file is copied, then comes the interruption
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, step, interrupt)
    with pytest.raises(type(error)):
        push(str(model), str(served), VersionRecord())
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
    push(str(model), str(served), VersionRecord())
    assert seen == [[str(live.number)]] * 3


def test_every_file_and_folder_is_on_the_disk_before_the_version_has_its_name(model, served, tmp_path, monkeypatch):
    """A power cut leaves the whole version or none: the record is written last, and synced as well."""
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append(paths), replace(*paths)))
    (tmp_path / "images.u64").write_bytes(b"8 bytes.")
    version = push(str(model), str(served), VersionRecord(), extras=[str(tmp_path / "images.u64")])
    [renamed] = (index for index, call in enumerate(calls) if isinstance(call, tuple) and call[1] == version.path)
    staging = calls[renamed][0]
    inside = (os.path.relpath(path, version.path) for path in (served / str(version.number)).rglob("*"))
    paths = [staging, *(os.path.join(staging, path) for path in inside)]
    assert os.path.join(staging, versions.RECORD) in paths
    assert {path for path in calls[:renamed] if isinstance(path, str)} >= set(paths)
    last = {path: max(i for i, call in enumerate(calls[:renamed]) if call == path) for path in paths}
    assert all(last[path] < last[os.path.dirname(path)] for path in paths if path != staging)
    assert calls[renamed + 1] == str(served)


@pytest.mark.parametrize("canary", [False, True])
def test_a_version_that_became_live_while_the_model_was_copied_is_not_replaced(
    model, served, tmp_path, monkeypatch, canary
):
    """The check with the lock held decides."""
    live, copy_tree = versions.find_live(str(served)), versions.copy_tree

    def copy_slowly(source, target):
        copy_tree(source, target)
        monkeypatch.setattr(versions, "copy_tree", copy_tree)
        push(str(make_model(tmp_path / "other", b"other")), str(served), VersionRecord())

    monkeypatch.setattr(versions, "copy_tree", copy_slowly)
    with pytest.raises(SupersededError) as caught:
        push(str(model), str(served), VersionRecord(), canary, compared_with=live.number)
    found = releases.read(str(served))
    assert (found.live.number, [v.number for v in found.numbered]) == (
        caught.value.version,
        [live.number, found.live.number],
    )


def test_a_live_model_whose_record_is_damaged_is_pushed_again_with_a_record(run_pusher, served):
    """A forced run may make the same model; the push gives it a good record, so that later runs are not rejected."""
    run_pusher()
    damaged = versions.find_live(str(served))
    DAMAGES["NUL bytes"](os.path.join(damaged.path, versions.RECORD))
    assert read_outcome(run_pusher()).new
    live = versions.find_live(str(served))
    assert (live.number > damaged.number, live.problem, live.record.settings_key) == (True, "", "s1")


@pytest.mark.parametrize("damage", [DAMAGES["empty"], DAMAGES["a folder"]])
def test_a_withdrawn_model_whose_record_is_damaged_does_not_come_back(run_pusher, served, damage):
    """Weights and graph identify the model."""
    number = int(run_pusher().get_string_custom_property("pushed_version"))
    damage(os.path.join(releases.roll_back(str(served)).path, versions.RECORD))
    assert read_rejection(run_pusher()) == {"version": number, "state": "withdrawn"}


@pytest.fixture
def run_pusher(tmp_path, model):
    """Returns a function that runs the executor on `model`; gives the PushedModel artifact.

    Unless a test says otherwise, the model was compared with what is live now. Only if it is blessed, a server
    tries it and gives a verdict.
    """

    def run(blessed=True, canary=False, served=True, compared_with=AS_NOW, failures=(), reasons=(), moments=b"moments"):
        served = served if blessed else None
        artifacts = {
            "model": standard_artifacts.Model(),
            "model_blessing": standard_artifacts.ModelBlessing(),
            "infra_blessing": standard_artifacts.InfraBlessing(),
            "evaluation": standard_artifacts.ModelEvaluation(),
            "report": IngestReport(),
            "decision": RunDecision(),
            "statistics": standard_artifacts.ExampleStatistics(),
            "embeddings": standard_artifacts.Examples(),
        }
        for name, artifact in artifacts.items():
            artifact.uri = str(tmp_path / "artifacts" / name)
        artifacts["statistics"].split_names = artifact_utils.encode_split_names(["train", "val", "test"])
        if compared_with is AS_NOW:
            live = versions.find_live(str(tmp_path / "serving"))
            compared_with = live.number if live else None
        baseline = describe_uncompared(compared_with, []) if compared_with else None
        report = NOTHING.model_copy(update={"salt": 3, "spans": ["2026-11-22", "2026-11-23"], "fingerprint": "f1"})
        summary = EVALUATION.model_copy(update={"failures": list(failures), "baseline": baseline})
        verdict = ServingVerdict(blessed=not reasons, reasons=list(reasons))
        files = {
            "report/ingest.json": report.render().encode(),
            "report/images.u64": b"8 bytes.",
            "evaluation/summary.json": summary.render().encode(),
            f"infra_blessing/{ServingVerdict.FILE}": None if served is None else verdict.render().encode(),
            "decision/decision.json": DECISION.render().encode(),
            "statistics/Split-train/FeatureStats.pb": b"statistics",
            "embeddings/moments.npz": moments,
            "model/Format-Serving/assets.extra/classes.json": b'["a", "b"]',
        }
        for name, content in files.items():
            (tmp_path / "artifacts" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "artifacts" / name).unlink(missing_ok=True)
            if content is not None:
                (tmp_path / "artifacts" / name).write_bytes(content)
        shutil.copytree(model, tmp_path / "artifacts/model/Format-Serving", dirs_exist_ok=True)
        artifacts["model_blessing"].set_int_custom_property("blessed", int(blessed))
        if served is not None:
            artifacts["infra_blessing"].set_int_custom_property("blessed", int(served))
        settings = PushSettings(record={"classes": ["a", "b"]}, keep_versions=3, canary=canary)
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "artifacts/pushed")
        PusherExecutor().Do(
            {name: [artifact] for name, artifact in artifacts.items()},
            {"pushed_model": [pushed]},
            {
                "model_dir": str(tmp_path / "serving"),
                "settings": settings.model_dump_json(),
                "code_digest": "",
            },
        )
        return pushed

    return run


def test_a_blessed_model_is_pushed_with_its_record(run_pusher, tmp_path):
    """The record has the configuration, and salt, window and metrics of this run."""
    pushed = run_pusher()
    live = versions.find_live(str(tmp_path / "serving"))
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(live.number)
    told = json.loads(pathlib.Path(live.path, versions.RECORD).read_text())
    assert told == VersionRecord.model_validate(told).model_dump()
    unknown = ("pushed_at", "config", "resolved", "request_key")
    assert {key: value for key, value in told.items() if key not in unknown} == {
        "format": 1,
        "classes": ["a", "b"],
        "pushed_version": live.number,
        "canary": False,
        "model_digest": versions.digest_model(live.path),
        "run_id": None,
        "salt": 3,
        "window_end": "2026-11-23",
        "fingerprint": "f1",
        "counts": {},
        "settings_key": "s1",
        "metrics": EVALUATION.model_dump(mode="json", exclude={"format"}),
    }


def test_what_the_next_run_compares_with_is_kept_beside_the_model(run_pusher, model, tmp_path):
    """The set of images, and statistics and moments of the training images; the model's own files stay."""
    before = list_files(model)
    run_pusher()
    live = versions.find_live(str(tmp_path / "serving"))
    pushed = list_files(tmp_path / "serving" / str(live.number))
    assert pushed.pop("assets.extra/graft.json")
    assert pushed.pop("assets.extra/model_card.md")
    assert pushed == before | {
        "assets.extra/classes.json": b'["a", "b"]',
        "assets.extra/images.u64": b"8 bytes.",
        "assets.extra/FeatureStats.pb": b"statistics",
        "assets.extra/moments.npz": b"moments",
    }


def test_a_version_has_a_card_that_a_person_fills_in_without_harm(run_pusher, served, tmp_path):
    """The card has the number of the version. It is in no digest: the same model is not pushed again, and keeps it."""
    run_pusher()
    live = versions.find_live(str(tmp_path / "serving"))
    card = pathlib.Path(live.path, versions.CARD)
    assert card.read_text().startswith(f"# Model card: graft, version {live.number}\n")
    card.write_text("filled in")
    assert versions.find_live(str(tmp_path / "serving")).identity == live.identity
    assert not read_outcome(run_pusher()).new
    rolled_back = releases.roll_back(str(tmp_path / "serving"))
    assert pathlib.Path(rolled_back.path, versions.CARD).read_text() == "filled in"
    assert (rolled_back.record.model_digest, rolled_back.problem) == (live.record.model_digest, "")


def test_without_embeddings_there_are_no_moments_to_keep(run_pusher, tmp_path):
    """Augmented runs have no moments; the other files are kept."""
    run_pusher(moments=None)
    [extra] = (tmp_path / "serving").glob("*/assets.extra")
    assert {p.name for p in extra.iterdir()} == {
        "classes.json", "graft.json", "images.u64", "FeatureStats.pb", "model_card.md"
    }  # fmt: skip


def test_what_is_kept_does_not_change_what_the_model_is(run_pusher, model, tmp_path):
    """Its digest is of the graph and the variables; the number alone tells one identity from the other."""
    run_pusher()
    assert versions.find_live(str(tmp_path / "serving")).record.model_digest == versions.digest_model(str(model))
    other = tmp_path / "other"
    shutil.copytree(model, other / "1")
    assert versions.find_live(str(other)).identity.partition(":")[2] == versions.digest_model(str(model))


def test_a_model_that_is_not_blessed_is_not_pushed(run_pusher, served):
    """The live version stays, and the artifact says so."""
    before = list_files(served)
    pushed = run_pusher(blessed=False)
    assert pushed.get_int_custom_property("pushed") == 0
    assert list_files(served) == before


@pytest.mark.parametrize("served", [False, None], ids=["refused", "not tried"])
def test_a_model_that_no_server_has_served_is_not_pushed(run_pusher, served, tmp_path):
    """The Evaluator's blessing alone is not enough."""
    assert run_pusher(served=served, reasons=["too slow"]).get_int_custom_property("pushed") == 0
    assert list_files(tmp_path / "serving") == {}


def test_the_same_model_is_not_pushed_twice(run_pusher, tmp_path):
    """The second push names the version that is live already."""
    first, second = run_pusher(), run_pusher()
    assert len(versions.find_versions(str(tmp_path / "serving"))) == 1
    names = [pushed.get_string_custom_property("pushed_version") for pushed in (first, second)]
    assert names[0] == names[1] != ""
    assert second.get_int_custom_property("pushed") == 1
    assert [read_outcome(pushed).new for pushed in (first, second)] == [1, 0]


@pytest.mark.parametrize("canary", [False, True])
def test_a_push_that_is_started_anew_reports_its_own_version(run_pusher, served, monkeypatch, canary):
    """The node was lost between the push and its report; the model is no other's, and not "there already"."""
    monkeypatch.setenv("GRAFT_RUN_ID", "run-1")
    compared_with = versions.find_live(str(served)).number
    first, second = (run_pusher(canary=canary, compared_with=compared_with) for _ in range(2))
    assert read_outcome(first) == read_outcome(second)
    assert read_flags(second) == [1, 1, int(canary)]
    assert len(versions.find_versions(str(served))) == 2
    assert recall(served) is None


def test_a_push_that_is_started_anew_behind_another_push_reports_its_own_version(
    run_pusher, served, monkeypatch, tmp_path
):
    """Another run pushed meanwhile: the version of this run stays where it is, and is not called overtaken."""
    monkeypatch.setenv("GRAFT_RUN_ID", "run-1")
    compared_with = versions.find_live(str(served)).number
    first = run_pusher(compared_with=compared_with)
    live = push(str(make_model(tmp_path / "other", b"other")), str(served), VersionRecord())
    assert read_outcome(run_pusher(compared_with=compared_with)) == read_outcome(first)
    assert versions.find_live(str(served)).number == live.number


def test_a_push_that_is_started_anew_does_not_bring_back_what_was_withdrawn(run_pusher, served, monkeypatch):
    """A person rolled back between the two starts."""
    monkeypatch.setenv("GRAFT_RUN_ID", "run-1")
    number = int(run_pusher().get_string_custom_property("pushed_version"))
    releases.roll_back(str(served))
    assert read_rejection(run_pusher()) == {"version": number, "state": "withdrawn"}


def test_a_push_removes_the_versions_beyond_those_to_keep(run_pusher, tmp_path):
    """The oldest; the artifact says which."""
    numbers = [
        push(str(make_model(tmp_path / n, n.encode())), str(tmp_path / "serving"), VersionRecord()).number
        for n in "abc"
    ]
    pushed = run_pusher()
    assert read_outcome(pushed).removed_versions == numbers[:1]
    live = int(pushed.get_string_custom_property("pushed_version"))
    assert [v.number for v in versions.find_versions(str(tmp_path / "serving"))] == [*numbers[1:], live]


class Scale(tf.Module):
    """Image bytes to their lengths times a weight, plus a number that a graph has as a constant."""

    def __init__(self, added):
        super().__init__()
        self.weights = [tf.Variable(2.0, name=f"weight_{tf.random.uniform([])}")]  # another name in each export
        self.added = added

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve(self, image_bytes):
        lengths = tf.strings.length(image_bytes)[:, tf.newaxis]
        return {"probabilities": tf.cast(lengths, tf.float32) * self.weights[0] + self.added}


def export_graph(folder, added=0.0):
    """Puts the graph of a new export into a folder of `make_model`, whose variables stay."""
    module = Scale(added)
    tf.saved_model.save(module, str(folder / "exported"), signatures={"serving_default": module.serve})
    content = (folder / "exported/saved_model.pb").read_bytes()
    shutil.rmtree(folder / "exported")
    (folder / "saved_model.pb").write_bytes(content)
    return content


def test_the_same_weights_exported_again_are_not_pushed_again(run_pusher, tmp_path):
    """A second export of one network has another graph file: names in it count on."""
    first = export_graph(tmp_path / "model")
    run_pusher()
    assert export_graph(tmp_path / "model") != first
    assert not read_outcome(run_pusher()).new


def test_the_same_weights_behind_another_graph_are_pushed(run_pusher, tmp_path):
    """Another graph computes other predictions from the same weights."""
    export_graph(tmp_path / "model")
    run_pusher()
    export_graph(tmp_path / "model", added=1.0)
    assert read_outcome(run_pusher()).new


def test_a_graph_that_cannot_be_told_from_another_by_name_counts_by_its_bytes(run_pusher, tmp_path):
    """The graph of a model that is not Graft's counts by its bytes."""
    run_pusher()
    (tmp_path / "model/saved_model.pb").write_bytes(b"another graph")
    assert read_outcome(run_pusher()).new


def change_record(run_pusher, tmp_path, change):
    """Pushes a model, and changes what its record says."""
    export_graph(tmp_path / "model")
    run_pusher()
    [version] = versions.find_versions(str(tmp_path / "serving"))
    record = tmp_path / "serving" / str(version.number) / versions.RECORD
    record.write_text(json.dumps(version.record.model_dump() | change))


@pytest.mark.parametrize("change", [{"config": {"image_size": 64}}, {"classes": ["b", "a"]}])
def test_the_same_weights_for_other_images_or_classes_are_pushed(run_pusher, tmp_path, change):
    """Other classes or image sizes make another model."""
    change_record(run_pusher, tmp_path, change)
    assert read_outcome(run_pusher()).new


def test_the_same_model_made_by_other_code_is_not_pushed_again(run_pusher, tmp_path):
    """An edit that changes neither weights nor graph makes no other model."""
    change_record(run_pusher, tmp_path, {"resolved": {"code_digest": "2"}})
    assert not read_outcome(run_pusher()).new


def test_a_model_that_is_not_the_live_one_is_pushed_again(run_pusher, model, tmp_path):
    """After a push of another model the first one comes back as a third version."""
    run_pusher()
    push(str(make_model(tmp_path / "other", b"other")), str(tmp_path / "serving"), VersionRecord())
    run_pusher()
    assert len(versions.find_versions(str(tmp_path / "serving"))) == 3


def read_rejection(pushed):
    """Returns the rejection in the artifact's outcome."""
    return read_outcome(pushed).held_back.model_dump()


def test_a_canary_is_pushed_below_the_live_version(run_pusher, served):
    """So that requests which name no version, and servers without models.config, still get the live one."""
    live = versions.find_live(str(served))
    pushed = run_pusher(canary=True)
    assert versions.find_live(str(served)) == live
    assert releases.read(str(served)).canary.number == live.number - 1
    assert pushed.get_string_custom_property("pushed_version") == str(live.number - 1)
    assert read_flags(pushed) == [1, 1, 1]
    labels = models_config.read_labels(str(served))
    assert labels == {"stable": live.number, "canary": live.number - 1}


def test_a_new_canary_takes_the_place_of_the_old_one(run_pusher, served, tmp_path):
    """Under another number, for a server may still have the old one loaded."""
    live = versions.find_live(str(served)).number
    old = push(str(make_model(tmp_path / "tried", b"tried")), str(served), VersionRecord(), canary=True)
    run_pusher(canary=True)
    found = releases.read(str(served))
    assert [v.number for v in found.withdrawn] == [old.number] == [live - 1]
    assert (found.canary.number, found.live.number) == (live - 2, live)


def test_a_canary_with_nothing_to_try_it_beside_is_live(run_pusher, tmp_path):
    """A first version has to serve requests."""
    pushed = run_pusher(canary=True)
    found = releases.read(str(tmp_path / "serving"))
    assert found.canary is None
    assert pushed.get_string_custom_property("pushed_version") == str(found.live.number)
    assert not read_outcome(pushed).canary


def test_the_same_canary_is_not_pushed_twice(run_pusher, served):
    """The second push names the one that is there."""
    first, second = run_pusher(canary=True), run_pusher(canary=True)
    names = [pushed.get_string_custom_property("pushed_version") for pushed in (first, second)]
    assert names[0] == names[1]
    assert read_flags(second) == [1, 0, 1]
    assert len(versions.find_versions(str(served))) == 2


def test_a_live_model_does_not_become_a_canary(run_pusher, tmp_path):
    """The same model is live already."""
    run_pusher()
    pushed = run_pusher(canary=True)
    assert read_flags(pushed) == [1, 0, 0]
    assert len(versions.find_versions(str(tmp_path / "serving"))) == 1


def test_a_canary_does_not_become_live_by_another_run(run_pusher, served):
    """Only a user promotes a canary."""
    canary = run_pusher(canary=True).get_string_custom_property("pushed_version")
    before = list_files(served)
    pushed = run_pusher()
    assert pushed.get_int_custom_property("pushed") == 0
    assert read_rejection(pushed) == {"version": int(canary), "state": "canary"}
    assert list_files(served) == before


@pytest.mark.parametrize("canary", [False, True])
def test_a_model_that_was_withdrawn_is_not_pushed_again(run_pusher, served, canary):
    """A rolled-back model becomes neither live nor canary again."""
    number = int(run_pusher().get_string_custom_property("pushed_version"))
    releases.roll_back(str(served))
    before = list_files(served)
    pushed = run_pusher(canary=canary)
    assert pushed.get_int_custom_property("pushed") == 0
    assert read_rejection(pushed) == {"version": number, "state": "withdrawn"}
    assert list_files(served) == before


def test_a_withdrawn_model_that_was_promoted_is_live_and_not_pushed_again(run_pusher, served):
    """The model is no longer rejected."""
    run_pusher()
    number = releases.roll_back(str(served)).number
    live = releases.promote(str(served), number)
    pushed = run_pusher()
    assert pushed.get_string_custom_property("pushed_version") == str(live.number)
    assert not read_outcome(pushed).new


def test_a_withdrawn_model_does_not_come_back_with_an_edit_of_the_code(run_pusher, served, tmp_path):
    """The same weights, classes and graph are the model that was withdrawn, whatever code made them again."""
    export_graph(tmp_path / "model")
    run_pusher()
    withdrawn = releases.roll_back(str(served))
    record = tmp_path / "serving" / f"withdrawn-{withdrawn.number}" / versions.RECORD
    record.write_text(json.dumps(withdrawn.record.model_dump() | {"resolved": {"code_digest": "old"}}))
    export_graph(tmp_path / "model")
    pushed = run_pusher()
    assert pushed.get_int_custom_property("pushed") == 0
    assert read_rejection(pushed) == {"version": withdrawn.number, "state": "withdrawn"}


def test_a_push_writes_the_labels(run_pusher, tmp_path):
    """Beside the folder of the model."""
    number = int(run_pusher().get_string_custom_property("pushed_version"))
    assert models_config.find_file(str(tmp_path / "serving")) == str(tmp_path / "models.config")
    assert models_config.read_labels(str(tmp_path / "serving")) == {"stable": number}


@pytest.mark.parametrize("canary", [False, True])
def test_a_push_beside_a_broken_models_config_changes_nothing(model, served, canary):
    """The error comes before the copy."""
    (served.parent / "models.config").write_text("model_config_list {")
    before = list_files(served)
    with pytest.raises(UsageError, match=r"models\.config: not a text ModelServerConfig"):
        push(str(model), str(served), VersionRecord(), canary)
    assert list_files(served) == before


def test_an_interrupted_push_of_a_canary_leaves_no_trace(model, served, monkeypatch):
    """The live version stays, and there is no canary."""
    before = list_files(served)
    monkeypatch.setattr(gfile(str(served)), "rename", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        push(str(model), str(served), VersionRecord(), canary=True)
    assert list_files(served) == before


def test_a_version_that_became_live_is_no_canary_after_the_next_push(run_pusher, model, served, tmp_path):
    """A user has removed the version above the canary by hand."""
    live = versions.find_live(str(served))
    canary = push(str(make_model(tmp_path / "tried", b"tried")), str(served), VersionRecord(), canary=True)
    shutil.rmtree(live.path)
    run_pusher()
    found = releases.read(str(served))
    assert (found.canary, found.before.number) == (None, canary.number)


def test_no_number_below_is_an_error_that_says_so(model, tmp_path):
    """A user has numbered versions by hand, from 1."""
    make_model(tmp_path / "serving/1")
    with pytest.raises(UsageError, match=r"no number is free below .* Push without --canary"):
        push(str(model), str(tmp_path / "serving"), VersionRecord(), canary=True)
    assert os.listdir(tmp_path / "serving") == ["1"]


def test_extras_go_beside_a_model_that_has_none(model, tmp_path):
    """The folder is made."""
    (tmp_path / "images.u64").write_bytes(b"8 bytes.")
    version = push(str(model), str(tmp_path / "serving"), VersionRecord(), extras=[str(tmp_path / "images.u64")])
    assert list_files(tmp_path / "serving" / str(version.number))["assets.extra/images.u64"] == b"8 bytes."


@pytest.mark.parametrize("canary", [False, True])
def test_a_version_that_became_live_meanwhile_is_not_replaced(run_pusher, served, tmp_path, canary):
    """Two runs at once: the second was compared with what the first has replaced; the artifact says so."""
    compared_with = versions.find_live(str(served)).number
    other = push(str(make_model(tmp_path / "other", b"other")), str(served), VersionRecord())
    before = list_files(served)
    pushed = run_pusher(canary=canary, compared_with=compared_with)
    assert read_rejection(pushed) == {"version": other.number, "state": "overtaken"}
    assert pushed.get_int_custom_property("pushed") == 0
    assert list_files(served) == before


def test_the_first_version_of_two_runs_at_once_is_not_replaced(run_pusher, served):
    """No version was live when both runs began, so neither model was compared."""
    live = versions.find_live(str(served))
    assert read_rejection(run_pusher(compared_with=None)) == {"version": live.number, "state": "overtaken"}
    assert versions.find_live(str(served)) == live


def test_a_model_that_another_run_has_pushed_meanwhile_is_the_live_one(run_pusher, served):
    """Two runs at once made the same model: it is pushed once, and the second run is not rejected."""
    compared_with = versions.find_live(str(served)).number
    first, second = (run_pusher(compared_with=compared_with) for _ in range(2))
    names = [pushed.get_string_custom_property("pushed_version") for pushed in (first, second)]
    assert names[0] == names[1] == str(versions.find_live(str(served)).number)
    assert [read_outcome(pushed).new for pushed in (first, second)] == [1, 0]


def test_a_model_whose_rival_is_gone_is_pushed(run_pusher, served):
    """A user has removed the only version, so the model replaces none."""
    compared_with = versions.find_live(str(served)).number
    shutil.rmtree(served)
    assert read_outcome(run_pusher(compared_with=compared_with)).new


def recall(served):
    """Returns the record of a model that was not pushed from the serving folder."""
    return json.loads((served / MEMORY).read_text()) if (served / MEMORY).exists() else None


def test_a_refusal_is_remembered_with_its_reasons_and_its_rival(run_pusher, served):
    """The record has the keys of images and settings, so that the next run does not train the model again."""
    live = versions.find_live(str(served))
    run_pusher(blessed=False, failures=["accuracy 0.4 is below min_accuracy 0.6"])
    assert recall(served) == {
        "settings_key": "s1",
        "images_digest": "d1",
        "live": live.number,
        "reasons": ["accuracy 0.4 is below min_accuracy 0.6"],
        "refused": True,
        "format": 1,
    }
    assert versions.find_versions(str(served)) == [live]


def test_a_model_that_is_too_slow_to_serve_is_remembered(run_pusher, served):
    """With the ServingValidator's reasons: tomorrow it would be as slow."""
    run_pusher(served=False, reasons=["an image took 9000 ms; max_latency_ms allows 5000"])
    memory = recall(served)
    assert memory["reasons"] == ["an image took 9000 ms; max_latency_ms allows 5000"]
    assert memory["refused"]


def test_the_refusal_of_the_first_model_of_all_is_remembered(run_pusher, tmp_path):
    """There is no folder of versions yet, and no rival."""
    run_pusher(blessed=False, failures=["too bad"])
    assert recall(tmp_path / "serving")["live"] is None
    assert versions.find_live(str(tmp_path / "serving")) is None


def test_a_refusal_names_the_rival_that_it_was_compared_with(run_pusher, served, tmp_path):
    """The record names the version that the model was compared with, not one that became live meanwhile."""
    compared_with = versions.find_live(str(served)).number
    push(str(make_model(tmp_path / "other", b"other")), str(served), VersionRecord())
    run_pusher(blessed=False, failures=["worse"], compared_with=compared_with)
    assert recall(served)["live"] == compared_with


def test_the_newest_refusal_takes_the_place_of_the_last(run_pusher, served):
    """One is enough: images or settings have changed since."""
    for reason in ("bad", "worse"):
        run_pusher(blessed=False, failures=[reason])
    assert recall(served)["reasons"] == ["worse"]


def test_a_model_that_is_live_already_is_remembered_and_not_as_refused(run_pusher, tmp_path):
    """Other settings made the same weights; without the record a schedule would train the model every night."""
    run_pusher()
    assert recall(tmp_path / "serving") is None
    number = int(run_pusher().get_string_custom_property("pushed_version"))
    memory = recall(tmp_path / "serving")
    assert (memory["live"], memory["refused"]) == (number, False)
    assert memory["reasons"] == [f"it is version {number}, which is there already"]


@pytest.mark.parametrize("canary", [False, True])
def test_a_withdrawn_model_is_remembered_as_refused(run_pusher, served, canary):
    """Without the record a schedule would train the model every night."""
    number = int(run_pusher().get_string_custom_property("pushed_version"))
    releases.roll_back(str(served))
    run_pusher(canary=canary)
    memory = recall(served)
    assert (memory["live"], memory["refused"]) == (versions.find_live(str(served)).number, True)
    assert memory["reasons"] == [f"it is version {number}, which is withdrawn"]


def test_a_model_that_was_overtaken_is_not_remembered(run_pusher, served, tmp_path):
    """The model may still be pushed after a comparison with the new live version."""
    compared_with = versions.find_live(str(served)).number
    push(str(make_model(tmp_path / "other", b"other")), str(served), VersionRecord())
    run_pusher(compared_with=compared_with)
    assert recall(served) is None


def test_a_model_without_a_verdict_is_not_remembered(run_pusher, served):
    """Without a verdict there is no reason to record."""
    run_pusher(blessed=False)
    assert recall(served) is None
