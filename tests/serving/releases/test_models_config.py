"""models.config in a folder that was moved, copied or renamed: Graft's paths follow, the user's stay."""

import os
import shutil

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from schema.errors import GraftError
from serving.releases import models_config
from serving.releases.releases import keep, promote, roll_back

OLD_HEAD = """\
# Written by Graft at each push, and by ./graft releases. A base_path, other models, labels and fields are kept;
# comments are not.
"""
ENTRY = 'model_config_list {{ config {{ name: "graft" base_path: "{}" model_platform: "tensorflow" }} }}\n'


def make_workspace(root, *models):
    """Makes a workspace to which Graft has pushed."""
    for model in models or ["graft"]:
        for number in (8, 9):
            (root / "serving" / model / str(number)).mkdir(parents=True)
            (root / "serving" / model / str(number) / "saved_model.pb").touch()
        keep(str(root / "serving" / model), 5)
    return root


def paths_of(root):
    with open(root / "serving/models.config") as file:
        config = text_format.Parse(file.read(), ModelServerConfig())
    return {model.name: model.base_path for model in config.model_config_list.config}


def move(before, after):
    before.rename(after)


def move_and_leave_another_behind(before, after):
    before.rename(after)
    make_workspace(before)


WAYS = {
    "moved or renamed": move,
    "copied, and the first one is still there": shutil.copytree,
    "moved, and another one is in its place": move_and_leave_another_behind,
}
CHANGES = {
    "serve or a run": models_config.mend,
    "keep": lambda model_dir: keep(model_dir, 5),
    "rollback": roll_back,
    "promote": lambda model_dir: promote(model_dir, 8),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_path_that_graft_wrote_follows_its_folder(tmp_path, way, change):
    """Each model's, not only that of the one that is changed; and the next time as well."""
    make_workspace(tmp_path / "out", "graft", "birds")
    way(tmp_path / "out", tmp_path / "new")
    change(str(tmp_path / "new/serving/graft"))
    assert paths_of(tmp_path / "new") == {name: str(tmp_path / "new/serving" / name) for name in ("graft", "birds")}
    (tmp_path / "new").rename(tmp_path / "newer")
    assert models_config.mend(str(tmp_path / "newer/serving/graft")) == str(tmp_path / "new/serving")
    assert paths_of(tmp_path / "newer")["birds"] == str(tmp_path / "newer/serving/birds")


def test_all_else_stays_when_a_path_follows(tmp_path):
    """Labels, policies and fields of the user."""
    make_workspace(tmp_path / "out")
    before = (tmp_path / "out/serving/models.config").read_text()
    (tmp_path / "out").rename(tmp_path / "new")
    models_config.mend(str(tmp_path / "new/serving/graft"))
    after = (tmp_path / "new/serving/models.config").read_text()
    assert after == before.replace(str(tmp_path / "out"), str(tmp_path / "new"))


@pytest.mark.parametrize("path", ["/models/graft", "/srv/graft/serving/graft", "gs://bucket/serving/graft"])
def test_path_that_the_user_wrote_stays(tmp_path, path):
    """Where a container sees the folder, say; also one that looks like Graft's, and after each move."""
    make_workspace(tmp_path / "out")
    config = tmp_path / "out/serving/models.config"
    config.write_text(config.read_text().replace(str(tmp_path / "out/serving/graft"), path))
    keep(str(tmp_path / "out/serving/graft"), 5)
    (tmp_path / "out").rename(tmp_path / "new")
    assert models_config.mend(str(tmp_path / "new/serving/graft")) == ""
    keep(str(tmp_path / "new/serving/graft"), 5)
    assert paths_of(tmp_path / "new") == {"graft": path}


def test_file_without_graft_s_head_is_the_users(tmp_path):
    """With any path."""
    make_workspace(tmp_path / "out")
    text = ENTRY.format("/elsewhere/serving/graft")
    (tmp_path / "out/serving/models.config").write_text(text)
    assert models_config.mend(str(tmp_path / "out/serving/graft")) == ""
    assert (tmp_path / "out/serving/models.config").read_text() == text


@pytest.mark.parametrize(
    ("path", "follows"), [("/old/graft-out/serving/graft", True), ("/models/graft", False), ("/serving/other", False)]
)
def test_file_of_an_older_graft_follows_where_its_path_is_a_workspace(tmp_path, path, follows):
    """It does not say in which folder it was written: .../serving/NAME is how Graft lays a workspace out."""
    make_workspace(tmp_path / "out")
    (tmp_path / "out/serving/models.config").write_text(OLD_HEAD + ENTRY.format(path))
    model_dir = str(tmp_path / "out/serving/graft")
    assert bool(models_config.mend(model_dir)) == follows
    assert paths_of(tmp_path / "out") == {"graft": model_dir if follows else path}


def test_workspace_behind_a_link_was_not_moved(tmp_path):
    """It is the same folder: nothing is said, and a server that reads the file sees it."""
    make_workspace(tmp_path / "out")
    os.symlink("out", tmp_path / "link")
    assert models_config.mend(str(tmp_path / "link/serving/graft")) == ""
    keep(str(tmp_path / "link/serving/graft"), 5)
    (tmp_path / "out").rename(tmp_path / "new")
    assert models_config.mend(str(tmp_path / "new/serving/graft")) == str(tmp_path / "link/serving")


@pytest.mark.parametrize("name", ['a "quoted" one', "with\nline breaks", "猫", "tab\there"])
def test_folder_of_any_name_is_followed(tmp_path, name):
    """It stands in a comment, on one line."""
    make_workspace(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "new")
    assert models_config.mend(str(tmp_path / "new/serving/graft")) == str(tmp_path / name / "serving")


@pytest.mark.parametrize("comment", ['# folder: "/x" "y"', "# folder: /x", "# folder:"])
def test_folder_that_cannot_be_read_moves_nothing(tmp_path, comment):
    """The comment in the file was edited."""
    make_workspace(tmp_path / "out")
    (tmp_path / "out/serving/models.config").write_text(f"{comment}\n{ENTRY.format('/x/graft')}")
    assert models_config.mend(str(tmp_path / "out/serving/graft")) == ""


def test_file_that_cannot_be_mended_says_so(tmp_path, monkeypatch):
    """On a disk for reading alone, a server would serve nothing."""
    make_workspace(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "new")

    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(models_config, "_replace", deny)
    with pytest.raises(GraftError, match=r"out/serving, where it was before, and cannot be written: Permission denied"):
        models_config.mend(str(tmp_path / "new/serving/graft"))
