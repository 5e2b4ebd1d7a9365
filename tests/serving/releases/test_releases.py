"""Releases: live, canary and withdrawn versions, by their folders, and the labels in models.config."""

import contextlib
import os
import pathlib
import time

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from schema.errors import GraftError, UsageError
from serving.releases import models_config, releases, versions
from serving.releases.releases import keep, mark_canary, promote, roll_back, withdraw_canary
from serving.storage.gfile import _LOCAL

NOW = 1000


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The next version has the number 1000, or more if that is taken."""
    monkeypatch.setattr(time, "time", lambda: float(NOW))


@pytest.fixture
def folder(tmp_path):
    """Returns a function that makes versions by folder names and returns the folder of the model."""

    def make(*names, canary=None):
        for name in names:
            (tmp_path / "graft" / name / "variables").mkdir(parents=True)
            (tmp_path / "graft" / name / "saved_model.pb").write_text(f"graph of {name}")
        if canary:
            mark_canary(str(tmp_path / "graft" / canary))
        return str(tmp_path / "graft")

    return make


def graph(model_dir, name):
    """Returns the graph of a version, which tells the models above apart."""
    with open(os.path.join(model_dir, name, "saved_model.pb")) as file:
        return file.read().removeprefix("graph of ")


def config_of(model_dir, index=0):
    """Returns the entry of a model in models.config."""
    with open(models_config.find_file(model_dir)) as file:
        return text_format.Parse(file.read(), ModelServerConfig()).model_config_list.config[index]


def write_config(model_dir, text):
    with open(models_config.find_file(model_dir), "w") as file:
        file.write(text)


def snapshot(model_dir):
    """Returns the content of every file in the serving folder but the lock."""
    root = os.path.dirname(model_dir)
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(root) for name in names if name != ".lock"]
    return {path: open(path).read() for path in paths}


# What there is.


def test_without_a_folder_there_is_nothing(tmp_path):
    """No error, because the first run reads a missing folder, too."""
    found = releases.read(str(tmp_path / "nowhere"))
    assert (found.live, found.canary, found.before, found.labels) == (None, None, None, {})


def test_a_canary_is_what_is_marked_below_the_live_version(folder):
    """It is not what a rollback goes back to."""
    found = releases.read(folder("3", "8", "9", canary="8"))
    assert (found.live.number, found.canary.number, found.before.number) == (9, 8, 3)
    assert found.labels == {"stable": 9, "canary": 8}


def test_the_highest_version_is_live_whatever_it_was(folder):
    """A server serves it: somebody has removed the version above a canary by hand."""
    found = releases.read(folder("3", "8", canary="8"))
    assert (found.live.number, found.canary) == (8, None)


# Rollback.


def test_rollback_makes_the_version_before_live(folder):
    """The one that was live is withdrawn, with all that is in it; the labels follow."""
    model_dir = folder("3", "5", "9")
    assert roll_back(model_dir).path == os.path.join(model_dir, "withdrawn-9")
    assert releases.read(model_dir).live.number == 5
    assert graph(model_dir, "withdrawn-9") == "9"
    assert dict(config_of(model_dir).version_labels) == {"stable": 5}


def test_rollback_twice_goes_two_versions_back(folder):
    """And no further than there are versions."""
    model_dir = folder("3", "5", "9")
    roll_back(model_dir)
    roll_back(model_dir)
    assert [v.number for v in releases.read(model_dir).withdrawn] == [5, 9]
    with pytest.raises(UsageError, match=r"version 3 is live, and none before .*promote VERSION .*: 5, 9"):
        roll_back(model_dir)


def test_rollback_keeps_the_canary_and_never_makes_it_live(folder, monkeypatch):
    """It would be the highest for a moment: it goes below first, and is the canary still."""
    model_dir, seen, rename = folder("3", "5", "8", "9", canary="8"), [], _LOCAL.rename

    def look(*arguments, **options):
        rename(*arguments, **options)
        seen.append(releases.read(model_dir).live.number)

    monkeypatch.setattr(_LOCAL, "rename", look)
    roll_back(model_dir)
    found = releases.read(model_dir)
    assert seen[:3] == [9, 9, 5]  # behind the first labels, the canary's move, and the withdrawal
    assert (found.live.number, found.canary.number, graph(model_dir, "4")) == (5, 4, "8")
    assert dict(config_of(model_dir).version_labels) == {"stable": 5, "canary": 4}


def test_rollback_withdraws_a_canary_for_which_no_number_is_left(folder):
    """Better than that it is live."""
    model_dir = folder("1", "2", "3", canary="2")
    roll_back(model_dir)
    assert sorted(os.listdir(model_dir)) == ["1", "withdrawn-2", "withdrawn-3"]


@pytest.mark.parametrize(
    ("names", "canary", "message"),
    [
        ((), None, r"nothing to go back to: no version is live\.$"),
        (("9",), None, r"nothing to go back to: version 9 is live, and none before it is there\.$"),
        (("8", "9"), "8", r"none before it is there\. ./graft releases promote VERSION makes another one live: 8\.$"),
    ],
)
def test_without_a_version_before_there_is_no_rollback(folder, names, canary, message):
    """What is live stays, an untried canary is none to go back to, and nothing is written."""
    model_dir = folder(*names, canary=canary)
    before = snapshot(model_dir)
    with pytest.raises(UsageError, match=message):
        roll_back(model_dir)
    assert snapshot(model_dir) == before


# Canary and promotion.


def test_promoted_canary_is_live_under_the_next_number(folder):
    """And no canary any more; what was live is the version before."""
    model_dir = folder("3", "8", "9", canary="8")
    assert promote(model_dir).number == NOW
    found = releases.read(model_dir)
    assert (found.live.number, found.canary, found.before.number) == (NOW, None, 9)
    assert graph(model_dir, str(NOW)) == "8"
    assert dict(config_of(model_dir).version_labels) == {"stable": NOW}


def test_promoted_canary_is_no_canary_when_the_next_version_is_pushed(folder):
    """The former canary has been live."""
    model_dir = folder("3", "8", "9", canary="8")
    promote(model_dir)
    folder(str(NOW + 1))
    found = releases.read(model_dir)
    assert (found.canary, found.before.number) == (None, NOW)


@pytest.mark.parametrize(("number", "name"), [(3, "3"), (7, "withdrawn-7")])
def test_older_and_withdrawn_versions_can_be_promoted(folder, number, name):
    """By the number that they have, or had."""
    model_dir = folder("3", "8", "9", "withdrawn-7", canary="8")
    assert promote(model_dir, number).number == NOW
    found = releases.read(model_dir)
    assert graph(model_dir, str(NOW)) == name
    assert (found.live.number, found.canary.number, found.before.number) == (NOW, 8, 9)


def test_promotion_goes_above_versions_of_the_future(folder):
    """A clock may be wrong, and numbers be chosen by hand."""
    model_dir = folder("8", "2000", "withdrawn-3000", canary="8")
    assert promote(model_dir).number == 3001


def test_withdrawn_canary_that_is_promoted_is_live_for_good(folder):
    """Its mark goes."""
    model_dir = folder("3", "8", "9", canary="8")
    assert withdraw_canary(model_dir).number == 8
    assert dict(config_of(model_dir).version_labels) == {"stable": 9}
    promote(model_dir, 8)
    folder(str(NOW + 1))
    assert releases.read(model_dir).canary is None


def test_number_that_a_promotion_has_replaced_is_told_with_the_new_one(folder):
    """It is live, or withdrawn since."""
    model_dir = folder("3", "9")
    record = pathlib.Path(model_dir, "3", "assets.extra", "graft.json")
    record.parent.mkdir(exist_ok=True)
    record.write_text('{"pushed_version": 3}')
    number = promote(model_dir, 3).number
    with pytest.raises(UsageError, match=rf"version 3 is version {number} since its promotion\. It is live already\.$"):
        promote(model_dir, 3)
    roll_back(model_dir)
    with pytest.raises(UsageError, match=rf"To make it live: ./graft releases promote {number}$"):
        promote(model_dir, 3)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (None, r"no canary to promote\. Name one of the other versions: 3, 7\.$"),
        (9, "version 9 is live already"),
        (5, r"no version 5\. Versions besides the live one: 3, 7\.$"),
    ],
)
def test_what_cannot_be_promoted_is_refused(folder, number, message):
    """The message lists the versions; nothing is changed."""
    model_dir = folder("3", "9", "withdrawn-7")
    before = snapshot(model_dir)
    with pytest.raises(UsageError, match=message):
        promote(model_dir, number)
    assert snapshot(model_dir) == before


def test_without_a_canary_none_is_withdrawn(folder):
    """The message says how to push one."""
    with pytest.raises(UsageError, match=r"no canary\. ./graft run --canary"):
        withdraw_canary(folder("3"))


# Keeping and pruning.


@pytest.mark.parametrize(
    ("count", "canary", "left"),
    [
        (5, None, ["2", "3", "5", "8", "9"]),
        (3, None, ["5", "8", "9"]),
        (2, None, ["8", "9"]),
        (1, None, ["9"]),
        (3, "8", ["5", "8", "9"]),
        (2, "8", ["5", "8", "9"]),
        (1, "8", ["8", "9"]),
        (2, "2", ["2", "8", "9"]),
    ],
)
def test_old_versions_go_and_needed_ones_stay(folder, count, canary, left):
    """The live one, the canary, and with two or more the one that a rollback goes back to."""
    model_dir = folder("2", "3", "5", "8", "9", canary=canary)
    gone = keep(model_dir, count)
    assert sorted(os.listdir(model_dir)) == left
    assert gone == [n for n in (2, 3, 5, 8, 9) if str(n) not in left]


def test_withdrawn_versions_go_too_oldest_first(folder):
    """As many stay as of the others, at the most; what is no version is left alone."""
    model_dir = folder("9", "withdrawn-10", "withdrawn-3", "withdrawn-7", "notes")
    assert keep(model_dir, 2) == [3]
    assert sorted(os.listdir(model_dir)) == ["9", "notes", "withdrawn-10", "withdrawn-7"]


def test_version_with_a_label_of_the_users_stays(folder):
    """Clients use the label."""
    model_dir = folder("3", "5", "8", "9")
    write_config(model_dir, "model_config_list { config { name: 'graft' version_labels { key: 'audit' value: 3 } } }")
    assert keep(model_dir, 1) == [5, 8]
    assert dict(config_of(model_dir).version_labels) == {"audit": 3, "stable": 9}


def test_labels_that_lag_keep_no_version(folder):
    """Those of before a push: what was live may go."""
    model_dir = folder("3", "9")
    keep(model_dir, 1)
    folder("12")
    assert keep(model_dir, 1) == [9]
    assert os.listdir(model_dir) == ["12"]


def test_keeping_where_nothing_is_does_no_harm(tmp_path):
    """No folder is made."""
    assert keep(str(tmp_path / "graft"), 1) == []
    assert not (tmp_path / "graft").exists()


# models.config.


def test_a_server_loads_the_live_version_and_the_one_before(folder):
    """From the absolute path of the folder."""
    model_dir = folder("3", "9")
    keep(model_dir, 5)
    config = config_of(model_dir)
    assert (config.name, config.base_path, config.model_platform) == ("graft", model_dir, "tensorflow")
    assert config.model_version_policy.latest.num_versions == 2
    assert dict(config.version_labels) == {"stable": 9}


def test_path_of_a_relative_workspace_is_absolute(folder, tmp_path, monkeypatch):
    """A server starts somewhere else."""
    model_dir = folder("9")
    monkeypatch.chdir(tmp_path)
    keep("graft", 5)
    assert config_of(model_dir).base_path == model_dir


@pytest.mark.parametrize(
    ("names", "canary", "count"),
    [(("9",), None, 2), (("8", "9"), "8", 3), (("3", "8", "9"), "8", 3), (("5", "7", "8", "9"), "5", 4)],
)
def test_a_server_loads_as_many_versions_as_have_a_label(folder, names, canary, count):
    """The canary may be deeper down, where versions were pushed within seconds."""
    model_dir = folder(*names, canary=canary)
    keep(model_dir, 5)
    assert config_of(model_dir).model_version_policy.latest.num_versions == count


def test_what_the_user_wrote_is_kept(folder):
    """A path in a container, other models, fields that Graft knows nothing of, and labels that mean something."""
    model_dir = folder("3", "9", "withdrawn-7")
    write_config(
        model_dir,
        """
        model_config_list {
          config { name: "other" base_path: "/models/other" model_platform: "tensorflow" }
          config {
            name: "graft" base_path: "/models/graft" model_platform: "tensorflow"
            model_version_policy { latest { num_versions: 7 } }
            logging_config { sampling_config { sampling_rate: 0.5 } }
            version_labels { key: "stable" value: 7 }
            version_labels { key: "audit" value: 3 }
            version_labels { key: "gone" value: 7 }
          }
        }
        """,
    )
    keep(model_dir, 5)
    assert config_of(model_dir, 0).base_path == "/models/other"
    config = config_of(model_dir, 1)
    assert config.base_path == "/models/graft"
    assert config.logging_config.sampling_config.sampling_rate == 0.5
    assert config.model_version_policy.latest.num_versions == 7
    assert dict(config.version_labels) == {"stable": 9, "audit": 3}


def test_a_policy_of_the_users_is_kept(folder):
    """All versions, or certain ones."""
    model_dir = folder("3", "9")
    policy = "model_version_policy { all {} }"
    write_config(model_dir, f"model_config_list {{ config {{ name: 'graft' {policy} }} }}")
    keep(model_dir, 5)
    assert config_of(model_dir).model_version_policy.WhichOneof("policy_choice") == "all"


def test_two_models_of_a_workspace_share_the_file(folder, tmp_path):
    """Each has its own entry and labels."""
    model_dir = folder("3")
    (tmp_path / "birds/5").mkdir(parents=True)
    (tmp_path / "birds/5/saved_model.pb").touch()
    for one in (model_dir, str(tmp_path / "birds"), model_dir):
        keep(one, 5)
    entries = [config_of(model_dir, index) for index in (0, 1)]
    assert [(e.name, dict(e.version_labels)) for e in entries] == [("graft", {"stable": 3}), ("birds", {"stable": 5})]


CHANGES = [roll_back, promote, withdraw_canary, lambda model_dir: keep(model_dir, 1)]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("text", ["model_config_list {", "bass_path: 'x'", "custom_model_config {}", "\udcff"])
def test_a_file_that_is_not_understood_stops_every_change(folder, change, text):
    """It is said, and nothing is changed: neither the file nor a folder."""
    model_dir = folder("3", "8", "9", "withdrawn-7", canary="8")
    with open(models_config.find_file(model_dir), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    before = sorted(os.listdir(model_dir))
    with pytest.raises(UsageError, match=r"models\.config: .*Nothing was changed"):
        change(model_dir)
    assert sorted(os.listdir(model_dir)) == before
    with open(models_config.find_file(model_dir), "rb") as file:
        assert file.read() == text.encode("utf-8", "surrogateescape")


def test_file_that_says_so_already_is_not_written(folder):
    """A server that watches it has nothing to reload."""
    model_dir = folder("3", "9")
    keep(model_dir, 5)
    os.utime(models_config.find_file(model_dir), (5, 5))
    keep(model_dir, 5)
    assert os.stat(models_config.find_file(model_dir)).st_mtime == 5


@pytest.mark.parametrize("change", CHANGES)
def test_two_folders_of_one_version_stop_every_change(folder, change):
    """A server takes one of them: a rollback would withdraw it, and the other would be live under its number."""
    model_dir = folder("3", "8", "9", "009", "withdrawn-7", canary="8")
    before = snapshot(model_dir)
    with pytest.raises(UsageError, match=r"'009' and '9' are the same version, 9, .* takes '9' alone.*Nothing was"):
        change(model_dir)
    assert snapshot(model_dir) == before


@pytest.mark.parametrize("change", CHANGES)
def test_folder_whose_number_is_too_large_is_left_alone(folder, change):
    """No server takes it for a version: it is not live, and no label means it."""
    model_dir = folder("3", "8", "9", "withdrawn-7", "20261126195812123456", canary="8")
    assert releases.read(model_dir).live.number == 9
    change(model_dir)
    assert "20261126195812123456" in os.listdir(model_dir)
    assert config_of(model_dir).version_labels["stable"] in (3, 9, NOW)


def test_promotion_without_a_number_above_changes_nothing(folder):
    """The largest number that a server takes is live."""
    model_dir = folder("3", str(2**63 - 1))
    before = snapshot(model_dir)
    with pytest.raises(UsageError, match="no number is free above version 9223372036854775807"):
        promote(model_dir, 3)
    assert snapshot(model_dir) == before


@pytest.mark.parametrize("canary", [False, True])
@pytest.mark.parametrize(
    ("names", "message"), [(("9", "009"), "are the same version"), ((str(2**63 - 1),), "no number is free above")]
)
def test_what_a_push_would_refuse_is_refused_before_the_run(folder, names, message, canary):
    """An hour of training earlier; a canary needs no number above the live version's."""
    model_dir = folder(*names)
    if canary and len(names) == 1:
        releases.check_pushable(model_dir, canary)
        return
    with pytest.raises(UsageError, match=message):
        releases.check_pushable(model_dir, canary)


# Interruptions.


def test_labels_leave_a_version_before_it_goes(folder, monkeypatch):
    """Wherever the process is killed, no label means a version that is gone; see test_killed_changes.py, too."""
    model_dir, seen, withdraw = folder("3", "5", "8", "9", canary="8"), [], versions.withdraw
    keep(model_dir, 5)

    def look(version):
        seen.append(dict(config_of(model_dir).version_labels))
        return withdraw(version)

    monkeypatch.setattr(versions, "withdraw", look)
    roll_back(model_dir)
    assert seen == [{"stable": 5}]
    assert dict(config_of(model_dir).version_labels) == {"stable": 5, "canary": 4}


def test_a_change_that_fails_takes_the_labels_back(folder, monkeypatch):
    """The live version is unchanged, and `stable` means it again."""
    model_dir = folder("3", "8", "9", canary="8")
    keep(model_dir, 5)
    before = snapshot(model_dir)
    monkeypatch.setattr(versions, "withdraw", deny)
    for change in (withdraw_canary, lambda folder: keep(folder, 5)):
        with contextlib.suppress(GraftError):
            change(model_dir)
        assert snapshot(model_dir) == before


def test_rollback_works_where_no_label_can_be_written(folder, monkeypatch):
    """A full disk takes no file and does take a rename; the message says that the labels follow."""
    model_dir = folder("3", "9")
    keep(model_dir, 5)
    monkeypatch.setattr(_LOCAL, "GFile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    monkeypatch.setattr(models_config, "_read_text", lambda path: pathlib.Path(path).read_text())
    with pytest.raises(GraftError, match=r"No space left on device\. The versions are changed as requested"):
        roll_back(model_dir)
    assert releases.read(model_dir).live.number == 3


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_old_file(folder, monkeypatch):
    """Whole, and nothing beside it."""
    model_dir = folder("3", "5", "9")
    keep(model_dir, 5)
    before = snapshot(model_dir)
    monkeypatch.setattr(_LOCAL, "rename", interrupt)
    found = models_config.read(model_dir)
    with pytest.raises(KeyboardInterrupt):
        models_config.write(model_dir, found, {"stable": 3}, [3, 5, 9])
    assert snapshot(model_dir) == before


def test_an_interrupted_promotion_is_finished_by_the_next_change(folder, monkeypatch):
    """The mark of a canary stayed on what is live; it must not be a canary once more when it is the second highest."""
    model_dir = folder("3", "8", "9", canary="8")
    with monkeypatch.context() as patch:
        patch.setattr(_LOCAL, "remove", interrupt)
        with pytest.raises(KeyboardInterrupt):
            promote(model_dir)
    assert releases.read(model_dir).live.number == NOW
    keep(model_dir, 5)
    folder(str(NOW + 1))
    assert releases.read(model_dir).canary is None


def deny(*arguments, **_):
    raise PermissionError(13, "Permission denied", arguments[0])


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_cannot_be_changed_is_named(folder, monkeypatch, change):
    """Read-only, say: one message, and what was live is live."""
    model_dir = folder("3", "8", "9", "withdrawn-7", canary="8")
    before = snapshot(model_dir)
    monkeypatch.setattr(_LOCAL, "rename", deny)
    with pytest.raises(
        GraftError, match=r"graft/.*: cannot be changed: Permission denied\. The live version is unchanged"
    ):
        change(model_dir)
    assert snapshot(model_dir) == before


def test_a_file_that_cannot_be_written_says_what_holds(folder, monkeypatch):
    """The version is rolled back; the labels are not yet."""
    model_dir = folder("3", "9")
    monkeypatch.setattr(_LOCAL, "GFile", deny)
    with pytest.raises(GraftError, match=r"models\.config.*Permission denied.*the next push, .* writes the labels"):
        roll_back(model_dir)
    assert releases.read(model_dir).live.number == 3
