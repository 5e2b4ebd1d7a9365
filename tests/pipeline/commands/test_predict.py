"""`./graft predict`: what it says beside the answers, on the standard error."""

import pathlib
import shutil

import pytest
from command_line import make_typist
from manifests import write_manifest
from PIL import Image

from pipeline.cli import main
from serving.client import predict
from serving.client.client import RestClient
from serving.client.refusals import NO_IMAGE
from serving.releases.record import RunResolved


@pytest.fixture
def graft(monkeypatch, capsys):
    return make_typist(monkeypatch, capsys, main)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Changes to a folder with the folder photos: an image and what is none."""
    (tmp_path / "photos/new").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "photos/cat.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_what_is_left_out_of_a_folder_is_told(graft, models, photos):
    """On the standard error, so that the lines of the answers are as before."""
    (photos / "notes.txt").write_text("hello")
    (photos / "new/list.txt").write_text("hello")
    done = graft("predict", "photos", "--model", models / "new")
    assert (done.code, done.out) == (0, "photos/cat.png: cat  (cat 0.900  dog 0.100)\n")
    assert done.err.splitlines()[0] == "Ignored: 2 side files (.txt)"
    assert "Ignored" not in graft("predict", "photos/cat.png", "--model", models / "new").err


def test_the_model_of_a_run_is_named_by_run_version_and_workspace(graft, models, photos):
    """With its classes; a run whose model was not pushed is said to be so."""
    trained = "pipeline/Trainer/model/9/Format-Serving"
    shutil.copytree(models / "new", f"mine/{trained}")
    resolved = RunResolved(classes=["cat", "dog"])
    write_manifest(pathlib.Path("mine"), "run-1", trained_model=trained, resolved=resolved)
    ask = ("predict", "photos/cat.png", "--run", "run-1", "--out", "mine")
    assert graft(*ask).err == "Model: run run-1, not pushed, of the workspace mine; classes: cat, dog\n"
    version = pathlib.Path("mine/serving/graft/17")
    shutil.copytree(models / "new", version)
    (version / "assets.extra").mkdir(exist_ok=True)
    (version / "assets.extra/graft.json").write_text('{"run_id": "run-1"}')
    pushed = "pushed as graft, version 17, of the workspace mine"
    assert graft(*ask).err == f"Model: run run-1, {pushed}; classes: cat, dog\n"


@pytest.fixture
def refuse(monkeypatch):
    """Makes a model refuse all that is not called .png, as Graft's own graph does with other formats."""

    def predict_files(_, paths, explain):
        for path in paths:
            yield predict.Prediction(path, "cat", problem="" if path.endswith(".png") else NO_IMAGE)

    monkeypatch.setattr(predict, "predict_files", predict_files)


CONVERTED = {
    "a folder": (["photos"], "1 TIFF and 1 WebP can be read as JPEG: ./graft convert photos photos-jpeg"),
    "a file": (["photos/new/a.webp"], "1 WebP can be read as JPEG: ./graft convert photos/new photos/new-jpeg"),
    "two folders": (["photos/b.jpg", "photos/new/a.webp"], ": ./graft convert FOLDER FOLDER-jpeg"),
}


@pytest.mark.parametrize(("named", "advice"), CONVERTED.values(), ids=CONVERTED)
def test_formats_that_can_be_converted_are_named(graft, models, photos, refuse, named, advice):
    """By their first bytes, with the command."""
    Image.new("RGB", (9, 9)).save(photos / "new/a.webp")
    Image.new("RGB", (9, 9)).save(photos / "b.jpg", "TIFF")
    done = graft("predict", *named, "--model", models / "new")
    assert done.code == 3
    assert "photos/new/a.webp: WebP; expected one of JPEG, PNG, GIF, BMP" in done.err
    assert done.err.rstrip().endswith(advice)


def test_a_folder_that_has_no_name_of_its_own_is_converted_beside_it(graft, models, photos, refuse, monkeypatch):
    """Not into a hidden folder in it."""
    Image.new("RGB", (9, 9)).save(photos / "a.webp")
    monkeypatch.chdir(photos)
    assert f": ./graft convert . {photos}-jpeg" in graft("predict", "a.webp", "--model", models / "new").err


def test_what_cannot_be_converted_has_no_advice(graft, models, photos, refuse):
    (photos / "b.jpg").write_text("hello")
    done = graft("predict", "photos", "--model", models / "new")
    assert "photos/b.jpg: not an image; expected one of JPEG, PNG, GIF, BMP" in done.err
    assert "convert" not in done.err


@pytest.mark.parametrize(("label", "said"), [([], ""), (["--label", "canary"], ", labelled canary")])
def test_the_version_of_a_server_is_named(graft, photos, monkeypatch, label, said):
    """The line has name, version and address of the server, without the password in the address."""
    row = {"label": "cat", "classes": ["cat", "dog"], "probabilities": [0.9, 0.1]}
    answers = {"GET": {"model_spec": {"name": "graft", "version": "17"}}, "POST": {"predictions": [row]}}
    monkeypatch.setattr(RestClient, "_call", lambda _, method, *rest: answers[method])
    done = graft("predict", "photos/cat.png", "--server", "http://me:secret@localhost:8501", *label)
    assert done.out == "photos/cat.png: cat  (cat 0.900  dog 0.100)\n"
    assert done.err == f"Model: graft, version 17{said}, of the server at http://localhost:8501\n"
