"""The salt of a run, and a live version whose record cannot be read."""

import os

import pytest
from damaged_files import DAMAGES, SHAPES

from components.example_gen.lineage import NEW_SALT, check_record, describe_unread_record, find_salt
from schema.errors import UsageError
from serving.releases import versions

RECORDS = DAMAGES | SHAPES


@pytest.fixture
def model_dir(tmp_path, serve):
    """A live version with a salt."""
    serve(tmp_path / "graft", {}, 5, salt=17)
    serve(tmp_path / "graft", {}, 7, salt=424)
    return str(tmp_path / "graft")


@pytest.mark.parametrize("damage", RECORDS.values(), ids=RECORDS)
def test_no_new_salt_is_taken_beside_a_damaged_record(model_dir, damage):
    """A new salt would train on the live model's test images. On Kubeflow ExampleGen is the first to detect this."""
    damage(os.path.join(model_dir, "7", versions.RECORD))
    with pytest.raises(
        UsageError, match=r"graft/7/assets\.extra/graft\.json: .*Put the file back from a copy, or remove"
    ):
        find_salt(model_dir, "")


@pytest.mark.parametrize(("salt", "found"), [("", "424"), (NEW_SALT, "424"), ("3", "3")])
def test_salt_is_that_of_the_live_version(model_dir, salt, found):
    """With NEW_SALT as well, once the next version has a record: its split holds from then on."""
    assert find_salt(model_dir, salt) == found


def test_salt_is_chosen_where_there_is_none(tmp_path, model_dir):
    """No version is live, or its record is damaged and NEW_SALT is set."""
    assert find_salt("", "") == find_salt(str(tmp_path / "nowhere"), "") == ""
    DAMAGES["a list"](os.path.join(model_dir, "7", versions.RECORD))
    assert (find_salt(model_dir, NEW_SALT), find_salt(model_dir, "3")) == ("", "3")


def test_damaged_record_of_an_older_version_is_no_matter(model_dir):
    """Only the live version's record is read."""
    DAMAGES["a list"](os.path.join(model_dir, "5", versions.RECORD))
    live = versions.find_live(model_dir)
    check_record(live, force=False)
    assert (find_salt(model_dir, ""), describe_unread_record(live)) == ("424", [])


def test_run_is_refused_with_the_ways_on(model_dir):
    """The message offers a rollback or --force; the report of a forced run has a warning."""
    DAMAGES["empty"](os.path.join(model_dir, "7", versions.RECORD))
    live = versions.find_live(model_dir)
    with pytest.raises(UsageError) as caught:
        check_record(live, force=False)
    assert str(caught.value) == (
        f"{model_dir}/7/assets.extra/graft.json: an empty file. Without this record of the live version 7, its "
        "test images are unknown, and no model can be compared with it. ./graft releases rollback makes "
        "the version before it live; --force trains a model all the same: the images are split anew, so that it may "
        "train on what version 7 was tested on, and is compared with nothing."
    )
    check_record(live, force=True)
    assert describe_unread_record(live) == [
        "the record of version 7, which is live, cannot be read (an empty file): the images were split anew, and "
        "nothing was compared with it"
    ]


def test_without_a_live_version_there_is_nothing_to_refuse():
    check_record(None, force=False)
    assert describe_unread_record(None) == []
