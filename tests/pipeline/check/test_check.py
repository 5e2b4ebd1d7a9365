"""`./graft check` and `init` predict a run on a folder, and write no image."""

import json
import os
import pathlib
import shutil
import types

import numpy as np
import pytest
from command_line import make_typist
from image_files import spoil, write_images
from PIL import Image

from components.example_gen import reading
from components.network import resnet
from components.network.weights import RANDOM
from kubeflow.cli import main
from pipeline.check.check import find_split_shape
from pipeline.workspace.workspace import open_workspace


@pytest.fixture
def graft(tmp_path, monkeypatch, capsys):
    """Types a command in an empty folder, at 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return make_typist(monkeypatch, capsys, main)


def unwrap(text):
    """Returns a text with one space between words."""
    return " ".join(text.split())


@pytest.fixture
def photos(tmp_path):
    """20 images of each of two classes."""
    for label in ("cats", "dogs"):
        write_images(tmp_path / "photos", label, 20)
    return tmp_path / "photos"


def test_good_folder_is_told_with_its_splits_and_what_comes_next(graft, photos, tmp_path):
    """A table by class; sizes and disk; the command that trains on it."""
    before = sorted(tmp_path.rglob("*"))
    done = graft("check", "photos")
    assert done.code == 0
    lines = done.out.splitlines()
    assert "photos: 40 files in 2 classes" in lines[0]
    assert [line.split() for line in lines[1:5]] == [
        ["class", "files", "left", "out", "train", "val", "test"],
        ["cats", "20", "0", "14", "3", "3"],
        ["dogs", "20", "0", "14", "3", "3"],
        ["all", "40", "0", "28", "6", "6"],
    ]
    assert "Left out: none" in done.out
    assert "Sizes: all 20 x 12 pixels; the network sees 224 x 224. 40 have a shorter side" in unwrap(done.out)
    assert "Disk: a run needs about 410 MB, and keeps about " in unwrap(done.out)
    assert lines[-1] == "Next:     ./graft run photos"
    assert sorted(tmp_path.rglob("*")) == before


def test_odd_folder_is_told_reason_by_reason(graft, photos):
    """What would be left out, what is ignored, what is turned or narrow, and the way to convert the other formats."""
    spoil(photos)
    done = graft("check", "photos")
    said = unwrap(done.out)
    assert done.code == 3
    for text in (
        "photos: 49 files in 2 classes",
        "Left out: 8 files (5 broken, 10.2 %; a run stops above 5.0 %)",
        "1 x HEIC: cats/a.heic",
        "1 x WebP: cats/b.webp",
        "1 x TIFF: dogs/c.tif",
        "1 x cannot be decoded: dogs/half.jpg",
        "1 x empty file: dogs/empty.jpg",
        "1 x copy of another image: cats/copy.jpeg",
        "2 x the same image in two classes: cats/001.jpeg, dogs/both.jpeg",
        "1 HEIC, 1 WebP and 1 TIFF can be read as JPEG: ./graft convert photos photos-jpeg",
        "1 side file (.xmp)",
        "1 file beside the class folders (.jpg)",
        "1 folder without an image (birds)",
        "1 folder that a computer made (@eaDir)",
        "1 is more than 3 times as long as wide and is squeezed: cats/strip.png",
        "Problem: 5 of 49 files (10.2 %) are broken",
    ):
        assert text in said
    assert "Next:" not in said
    assert "EXIF" not in said


def test_problems_that_show_without_an_image_are_printed_before_it_is_read(graft, tmp_path, monkeypatch):
    """The reading may take minutes. They stand there once; the end counts them."""
    write_images(tmp_path / "photos", "cats", 1)
    (tmp_path / "file").touch()

    def read(*arguments, **options):
        print("reading")
        return reading.read_images(*arguments, **options)

    monkeypatch.setattr("pipeline.check.check.read_images", read)
    done = graft("check", "photos", "--out", "file")
    before, _, after = done.out.partition("reading\n")
    assert done.code == 3
    assert before.startswith("Problem:  only one class (cats)")
    assert "file: " in before
    assert after.startswith("Data:     photos: 1 file in 1 class\n")
    assert "1 has a shorter side and is enlarged" in unwrap(after)
    assert after.endswith("\nProblem:  2 problems above would stop a run\n")
    printed = graft("check", "photos", "--out", "file", "--json").out
    assert len(json.loads(printed.removeprefix("reading\n"))["problems"]) == 2


@pytest.mark.slow
def test_disk_of_phase_2_is_that_of_the_layer_where_resnet50_is_cut():
    """For each layer that it may begin with; an odd size is rounded as the network rounds it."""
    base = resnet.build_base(75, RANDOM)
    names = {"all", *(layer.name for layer in base.layers[1:])} | {"conv2", "conv5", "conv3_block4", "conv1"}
    for name in names:
        cut = resnet.find_split_layer(base, name)
        assert find_split_shape(name, 75) == (base.get_layer(cut).output.shape[1:] if cut else ()), name


def write_live(folder):
    """Writes the live version 7 of three classes."""
    version = folder / "graft-out" / "serving" / "graft" / "7"
    (version / "assets.extra").mkdir(parents=True)
    (version / "variables").mkdir()
    for name in ("saved_model.pb", "variables/variables.index"):
        (version / name).write_bytes(b"bytes")
    record = {"classes": ["cats", "owls", "storks"], "salt": 17}
    (version / "assets.extra" / "graft.json").write_text(json.dumps(record))


def test_splits_of_a_live_model_are_dealt_by_its_salt(graft, photos, tmp_path):
    """The classes are the live model's, too."""
    write_live(tmp_path)
    done = graft("check", "--json", "photos")
    found = json.loads(done.out)
    assert (done.code, found["report"]["salt"], found["live_version"]) == (3, 17, 7)
    assert found["problems"][0].startswith("unknown class: the folder dogs")


def test_folder_around_the_data_is_told_from_the_data(graft, photos, tmp_path):
    """One class is a problem, with the folder that was meant; init writes no file for it."""
    (tmp_path / "wrap").mkdir()
    photos.rename(tmp_path / "wrap" / "photos")
    checked = graft("check", "wrap")
    assert checked.code == 3
    assert "only one class (photos)" in checked.out
    assert "Did you mean wrap/photos, with the folders cats, dogs?" in checked.out
    written = graft("init", "wrap")
    assert written.code == 3
    assert "Did you mean wrap/photos" in written.err
    for done in (checked, written):
        assert "Next:" not in done.out + done.err
    assert not (tmp_path / "graft.toml").exists()


def test_check_reads_the_configuration(graft, photos, tmp_path):
    """What graft.toml says of the data holds: here of the splits and of what may be broken."""
    spoil(photos)
    (tmp_path / "graft.toml").write_text(
        'data = "photos"\nmax_bad_fraction = 0.2\nsplit_ratios = {train = 1, val = 1, test = 1}\n'
    )
    done = graft("check")
    assert done.code == 0, done.out
    assert done.out.splitlines()[-1] == "Next:     ./graft run"
    found = json.loads(graft("check", "--json").out)
    assert {split: sum(c.values()) for split, c in found["report"]["counts"].items()} == {
        "train": 14, "val": 14, "test": 13,
    }  # fmt: skip


def test_init_looks_at_a_sample(graft, tmp_path, monkeypatch):
    """Of many images some, of all classes; it then says nothing of splits."""
    monkeypatch.setattr("pipeline.commands.init._SAMPLE", 10)
    for label in ("cats", "dogs"):
        write_images(tmp_path / "photos", label, 20)
    (tmp_path / "photos" / "cats" / "004.jpeg").write_bytes(b"")
    done = graft("init", "photos")
    assert done.code == 0
    assert "40 files in 2 classes; 10 of them were read, spread over all" in done.out
    assert "1 x empty file: cats/004.jpeg" in done.out
    assert "train" not in done.out
    assert done.out.splitlines()[-2:] == ["Wrote:    graft.toml", "Next:     ./graft run"]
    assert (
        "40 files in 2 classes; 30 of them were read, spread over all" in graft("check", "photos", "--sample", "30").out
    )


def test_names_with_control_characters_do_not_reach_the_terminal(graft, photos):
    """An escape sequence in a name is shown, not obeyed."""
    (photos / "cats" / "\x1b[2J.jpg").write_bytes(b"")
    (photos / "\x1b[31mred").mkdir()
    done = graft("check", "photos")
    assert "\x1b" not in done.out
    assert r"\x1b[2J.jpg" in done.out
    assert r"\x1b[31mred" in done.out


@pytest.mark.parametrize("columns", ["60", "120"])
def test_a_command_stays_on_one_line(graft, tmp_path, monkeypatch, columns):
    """At any width, and quoted for a shell."""
    monkeypatch.setenv("COLUMNS", columns)
    name = "holiday photographs of the whole family and its many cats and dogs"
    for label in ("cats", "dogs"):
        write_images(tmp_path / name, label, 14)
    assert graft("check", name).out.splitlines()[-1] == f"Next:     ./graft run '{name}'"


def test_libjpeg_does_not_speak_for_itself(tmp_path, warm_python, photos):
    """Its words about damaged files would tear the page."""
    import subprocess

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = photos / "cats" / "damaged.jpg"
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff\xd0" * 20
    path.write_bytes(bytes(content))
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run(
        [warm_python.program, root, "check", "photos"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_next_command_follows_the_links_that_check_followed(graft, photos, tmp_path):
    """Else the run would read fewer images than the table has."""
    (tmp_path / "elsewhere").mkdir()
    next((photos / "cats").iterdir()).rename(tmp_path / "elsewhere/moved.png")
    (photos / "cats/link").symlink_to(tmp_path / "elsewhere")
    lines = graft("check", "photos", "--follow-links").out.splitlines()
    assert "photos: 40 files in 2 classes" in lines[0]
    assert lines[-1] == "Next:     ./graft run photos --follow-links"


def test_options_of_a_run_change_what_check_says(graft, photos, tmp_path):
    """The size of the network, the classes and the workspace; the next command has them."""
    write_live(tmp_path)
    beside_live = unwrap(graft("check", "photos").out)
    assert "vanished class: no image of 'owls', 'storks' is left" in beside_live
    assert "Disk: a run needs about" in beside_live
    done = graft(
        "check", "photos", "--image-size", 32, "--fine-tune-epochs", 0, "--out", "new out", "--no-follow-links"
    )
    assert "the network sees 32 x 32." in unwrap(done.out)
    assert "a run needs about 410 MB; " in unwrap(done.out)
    assert done.out.splitlines()[-1] == (
        "Next:     ./graft run photos --out 'new out' --no-follow-links --image-size 32 --fine-tune-epochs 0"
    )
    assert graft("check", "photos", "--classes", "cats,dogs").code == 0


def break_database(out):
    out.mkdir()
    (out / "metadata.sqlite").write_bytes(b"not a database\n" * 99)


def stand_in_the_way(out):
    out.write_text("a file")


def break_models_config(out):
    (out / "serving").mkdir(parents=True)
    (out / "serving" / "models.config").write_text("no { config")


def live_on_later_images(out):
    write_live(out.parent)
    record = {"classes": ["cats", "dogs"], "salt": 17, "window_end": "2026-11-26"}
    (out / "serving/graft/7/assets.extra/graft.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil_out", "options", "words"),
    [
        (break_database, (), "metadata.sqlite: cannot be used: file is not a database. Move it aside with"),
        (stand_in_the_way, (), "graft-out: cannot be written: Not a directory. Choose another folder"),
        (break_models_config, (), "models.config: "),
        (pathlib.Path.mkdir, ("--weights", "none.h5"), "none.h5: no such file. Expected 'imagenet'"),
        (live_on_later_images, (), "window_end: the newest day is 2026-11-23, and that of the live version 7 is"),
    ],
)
def test_check_says_what_run_says_at_its_start(graft, tmp_path, spoil_out, options, words):
    """Each is refused for its workspace, its serving folder or its settings, and neither command writes a file."""
    for label in ("cats", "dogs"):
        write_images(tmp_path / "photos" / "2026-11-23", label, 20)
    spoil_out(tmp_path / "graft-out")
    before = sorted(tmp_path.rglob("*"))
    checked, ran = graft("check", "photos", *options), graft("run", "photos", *options)
    assert checked.code == 3
    assert words in ran.err
    assert unwrap(ran.err).removeprefix("graft: ") in unwrap(checked.out)
    assert "Next:" not in checked.out
    assert sorted(tmp_path.rglob("*")) == before


def test_check_says_that_the_disk_is_read_only(graft, photos, monkeypatch):
    """The folder need not be there yet. A stand-in for the disk, because root may write anywhere."""
    free = {"f_bavail": 1 << 30, "f_frsize": 4096, "f_blocks": 1 << 31, "f_bfree": 1 << 30}
    monkeypatch.setattr(os, "statvfs", lambda _: types.SimpleNamespace(f_flag=os.ST_RDONLY, **free))
    checked, ran = graft("check", "photos"), graft("run", "photos")
    assert "graft-out: cannot be written: Read-only file system. Choose another" in unwrap(checked.out)
    assert unwrap(ran.err).removeprefix("graft: ") in unwrap(checked.out)


def test_check_says_that_the_disk_is_full(graft, photos, monkeypatch):
    """By what a run needs, as the run itself does."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1_000_000))
    checked, ran = graft("check", "photos"), graft("run", "photos")
    assert "Problem: graft-out: a run needs about 410 MB here" in unwrap(checked.out)
    assert unwrap(ran.err).removeprefix("graft: ") in unwrap(checked.out)


def test_check_says_that_a_run_is_at_work(graft, photos, tmp_path):
    """With its process, as a second run is told; init, which names a workspace itself, goes on."""
    with open_workspace(str(tmp_path / "graft-out")):
        checked, ran = graft("check", "photos"), graft("run", "photos")
        assert graft("init", "photos").code == 0
    assert f"graft-out: another run is at work here (process {os.getpid()}). Wait for it" in unwrap(checked.out)
    assert unwrap(ran.err).removeprefix("graft: ") in unwrap(checked.out)


def test_database_of_a_killed_run_is_left_to_the_next_run(graft, photos, tmp_path):
    """Its journal says how it is mended: SQLite would do that, and check writes nothing."""
    break_database(tmp_path / "graft-out")
    (tmp_path / "graft-out" / "workspace.json").write_text('{"format": 1}')
    (tmp_path / "graft-out" / "metadata.sqlite-journal").write_bytes(b"pages")
    assert graft("check", "photos").code == 0


def test_folder_of_one_class_is_refused_before_weights_are_fetched(graft, photos, tmp_path, monkeypatch):
    """The refusal downloads nothing, imports no TensorFlow and makes no workspace."""

    def fetch(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr("pipeline.downloads.download.fetch", fetch)
    shutil.rmtree(photos / "dogs")
    ran = graft("run", "photos")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("graft: only one class (cats): a classifier needs two.")
    assert not (tmp_path / "graft-out").exists()


def test_one_class_beside_a_live_model_is_one_class_elsewhere_too(graft, photos, tmp_path):
    """Else the next try, in another workspace, would be refused again."""
    write_live(tmp_path)
    (photos / "dogs").rename(tmp_path / "dogs")
    done = graft("check", "photos")
    assert "The classes are those of the live model, version 7." in unwrap(done.out)
    assert "There, too, a classifier needs two classes, and this folder has one: cats." in unwrap(done.out)
