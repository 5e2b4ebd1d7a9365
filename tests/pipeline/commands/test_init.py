"""`./graft init`: the first configuration file."""

import pytest
from command_line import make_typist

from kubeflow.cli import main
from pipeline.config.load import load_config


@pytest.fixture
def graft(tmp_path, monkeypatch, capsys):
    """Types a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return make_typist(monkeypatch, capsys, main)


def test_file_names_the_data_and_says_what_is_there(graft, tmp_path, make_images):
    """Relative to the file, so that both can be moved together."""
    make_images("photos", "cats", 20)
    make_images("photos", "dogs", 21)
    (tmp_path / "conf").mkdir()
    done = graft("init", "photos", "--config", "conf/night.toml")
    assert done.code == 0
    assert "photos: 41 files in 2 classes" in done.out
    assert done.out.endswith("Wrote:    conf/night.toml\nNext:     ./graft run --config conf/night.toml\n")
    assert load_config("conf/night.toml", {}).data == "conf/../photos"
    assert '#classes = ["cats", "dogs"]' in (tmp_path / "conf" / "night.toml").read_text()


@pytest.mark.parametrize("arguments", [(), ("--minimal",)])
def test_file_without_a_folder_says_that_the_folder_is_missing(graft, arguments):
    """The key stands in it as a comment."""
    done = graft("init", *arguments)
    assert done.out == "Wrote:    graft.toml\nSet data in it, then: ./graft run\n"
    assert load_config("graft.toml", {"data": "x"}).data == "x"


def test_minimal_file_holds_the_folder_and_nothing_else(graft, tmp_path, make_images):
    """Two lines of comments besides."""
    for label in ("cats", "dogs"):
        make_images("photos", label, 20)
    assert graft("init", "photos", "--minimal").code == 0
    lines = (tmp_path / "graft.toml").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ['data = "photos"  # folder of labelled images']
    assert len(lines) <= 3
    assert load_config("graft.toml", {}).data == "photos"


def test_file_that_is_there_is_kept(graft, tmp_path, make_images):
    """Somebody's settings are in it; nothing is read for it."""
    file = tmp_path / "graft.toml"
    file.write_text("seed = 3\n")
    done = graft("init", "nowhere")
    assert done.code == 2
    assert "graft.toml: is there already" in done.err
    assert file.read_text() == "seed = 3\n"


def test_wrong_data_writes_no_file(graft, tmp_path):
    """First mend the folder."""
    done = graft("init", "nowhere")
    assert (done.code, "no such folder" in done.err) == (3, True)
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_is_named(graft, tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    done = graft("init", "--config", "file/graft.toml")
    assert (done.code, "file/graft.toml: cannot be written" in done.err) == (2, True)
