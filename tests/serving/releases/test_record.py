"""Records: a version with a damaged record is served and changed like any other."""

import json
import os
import time

import pytest
from damaged_files import DAMAGES, SHAPES

from serving.releases import releases, versions
from serving.releases.record import UNKNOWN, Metrics, VersionRecord, read_record
from serving.releases.releases import keep, promote, roll_back
from serving.storage import side_files

RECORDS = DAMAGES | SHAPES


@pytest.fixture
def model_dir(tmp_path):
    """Returns a folder with three versions of Graft and one withdrawn version."""
    for name in ("3", "5", "9", "withdrawn-7"):
        (tmp_path / "graft" / name / "assets.extra").mkdir(parents=True)
        (tmp_path / "graft" / name / "saved_model.pb").touch()
        (tmp_path / "graft" / name / "assets.extra/graft.json").write_text('{"salt": 3, "metrics": {"accuracy": null}}')
    return str(tmp_path / "graft")


def damage_record(model_dir, name, damage):
    damage(os.path.join(model_dir, name, versions.RECORD))


@pytest.mark.parametrize("damage", RECORDS.values(), ids=RECORDS)
def test_damaged_record_is_told_in_words_at_once(model_dir, damage):
    """No traceback, no waiting for a pipe, and no 2 GB of memory."""
    damage_record(model_dir, "9", damage)
    started = time.process_time()
    [*others, live] = versions.find_versions(model_dir)
    assert time.process_time() - started < 2
    assert (live.number, live.record) == (9, UNKNOWN)
    assert live.problem
    assert live.problem.isprintable()
    assert [(version.record.salt, version.problem) for version in others] == [(3, ""), (3, "")]


def test_reason_names_the_part_and_both_types(tmp_path):
    """So that a person can mend it."""
    SHAPES["a class is a number"](str(tmp_path / "graft.json"))
    reason = "not a record of Graft's: field classes.1: input should be a valid string, got 7"
    assert read_record(str(tmp_path / "graft.json")) == (UNKNOWN, reason)
    DAMAGES["2 GB of zeros"](str(tmp_path / "graft.json"))
    assert read_record(str(tmp_path / "graft.json"))[1] == "2,147,483,648 bytes; more than 268,435,456 are not read"


def test_record_that_may_not_be_read_is_damaged_and_not_missing(tmp_path, monkeypatch):
    """A version without a record counts as another tool's, and a run would split the images anew."""
    (tmp_path / "graft.json").write_text("{}")
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert read_record(str(tmp_path / "graft.json")) == (UNKNOWN, "cannot be read: Permission denied")


def test_model_of_another_tool_has_no_record_and_no_problem(tmp_path):
    """The file is missing."""
    assert read_record(str(tmp_path / "assets.extra/graft.json")) == (UNKNOWN, "")


def test_unknown_keys_of_a_newer_graft_are_kept(tmp_path):
    """Unknown keys are no damage."""
    (tmp_path / "graft.json").write_text('{"salt": 1, "new": [1, {"deep": null}]}')
    record, problem = read_record(str(tmp_path / "graft.json"))
    assert (record.salt, record.model_extra, problem) == (1, {"new": [1, {"deep": None}]}, "")


def test_what_graft_writes_is_read_again_and_lacks_nothing(tmp_path):
    """A record without a salt would have the images dealt anew, and nobody would notice."""
    record = VersionRecord(salt=3, classes=["猫"], metrics=Metrics(accuracy=0.5), run_id=None)
    (tmp_path / "graft.json").write_text(record.render(), encoding="utf-8")
    assert read_record(str(tmp_path / "graft.json")) == (record, "")
    for name in VersionRecord.model_fields.keys() - {"format"}:
        (tmp_path / "graft.json").write_text(json.dumps(record.model_dump(exclude={name})))
        problem = f"not a record of Graft's: field {name} is missing"
        assert read_record(str(tmp_path / "graft.json")) == (UNKNOWN, problem)


def test_record_of_a_newer_graft_is_told(tmp_path):
    """Its fields may mean something else."""
    (tmp_path / "graft.json").write_text('{"format": 2, "salt": 1}')
    record, problem = read_record(str(tmp_path / "graft.json"))
    assert (record, "format 2; this Graft reads up to 1" in problem) == (UNKNOWN, True)


@pytest.mark.parametrize("name", ["3", "9", "withdrawn-7"])
@pytest.mark.parametrize("damage", [DAMAGES["a list"], DAMAGES["a folder"], DAMAGES["a broken link"]])
def test_every_change_works_beside_a_damaged_record(model_dir, name, damage):
    """Of the live version, an older one, and one that was withdrawn."""
    damage_record(model_dir, name, damage)
    assert roll_back(model_dir).number == 9
    assert releases.read(model_dir).live.number == 5
    number = int(name.removeprefix("withdrawn-"))
    promoted = promote(model_dir, number)
    assert promoted.problem
    assert releases.read(model_dir).live == promoted
    keep(model_dir, 1)
    assert [version.number for version in versions.find_versions(model_dir)] == [promoted.number]


@pytest.mark.parametrize("damage", [DAMAGES["a folder"], DAMAGES["a broken link"], DAMAGES["NUL bytes"]])
def test_damaged_mark_of_a_canary_is_a_mark(model_dir, damage):
    """An untried version does not become what a rollback goes back to, and the mark does not outlive a promotion."""
    damage(os.path.join(model_dir, "5/assets.extra/canary"))
    assert (releases.read(model_dir).canary.number, releases.read(model_dir).before.number) == (5, 3)
    promoted = promote(model_dir)
    assert not os.path.lexists(os.path.join(promoted.path, "assets.extra/canary"))


def test_larger_files_than_are_read_are_refused_by_their_size(tmp_path, monkeypatch):
    """And one of exactly that size is read."""
    monkeypatch.setattr(side_files, "MAX_BYTES", 10)
    (tmp_path / "file").write_bytes(bytes(10))
    assert side_files.read_bytes(str(tmp_path / "file")) == bytes(10)
    (tmp_path / "file").write_bytes(bytes(11))
    with pytest.raises(side_files.DamagedError, match="11 bytes; more than 10 are not read"):
        side_files.read_bytes(str(tmp_path / "file"))
