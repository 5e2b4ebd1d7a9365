"""`./graft init`: the first configuration file."""

import pytest

from pipeline.init import write_template
from pipeline.load import load_config
from schema.errors import DataError, UsageError


def test_file_names_the_data_and_says_what_is_there(tmp_path, make_images, monkeypatch):
    """Relative to the file, so that both can be moved together."""
    monkeypatch.chdir(tmp_path)
    make_images("photos", "cats", 3)
    make_images("photos", "dogs", 2)
    (tmp_path / "conf").mkdir()
    said = write_template("conf/night.toml", "photos")
    assert "photos: 5 files in 2 classes: cats 3, dogs 2\n" in said
    assert said.endswith("Next: ./graft run --config conf/night.toml")
    assert load_config("conf/night.toml", {}).data == "conf/../photos"


def test_file_that_is_there_is_kept(tmp_path):
    """Somebody's settings are in it."""
    file = tmp_path / "graft.toml"
    file.write_text("seed = 3\n")
    with pytest.raises(UsageError, match=r"graft\.toml: is there already"):
        write_template(str(file), None)
    assert file.read_text() == "seed = 3\n"


def test_wrong_data_writes_no_file(tmp_path):
    """First mend the folder."""
    with pytest.raises(DataError, match="no such folder"):
        write_template(str(tmp_path / "graft.toml"), str(tmp_path / "nowhere"))
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_is_named(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_template(str(tmp_path / "file" / "graft.toml"), None)
