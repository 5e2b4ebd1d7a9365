"""Common mistakes in data folders: one message, advice, and no half-written file."""

import errno
import io
import json
import os
import pathlib

import pytest
from rich.console import Console

from components.example_gen import component
from pipeline.config.load import load_config
from pipeline.local.run import run_pipeline
from schema.errors import DataError, GraftError


@pytest.fixture
def run(tmp_path):
    """Runs the pipeline on tmp_path/photos, in tmp_path/out."""

    def run_with(**settings):
        defaults = {"data": str(tmp_path / "photos"), "out": str(tmp_path / "out"), "weights": "random"}
        config = load_config(None, defaults | {"image_size": 32} | settings)
        return run_pipeline(config, Console(file=io.StringIO()))

    return run_with


@pytest.fixture
def photos(tmp_path, make_images):
    """Ten images each of cats and dogs."""
    for label in ("cats", "dogs"):
        make_images(tmp_path / "photos", label, 10)
    return tmp_path / "photos"


@pytest.fixture
def live_model(tmp_path):
    """A live version of cats and dogs, with the files that an early check reads."""
    version = tmp_path / "out" / "serving" / "graft" / "7"
    (version / "assets.extra").mkdir(parents=True)
    (version / "variables").mkdir()
    (version / "saved_model.pb").write_bytes(b"graph")
    (version / "variables" / "variables.index").write_bytes(b"index")
    (version / "assets.extra" / "graft.json").write_text(json.dumps({"classes": ["cats", "dogs"], "salt": 0}))
    return version


def executed(tmp_path):
    """Returns the components that left an output."""
    return {path.name for path in (tmp_path / "out" / "pipeline").glob("*")}


def make_nothing(data):
    """Makes no folder."""


def make_files(data):
    data.mkdir()
    (data / "cat.jpg").write_bytes(b"image")


def make_one_class(data):
    (data / "cats").mkdir(parents=True)
    for name in "abc":
        (data / "cats" / f"{name}.jpg").write_bytes(name.encode())


def make_lonely(data):
    make_one_class(data)
    (data / "dogs").mkdir()
    (data / "dogs" / "a.jpg").write_bytes(b"dog")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_nothing, "no such folder. Name a folder with one sub-folder per class"),
        (pathlib.Path.mkdir, "expected one folder per class with images inside, found 0 files and no folder"),
        (make_files, "found 1 files and no folder. Move the images into folders named after their class"),
        (make_one_class, r"only one class \(cats\): a classifier needs two"),
        (make_lonely, r"dogs.*1"),
    ],
)
def test_folder_that_is_not_one_of_classes_is_refused_at_once(tmp_path, run, make, message):
    """Nothing is read, and no component starts."""
    make(tmp_path / "photos")
    with pytest.raises(DataError, match=message):
        run()
    assert not executed(tmp_path)


@pytest.mark.long
def test_too_many_broken_files_stop_at_the_gate(tmp_path, run, photos, encode_image):
    """The first ten with a reason each, and where the whole list lies; nothing is trained."""
    png = encode_image("png")
    bomb = png[:16] + (50_000).to_bytes(4, "big") * 2 + png[24:]
    broken = {"bomb.png": bomb, "empty.jpg": b"", "text.jpg": b"hello", "web.jpg": b"RIFF\0\0\0\0WEBPVP8 "}
    for name, content in broken.items():
        (photos / "cats" / name).write_bytes(content)
    (photos / "cats" / "half.jpg").write_bytes(encode_image("jpeg")[:300])
    (photos / "cats" / "link.jpg").symlink_to("nowhere.jpg")
    for index in range(6):
        (photos / "dogs" / f"note{index}.jpg").write_bytes(b"note %d" % index)

    with pytest.raises(DataError) as caught:
        run()

    message = str(caught.value)
    assert "12 of 32 files (37.5 %) are broken; max_bad_fraction allows 5.0 %" in message
    for name in (*broken, "half.jpg", "link.jpg"):
        assert f"cats/{name}: " in message
    assert "2500 megapixels" in message
    assert "WebP" in message
    assert "and 2 more" in message
    listed = pathlib.Path(message.rpartition(": ")[2])
    assert len(listed.read_text().splitlines()) == 12
    assert "Trainer" not in executed(tmp_path)


def test_damaged_database_ends_a_run_before_anything_is_read(tmp_path, run, photos):
    """In one line; what is there stays as it is, and the run leaves no folder of its own."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metadata.sqlite").write_bytes(bytes(4096))
    with pytest.raises(GraftError, match=r"metadata.sqlite: cannot be used: file is not a database\. .*graft repair"):
        run()
    assert not executed(tmp_path)
    assert not list((tmp_path / "out" / "runs").iterdir())


def test_disk_that_is_full_in_the_middle_is_named(tmp_path, run, photos, monkeypatch):
    """Not a traceback of Beam; the same command goes on when there is room.

    What a run left whose database is lost is out of the way by then, and kept.
    """
    left = "pipeline/ExampleGen/examples/1/Split-train/data_tfrecord-00001-of-00002"
    (tmp_path / "out" / left).parent.mkdir(parents=True)
    (tmp_path / "out" / left).write_text("images that are gone")

    def write(shard, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), shard[0])

    monkeypatch.setattr(component, "write_shard", write)
    with pytest.raises(
        GraftError, match=r"out/pipeline/ExampleGen/.*: cannot be written: No space left on device. Make room"
    ) as caught:
        run()
    assert caught.value.exit_code == 1
    [manifest] = (tmp_path / "out" / "runs").glob("*/manifest.json")
    assert "failed" in json.loads(manifest.read_text())
    assert not list((tmp_path / "out" / "pipeline").glob("*/*/*/Split-train/*"))
    [lost] = (tmp_path / "out").glob(f"lost-*/{left}")
    assert lost.read_text() == "images that are gone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda photos: (photos / "dogs").rename(photos / "wolves"), "unknown class: the folder birds, wolves.*'dogs'"),
        (lambda photos: (photos / "dogs").rename(photos.parent / "dogs"), "vanished class: no image of 'dogs'"),
    ],
)
def test_classes_other_than_the_live_models_are_refused_with_two_ways_on(run, photos, live_model, change, message):
    """Mend the folder, or name all classes; nothing is read for it."""
    change(photos)
    (photos / "birds").mkdir()
    for index in range(3):
        (photos / "birds" / f"{index}.jpg").write_bytes(b"bird %d" % index)
    with pytest.raises(DataError, match=f"(?s){message}") as caught:
        run()
    assert "those of the live model, version 7" in str(caught.value)
    assert f"--classes {','.join(sorted(path.name for path in photos.iterdir()))};" in str(caught.value)
    assert "compared on the classes that both know" in str(caught.value)
    assert "run with another workspace (--out)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("big owls", "--classes 'big owls,cats,dogs';"),
        ("owls, big", 'classes = ["cats", "dogs", "owls, big"] in graft.toml;'),
    ],
)
def test_advice_on_classes_can_be_followed_as_it_is(run, photos, live_model, name, way):
    """Quoted for a shell; where a name has a comma, for the file."""
    (photos / name).mkdir()
    for index in range(3):
        (photos / name / f"{index}.jpg").write_bytes(b"owl %d" % index)
    with pytest.raises(DataError, match="unknown class") as caught:
        run()
    assert way in str(caught.value)


def test_advice_does_not_name_a_single_class(run, photos, live_model):
    """It would be refused in turn."""
    (photos / "dogs").rename(photos.parent / "dogs")
    with pytest.raises(DataError, match="vanished class") as caught:
        run()
    assert "name them" not in str(caught.value)
