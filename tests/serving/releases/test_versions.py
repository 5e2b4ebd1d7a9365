"""Versions in the folder that a model server watches; the highest complete one is live."""

import json
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from schema.errors import GraftError, UsageError
from serving.releases import versions
from serving.releases.record import VersionRecord
from serving.releases.versions import copy_tree, digest_model, find_live, find_versions, find_withdrawn
from serving.storage.saved_model import SAVED_MODEL

ROOT = pathlib.Path(__file__).parents[3]


def make_version(folder, variables=b"variables", record=None):
    """Makes a folder with the files of a SavedModel."""
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"index")
    (folder / "variables/variables.data-00000-of-00001").write_bytes(variables)
    if record is not None:
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra/graft.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return folder


def test_versions_are_in_the_order_of_their_numbers(tmp_path):
    """9 is older than 10: they are numbers, not names."""
    for number in (10, 9, 1790000000):
        make_version(tmp_path / str(number))
    found = find_versions(str(tmp_path))
    assert [(v.number, v.path) for v in found] == [(n, str(tmp_path / str(n))) for n in (9, 10, 1790000000)]


def test_what_is_no_complete_version_is_passed_over(tmp_path):
    """Staging folders, folders without a SavedModel, and files."""
    make_version(tmp_path / "3")
    make_version(tmp_path / ".staging-1a2b")
    make_version(tmp_path / "4.bak")
    (tmp_path / "5/variables").mkdir(parents=True)
    (tmp_path / "6").write_text("a file")
    assert [v.number for v in find_versions(str(tmp_path))] == [3]


@pytest.mark.parametrize("name", ["²", "٣"])
def test_a_folder_named_with_digits_of_another_script_is_passed_over(tmp_path, name):
    """No model server takes it for a version, and it is no reason to fail."""
    make_version(tmp_path / "2")
    make_version(tmp_path / name)
    assert [v.number for v in find_versions(str(tmp_path))] == [2]


NAMES = {
    "7": 7, "007": 7, "0" * 40 + "7": 7, "0": 0, "-0": 0, "-1": -1, " 7": 7, "7 ": 7, "\t7\n": 7, "\v7": 7,
    "+7": 7, " +7 ": 7,    "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63),
    "9223372036854775808": None, "-9223372036854775809": None, "20261126195812123456": None, "9" * 5000: None,
    "": None, " ": None, "-": None, "+": None, "--1": None, "+-7": None, "- 7": None, "7 7": None, "1_0": None,
    "0x7": None, "7.0": None, "7.bak": None, "\x1c7": None, "\xa07": None, "٣": None, "²": None, "withdrawn-7": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), NAMES.items(), ids=lambda value: ascii(value)[:30])
def test_name_is_a_version_where_a_model_server_takes_it_for_one(name, number):
    """As the function of TensorFlow's that TensorFlow Serving calls; before 2.21 it took no plus sign."""
    import tensorflow as tf

    assert versions.parse_number(name) == number
    try:
        expected = int(tf.strings.to_number(name, tf.int64))
    except tf.errors.InvalidArgumentError:
        expected = None
    assert number == expected or ("+7" in name and tf.__version__ < "2.21")


def test_version_with_leading_zeros_is_a_version_in_its_own_folder(tmp_path):
    """A date as a number, say; it is withdrawn as its number and comes back under the next one."""
    make_version(tmp_path / "0000000007")
    [version] = find_versions(str(tmp_path))
    assert (version.number, version.path) == (7, str(tmp_path / "0000000007"))
    assert versions.withdraw(version).path == str(tmp_path / "withdrawn-7")


def test_of_two_folders_with_one_number_the_last_by_name_is_the_version(tmp_path):
    """TensorFlow Serving's IndexChildrenByVersion goes through the names in order, and keeps the last."""
    for name in ("7", "007", "3"):
        make_version(tmp_path / name)
    assert [version.path for version in find_versions(str(tmp_path))] == [str(tmp_path / "3"), str(tmp_path / "7")]
    assert versions.list_shadowed(["7", "007", "3"]) == [("007", "7")]


def test_number_that_no_server_takes_is_passed_over_and_named(tmp_path):
    """The time in microseconds as a number has 20 digits, one more than an int64."""
    make_version(tmp_path / "20261126195812123456")
    make_version(tmp_path / "5")
    assert find_live(str(tmp_path)).number == 5
    assert "Passed over: 20261126195812123456." in versions.describe_too_large(str(tmp_path))
    assert versions.describe_too_large(str(tmp_path / "nowhere")) == ""


@pytest.mark.parametrize("name", ["9223372036854775807", "withdrawn-9223372036854775807"])
def test_no_number_is_made_that_no_server_takes(tmp_path, name):
    """The largest is taken."""
    make_version(tmp_path / name)
    with pytest.raises(UsageError, match=r"no number is free above version 9223372036854775807.*Nothing was changed"):
        versions.next_number(str(tmp_path))


def test_the_highest_complete_version_is_live(tmp_path):
    """As in a model server by default."""
    make_version(tmp_path / "7")
    make_version(tmp_path / "12", record={"salt": 3})
    (tmp_path / "13").mkdir()
    live = find_live(str(tmp_path))
    assert (live.number, live.record) == (12, VersionRecord(salt=3))


def test_without_a_version_none_is_live(tmp_path):
    """An empty folder, or none at all, is no error: the first run has neither."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert find_versions(str(folder)) == []
        assert find_live(str(folder)) is None


def test_the_record_is_what_the_pusher_wrote(tmp_path):
    """In any script; a model that Graft did not push has an empty one."""
    make_version(tmp_path / "1")
    make_version(tmp_path / "2", record={"classes": ["猫", "dog"]})
    assert [v.record.classes for v in find_versions(str(tmp_path))] == [[], ["猫", "dog"]]


def test_the_digest_is_of_the_graph_and_the_variables(tmp_path):
    """Where the folder is, and what is in assets.extra, does not count."""
    first = make_version(tmp_path / "1")
    second = make_version(tmp_path / "elsewhere/2", record={"run": "r1"})
    assert digest_model(str(first)) == digest_model(str(second))


@pytest.mark.parametrize(
    "part", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_the_digest_changes_with_the_model(tmp_path, part):
    """With one byte of the graph, the index or the variables."""
    folder = make_version(tmp_path / "1")
    before = digest_model(str(folder))
    (folder / part).write_bytes((folder / part).read_bytes()[:-1] + b"!")
    assert digest_model(str(folder)) != before


def test_every_shard_of_the_variables_counts(tmp_path):
    """A large model has more than one."""
    folder = make_version(tmp_path / "1")
    (folder / "variables/variables.data-00001-of-00002").write_bytes(b"more")
    before = digest_model(str(folder))
    (folder / "variables/variables.data-00001-of-00002").write_bytes(b"less")
    assert digest_model(str(folder)) != before


def test_the_identity_of_a_version_is_its_number_and_its_content(tmp_path):
    """A number may be used again for another model, and the same model pushed under another number."""
    for folder, number, variables in (("a", 1, b"x"), ("b", 1, b"y"), ("c", 2, b"x"), ("d", 1, b"x")):
        make_version(tmp_path / folder / str(number), variables)
    a, b, c, d = (find_live(str(tmp_path / folder)).identity for folder in "abcd")
    assert len({a, b, c}) == 3
    assert a == d


def test_the_version_that_was_live_when_a_run_began_is_found_by_its_identity(tmp_path):
    """Even if another one is live now."""
    for number in (9, 10):
        make_version(tmp_path / str(number), str(number).encode())
    [version, live] = find_versions(str(tmp_path))
    assert versions.find_by_identity(str(tmp_path), version.identity) == version
    assert versions.find_by_identity(str(tmp_path), live.identity) == live


def test_without_an_identity_it_is_the_version_that_is_live_now(tmp_path):
    """On a cluster nobody has looked before the run; None if there is no version."""
    assert versions.find_by_identity(str(tmp_path), "") is None
    make_version(tmp_path / "9")
    assert versions.find_by_identity(str(tmp_path), "") == find_live(str(tmp_path))


def test_where_none_was_live_when_a_run_began_none_is_found(tmp_path):
    """Also if a version became live later."""
    make_version(tmp_path / "9")
    assert versions.find_by_identity(str(tmp_path), versions.NOT_LIVE) is None


def remove_by_hand(folder):
    shutil.rmtree(folder / "1")


def replace(folder):
    remove_by_hand(folder)
    make_version(folder / "1", b"other")


def roll_back(folder):
    versions.withdraw(find_live(str(folder)))


@pytest.mark.parametrize("change", [remove_by_hand, replace, roll_back])
@pytest.mark.parametrize("other", [None, "11"])
def test_a_version_that_is_gone_since_a_run_began_is_an_error_that_says_so(tmp_path, change, other):
    """Removed, its number used again, or withdrawn; never another one in its place, even if its number begins alike."""
    make_version(tmp_path / "1")
    identity = find_live(str(tmp_path)).identity
    change(tmp_path)
    if other:
        make_version(tmp_path / other)
    with pytest.raises(GraftError, match=r"version 1, live when the run began, is gone\. Run again"):
        versions.find_by_identity(str(tmp_path), identity)


def test_a_tree_is_copied_with_all_that_is_in_it(tmp_path):
    """Nested folders and empty ones included."""
    source = make_version(tmp_path / "source", record={"a": 1})
    (source / "assets").mkdir()
    copy_tree(str(source), str(tmp_path / "target"))
    found = [
        {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}
        for folder in (source, tmp_path / "target")
    ]
    assert found[0] == found[1]
    assert "assets" in found[1]


def test_withdrawn_version_is_no_version_but_is_known(tmp_path):
    """By one rename; its number, its files and its record stay."""
    make_version(tmp_path / "3")
    make_version(tmp_path / "20", record={"salt": 3})
    withdrawn = versions.withdraw(find_live(str(tmp_path)))
    assert withdrawn.path == str(tmp_path / "withdrawn-20")
    assert [v.number for v in find_versions(str(tmp_path))] == [3]
    assert find_withdrawn(str(tmp_path)) == [withdrawn]
    assert (withdrawn.number, withdrawn.record) == (20, VersionRecord(salt=3))


def test_withdrawn_version_gets_another_number(tmp_path):
    """The version is visible to servers again."""
    make_version(tmp_path / "withdrawn-20")
    [withdrawn] = find_withdrawn(str(tmp_path))
    assert versions.renumber(withdrawn, 21) == find_live(str(tmp_path))
    assert find_withdrawn(str(tmp_path)) == []


def test_number_that_is_taken_is_not_overwritten(tmp_path):
    """Not even by a file or an empty folder, which a rename would replace."""
    make_version(tmp_path / "3")
    for make in ((tmp_path / "4").mkdir, (tmp_path / "withdrawn-3").touch):
        make()
    with pytest.raises(OSError, match="already"):
        versions.renumber(find_live(str(tmp_path)), 4)
    with pytest.raises(OSError, match="already"):
        versions.withdraw(find_live(str(tmp_path)))
    assert {p.name for p in tmp_path.iterdir()} == {"3", "4", "withdrawn-3"}


def test_numbers_of_withdrawn_versions_are_not_used_again(tmp_path, monkeypatch):
    """A server that still has it loaded would take the new one for the old one."""
    monkeypatch.setattr(time, "time", lambda: 100.0)
    for name in ("withdrawn-100", "99", "withdrawn-98", "97"):
        make_version(tmp_path / name)
    assert versions.next_number(str(tmp_path)) == 101
    assert versions.free_number_below(str(tmp_path), 99) == 96


def test_below_the_first_versions_no_number_is_free(tmp_path):
    """0 is none: in a request it means that no version was named."""
    make_version(tmp_path / "1")
    make_version(tmp_path / "2")
    assert versions.free_number_below(str(tmp_path), 2) is None


def test_removal_finishes_what_was_interrupted(tmp_path):
    """A version that was renamed and not yet removed, even if it had the number of one that goes now."""
    for name in ("7", "withdrawn-3", "9", ".removed-7", ".removed-3"):
        make_version(tmp_path / name)
    gone = [find_versions(str(tmp_path))[0], *find_withdrawn(str(tmp_path))]
    versions.remove(str(tmp_path), gone)
    assert [p.name for p in tmp_path.iterdir()] == ["9"]


def test_folders_of_this_machine_are_read_without_tensorflow(tmp_path):
    """It takes seconds to import."""
    make_version(tmp_path / "7")
    code = f"""
import sys
from serving.releases import releases; from serving.releases import versions
assert versions.digest_model(versions.find_live({str(tmp_path)!r}).path)
assert releases.read({str(tmp_path)!r}).live.number == 7
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, cwd=ROOT)


def test_folders_elsewhere_are_read_with_tensorflow():
    """By the file systems that it knows: `ram://` is one of them."""
    import tensorflow as tf

    for name in ("3", "withdrawn-2"):
        tf.io.gfile.makedirs(f"ram://bucket/{name}/variables")
        for file in (SAVED_MODEL, "variables/variables.index", "variables/variables.data-00000-of-00001"):
            with tf.io.gfile.GFile(f"ram://bucket/{name}/{file}", "w") as opened:
                opened.write(file)
    assert [v.number for v in find_versions("ram://bucket")] == [3]
    assert [v.number for v in find_withdrawn("ram://bucket")] == [2]
    assert len(digest_model("ram://bucket/3")) == 64


def test_a_version_that_was_removed_is_compared_with_what_is_live(tmp_path):
    """A gate that runs anew, after old versions went, has something to look at all the same."""
    assert versions.find_comparable(str(tmp_path), "7:gone") is None
    make_version(tmp_path / "8")
    assert versions.find_comparable(str(tmp_path), "7:gone").number == 8
    assert versions.find_comparable(str(tmp_path), versions.NOT_LIVE) is None
