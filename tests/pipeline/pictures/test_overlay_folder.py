"""`./graft predict --explain`: overlays in a folder, under safe names, and no file is replaced."""

import json
import os
import pathlib

import numpy as np
import pytest
from command_line import make_typist
from explaining_models import TOP_LEFT
from PIL import Image

from pipeline.cli import main
from pipeline.pictures.overlay_folder import OverlayFolder
from schema.errors import UsageError
from serving.client.heat_maps import HeatMap
from serving.client.predict import Prediction
from serving.export.explanation import View


@pytest.fixture
def graft(monkeypatch, capsys):
    return make_typist(monkeypatch, capsys, main)


@pytest.fixture
def photograph(tmp_path):
    """Writes a grey photograph of 2000 x 1000 pixels that lies on its side, and returns its path."""
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (2000, 1000), (90, 90, 90)).save(tmp_path / "photos/cat 1.jpg", exif=exif)
    return tmp_path / "photos/cat 1.jpg"


def test_predict_writes_overlays(graft, models, photograph, tmp_path):
    """Upright, at most 1024 pixels, warm where the model looked; the line of the image names the file."""
    done = graft("predict", photograph, "--model", models / "new", "--explain", tmp_path / "why")
    overlay = tmp_path / "why/cat_1.jpg"
    assert (done.code, done.out) == (0, f"{photograph}: cat  (cat 0.900  dog 0.100)  -> {overlay}\n")
    pixels = np.asarray(Image.open(overlay), float)
    assert pixels.shape == (1024, 512, 3)
    assert pixels[:200, :100, :2].mean() > 120
    assert abs(pixels[700:, 300:].mean() - 90) < 3
    assert "Note: A heat map has 2 x 2 cells here, so it is coarse" in done.err
    done = graft("predict", photograph, "--model", models / "new", "--explain", tmp_path / "why", "--json")
    assert json.loads(done.out)["overlay"] == str(tmp_path / "why/cat_1-2.jpg")
    assert np.array_equal(np.asarray(Image.open(overlay), float), pixels)


@pytest.mark.parametrize(
    ("model", "words"), [("old", "has no signature explain"), ("one cell", "a heat map has one cell")]
)
@pytest.mark.parametrize("there", [False, True])
def test_a_refused_model_leaves_no_folder(graft, models, photograph, tmp_path, model, words, there):
    """It is refused before it is asked; a folder that was there stays."""
    if there:
        (tmp_path / "why").mkdir()
    done = graft("predict", photograph, "--model", models / model, "--explain", tmp_path / "why/deep")
    assert (done.code, done.out) == (2, "")
    assert f"{models / model}: " in done.err
    assert words in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", *["why"] * there]
    assert not (tmp_path / "why/deep").exists()


@pytest.mark.parametrize(("side", "said"), [(3, "A heat map has 3 x 3 cells here"), (4, "")])
def test_heat_maps_of_few_cells_are_coarse(side, said):
    """A network of 96 pixels has 3 cells a side, and one of 128 pixels 4."""
    coarse = HeatMap(np.ones((side, side), np.float32), View()).coarse
    assert coarse.startswith(said) if said else not coarse


def test_an_older_model_says_what_is_missing(graft, models, photograph, tmp_path):
    """It is served and predicts all the same."""
    done = graft("predict", photograph, "--model", models / "old", "--explain", tmp_path / "why")
    assert done.code == 2
    assert f"{models / 'old'}: has no signature explain, so it gives no heat maps" in done.err
    assert "leave out --explain" in done.err
    assert graft("predict", photograph, "--model", models / "old").code == 0


@pytest.mark.parametrize("named", ["photos", "photos/cat 1.jpg"])
@pytest.mark.parametrize("below", ["", "why"])
def test_overlays_do_not_become_images(photograph, tmp_path, named, below):
    """A folder that is named is read with all folders below it; beside a named file lie images, too."""
    images = [str(tmp_path / named)]
    if below and named != "photos":
        OverlayFolder(str(tmp_path / "photos" / below), images)
        return
    with pytest.raises(UsageError, match="would be taken for more of them"):
        OverlayFolder(str(tmp_path / "photos" / below), images)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/why", "cannot be written: No such file or directory. Name another folder"),
        ("{file}", "cannot be written: it is a file"),
        ("{file}/why", "cannot be written: Not a directory"),
        ("gs://bucket/why", "is not on this machine"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_predicted(tmp_path, path, words):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=words):
        OverlayFolder(path.format(file=tmp_path / "file"), ["elsewhere/cat.jpg"])


HOSTILE = ["..", "../../x.jpg", "a\n\x1b[2J.jpg", "-rf.jpg", ".b.png", "\udcff.jpg", "é" * 300 + ".jpg", "COM1 |?.gif"]


def test_names_are_safe_and_none_is_used_twice(tmp_path, monkeypatch):
    """Whatever the images are called, and whatever lies in the folder."""
    monkeypatch.setattr("pipeline.pictures.overlay_folder._draw", lambda _: b"picture")
    folder = tmp_path / "why"
    folder.mkdir()
    (folder / "cat.jpg").write_text("mine")
    (folder / "cat-2.jpg").symlink_to(tmp_path / "nowhere")
    names = [*HOSTILE, "a/cat.jpg", "b/cat.jpg", "cat.png"]
    written = list(OverlayFolder(str(folder), []).write_all(Prediction(name, "cat") for name in names))
    paths = [pathlib.Path(prediction.overlay) for prediction in written]
    assert len(set(paths)) == len(names)
    assert {path.parent for path in paths} == {folder}
    assert all(path.read_bytes() == b"picture" for path in paths)
    assert [path.name for path in paths[-3:]] == ["cat-3.jpg", "cat-4.jpg", "cat-5.jpg"]
    assert all(path.name[0] not in ".-" and path.name.isprintable() and " " not in path.name for path in paths)
    assert (folder / "cat.jpg").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_an_image_that_cannot_be_drawn_is_named_and_the_others_are_drawn(tmp_path, capsys):
    """The prediction stands; the command ends with 3."""
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    heat_map = HeatMap(TOP_LEFT, View())
    given = [Prediction(str(tmp_path / f"{name}.png"), "cat", heat_map=heat_map) for name in ("bad", "good", "gone")]
    overlays = OverlayFolder(str(tmp_path / "why"), [])
    written = list(overlays.write_all([*given, Prediction("x", problem="no such file")]))
    assert [bool(prediction.overlay) for prediction in written] == [False, True, False, False]
    assert [prediction.label for prediction in written] == ["cat", "cat", "cat", ""]
    assert overlays.missing == 2
    assert "bad.png: no overlay: " in capsys.readouterr().err
    assert os.listdir(tmp_path / "why") == ["good.jpg"]
