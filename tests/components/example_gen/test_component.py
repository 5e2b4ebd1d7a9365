"""ExampleGen writes examples in three splits, and gives a reason for each file that it leaves out."""

import collections
import datetime
import errno
import hashlib
import io
import json
import os
import pathlib
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from ingest_properties import RATIOS, make_properties
from PIL import Image
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components import progress
from components.artifacts import IngestReport
from components.example_gen import image_set, reading
from components.example_gen.component import ExampleGenExecutor, write_shard
from components.example_gen.decode_cache import remove_outdated
from components.example_gen.duplicates import Record
from components.example_gen.layout import ImageFile, list_images
from components.example_gen.reading import read_image, read_images
from components.example_gen.splits import assign_split, choose_salt
from components.records.image_list import IMAGES, read_image_list
from components.records.quarantine import GONE
from schema.errors import DataError, UsageError


def load_examples(folder):
    """Every example in a folder of TFRecords: feature name to its one value."""
    for file in sorted(pathlib.Path(folder).iterdir()):
        for record in tf.data.TFRecordDataset(str(file), compression_type="GZIP" if file.suffix == ".gz" else ""):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            values = {name: value.bytes_list.value or value.float_list.value for name, value in feature.items()}
            assert all(len(value) == 1 for value in values.values())
            yield {name: value[0] for name, value in values.items()}


def ingest(data, out, **changes):
    """Runs ExampleGen's executor; returns its examples by split, its report and its quarantine by path."""
    examples, report = standard_artifacts.Examples(), IngestReport()
    examples.uri, report.uri = str(out / "examples"), str(out / "report")
    (out / "report").mkdir(parents=True)
    executor = ExampleGenExecutor(BaseBeamExecutor.Context(beam_pipeline_args=[], tmp_dir=str(out), unique_id="1"))
    properties = make_properties(str(data), **{"decoded": str(out / "decoded")} | changes)
    executor.Do({}, {"examples": [examples], "report": [report]}, properties)
    lines = (out / "report" / "quarantine.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    return types.SimpleNamespace(
        names=json.loads(examples.split_names),
        splits={s: list(load_examples(out / "examples" / f"Split-{s}")) for s in ("train", "val", "test")},
        report=json.loads((out / "report" / "ingest.json").read_text(encoding="utf-8")),
        quarantine={entry["path"]: entry for entry in map(json.loads, lines)},
        files=sorted(path.name for path in (out / "report").iterdir()),
        uri=str(out / "report"),
    )


def measure_brightness(content):
    """Returns the mean pixel value of an image that Pillow decodes."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).mean()


def find_paths(result, split=None):
    """Paths of the examples in a split, or in all."""
    chosen = [split] if split else result.splits
    return sorted(example["path"].decode() for s in chosen for example in result.splits[s])


def find_problem(folder, content, max_megapixels):
    """Returns the problem of a file with this content."""
    (folder / "a.jpg").write_bytes(content)
    return read_image(ImageFile("a.jpg", "cat", "", "", len(content), 0), str(folder), max_megapixels).problem


def fill_with_trouble(data, make_images, encode):
    """12 good images (3 of them with something to report), 9 broken files, 2 duplicates and a contradiction."""
    make_images(data, "cat", 5)
    make_images(data, "dog", 5, kind="png")
    exif = Image.Exif()
    exif[274] = 6
    jpeg = encode("jpeg", seed=50)
    files = {
        "cat/turned.jpg": encode("jpeg", seed=51, exif=exif),
        "cat/wrongly named.png": encode("gif", seed=52),
        "cat/notes.txt": b"a side file",
        "dog/.hidden.jpg": jpeg,
        "cat/a.webp": encode("webp"),
        "cat/b.jpg": encode("tiff"),
        "cat/c.heic": b"\0\0\0\x18ftypheic\0\0\0\0",
        "cat/d.avif": b"\0\0\0\x18ftypavif\0\0\0\0",
        "cat/text.jpg": b"This is not an image.",
        "dog/page.jpg": b"<!DOCTYPE html><title>404</title>",
        "dog/empty.jpg": b"",
        "dog/truncated.jpg": jpeg[: len(jpeg) // 2],
        "dog/truncated.png": encode("png", seed=53)[:200],
        "cat/copy.jpg": (data / "cat/000.jpeg").read_bytes(),
        "dog/copies/a.png": (data / "dog/000.png").read_bytes(),
        "cat/both.jpg": encode("jpeg", seed=54),
        "dog/both.jpg": encode("jpeg", seed=54),
    }
    for path, content in files.items():
        (data / path).parent.mkdir(exist_ok=True)
        (data / path).write_bytes(content)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory, make_images, encode_image):
    """One ingest of a folder with every kind of bad file."""
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out")
    fill_with_trouble(data, make_images, encode_image)
    result = ingest(data, out)
    result.data = data
    return result


def test_a_folder_whose_path_is_a_pattern_is_read_like_any_other(tmp_path, make_images):
    """Image files are opened by name, so a path with "*" reads no neighbour; only a workspace rejects such a path."""
    data = tmp_path / "p[1]*?\\{a,b}"
    for label in ("cat", "dog"):
        make_images(data, label, 5)
        make_images(tmp_path / "p1", label, 3)
    result = ingest(data, tmp_path / "out")
    assert len(find_paths(result)) == 10


def test_every_file_ends_in_exactly_one_place(troubled):
    """In the examples or in the quarantine; only hidden and side files are in neither."""
    files = {path.relative_to(troubled.data).as_posix() for path in troubled.data.rglob("*") if path.is_file()}
    placed = collections.Counter(find_paths(troubled) + list(troubled.quarantine))
    assert set(placed) == files - {"cat/notes.txt", "dog/.hidden.jpg"}
    assert set(placed.values()) == {1}


def test_an_example_holds_the_file_as_found(troubled):
    """Image, label, path, digest and brightness; the bytes are those on disk, never encoded again."""
    for example in (e for split in troubled.splits.values() for e in split):
        content = (troubled.data / example["path"].decode()).read_bytes()
        assert example == {
            "image": content,
            "label": example["path"].partition(b"/")[0],
            "path": example["path"],
            "digest": hashlib.sha256(content).hexdigest().encode(),
            "brightness": pytest.approx(measure_brightness(content), abs=1),
        }


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("cat/a.webp", "WebP; TensorFlow Serving reads JPEG, PNG, GIF, BMP"),
        ("cat/b.jpg", "TIFF; TensorFlow Serving reads JPEG, PNG, GIF, BMP"),
        ("cat/c.heic", "HEIC; TensorFlow Serving reads"),
        ("cat/d.avif", "AVIF; TensorFlow Serving reads"),
        ("cat/text.jpg", "not an image; TensorFlow Serving reads"),
        ("dog/page.jpg", "markup, not an image"),
        ("dog/empty.jpg", "empty file"),
        ("dog/truncated.jpg", "cannot be decoded: jpeg::Uncompress failed. Invalid JPEG data"),
        ("dog/truncated.png", "cannot be decoded: Invalid PNG data"),
    ],
)
def test_a_file_that_cannot_be_served_is_quarantined_with_the_reason(troubled, path, reason):
    """The content decides, not the name; the reason is one line without the names of TensorFlow's ops."""
    entry = troubled.quarantine[path]
    assert (entry["label"], entry["broken"]) == (path.partition("/")[0], True)
    assert entry["reason"].startswith(reason)
    assert not entry["reason"].endswith(": ")
    assert not any(noise in entry["reason"] for noise in ("\n", "Op:", "{{", "name:"))


@pytest.mark.parametrize(
    ("kind", "claim"),
    [
        ("JPEG bomb", "65500 x 65500 pixels are 4290.25 megapixels"),
        ("PNG bomb", "60000 x 40000 pixels are 2400 megapixels"),
        ("GIF bomb", "65500 x 65500 pixels are 4290.25 megapixels"),
        ("BMP bomb", "60000 x 40000 pixels are 2400 megapixels"),
    ],
)
def test_an_image_bomb_is_quarantined_before_it_is_decoded(make_file, tmp_path, kind, claim):
    """The reason has both numbers, and is not the decoder's complaint about the missing pixels."""
    assert find_problem(tmp_path, make_file(kind), 100.0) == f"{claim}; max_megapixels allows 100"


def test_the_largest_image_that_is_allowed_is_read(make_file, tmp_path):
    """A million pixels are one megapixel."""
    assert find_problem(tmp_path, make_file("As large as max_megapixels"), 1.0) == ""
    assert "max_megapixels allows 0.999" in find_problem(tmp_path, make_file("As large as max_megapixels"), 0.999)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("JPEG XL", "JPEG XL; TensorFlow Serving reads"),
        ("Video", "video, not an image; TensorFlow Serving reads"),
        ("SVG", "markup, not an image"),
    ],
)
def test_other_formats_are_named(make_file, tmp_path, kind, reason):
    """The reason names HEIC, TIFF and other formats that people keep beside photographs."""
    assert find_problem(tmp_path, make_file(kind), 1.0).startswith(reason)


@pytest.mark.parametrize("name", ["a.jpg.crdownload", "b.PART", "c.tmp"])
def test_an_unfinished_download_is_quarantined_even_if_it_can_be_decoded(tmp_path, encode_image, name):
    """The file may grow while the run reads it."""
    (record,) = read([name], tmp_path, encode_image())
    assert record.broken
    assert record.problem.startswith("unfinished download")


def test_a_link_to_nowhere_is_quarantined(tmp_path, encode_image):
    """The link is left out like any unreadable file, and the other files are read."""
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere")
    lost, good = read(["lost.jpg", "good.jpg"], tmp_path, encode_image())
    assert lost.broken
    assert lost.problem == "a link to nowhere"
    assert good.problem == ""


def test_a_file_that_vanished_since_it_was_listed_is_said_to(tmp_path, encode_image):
    """The DataGate then advises to wait, not to raise max_bad_fraction."""
    (tmp_path / "good.jpg").write_bytes(encode_image())
    files = [ImageFile(name, "cat", "", "", 3, 0) for name in ("good.jpg", "gone.jpg")]
    good, gone = read_images(files, str(tmp_path), 1.0, 2)
    assert (good.problem, gone.problem, gone.broken) == ("", GONE, True)


def test_a_file_that_must_not_be_read_is_quarantined_with_the_reason(tmp_path, encode_image, monkeypatch):
    """The error is simulated, because root may read all files."""

    def deny(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(reading, "read_regular", deny)
    (record,) = read(["a.jpg"], tmp_path, encode_image())
    assert record.broken
    assert record.problem == "cannot be read: Permission denied"


def test_a_pipe_in_the_place_of_a_listed_file_is_quarantined_and_not_opened(tmp_path):
    """Opening the pipe would wait for a writer for ever."""
    os.mkfifo(tmp_path / "a.jpg")
    [record] = read_images([ImageFile("a.jpg", "cat", "", "", 3, 0)], str(tmp_path), 1.0, 1)
    assert (record.broken, record.problem) == (True, "cannot be read: a named pipe, which is no file")
    with pytest.raises(DataError, match=r"a\.jpg: changed while it was read"):
        write_shard((str(tmp_path / "Split-train/data"), [record]), str(tmp_path))


def test_links_lead_out_of_the_data_folder_only_where_that_is_wanted(tmp_path, make_images):
    """follow_links is a property of the component, so it holds on Kubeflow as well."""
    for label in ("cat", "dog"):
        make_images(tmp_path / "data", label, 4)
    make_images(tmp_path, "elsewhere", 1)
    (tmp_path / "data/cat/more").symlink_to(tmp_path / "elsewhere")
    files = [
        ingest(tmp_path / "data", tmp_path / f"out{flag}", follow_links=flag).report["files"] for flag in (False, True)
    ]
    assert files == [8, 9]


def read(names, data, content):
    """Reads files of the same content, unless they are there already."""
    for name in names:
        if not (data / name).is_symlink():
            (data / name).write_bytes(content)
    return read_images([ImageFile(name, "cat", "", "", len(content), 0) for name in names], str(data), 1.0, len(names))


def test_files_are_read_in_their_order_and_each_is_reported(tmp_path, encode_image):
    """Each of the threads reports the files that it has read, one by one."""
    names, heard = [f"{i:02d}.jpg" for i in range(40)], []
    with progress.listen(heard.append):
        records = read(names, tmp_path, encode_image())
    assert [record.path for record in records] == names
    assert heard == [progress.Event("images read", 1, 40)] * 40


def test_exact_duplicates_are_kept_once(troubled):
    """The reason names the file that is kept; a duplicate is not broken."""
    assert troubled.quarantine["cat/copy.jpg"]["reason"] == "duplicate of cat/000.jpeg"
    assert troubled.quarantine["dog/copies/a.png"]["reason"] == "duplicate of dog/000.png"
    assert not troubled.quarantine["cat/copy.jpg"]["broken"]
    assert {"cat/000.jpeg", "dog/000.png"} <= set(find_paths(troubled))


def test_same_bytes_in_two_classes_are_quarantined(troubled):
    """Both files are left out, and the reason names the classes."""
    for path in ("cat/both.jpg", "dog/both.jpg"):
        assert troubled.quarantine[path]["reason"] == "the same image is labelled cat and dog"
        assert not troubled.quarantine[path]["broken"]


def test_the_report_counts_everything(troubled):
    """Files, what is broken, what was left out, what was ignored, and the images by split and class."""
    counts = troubled.report["counts"]
    by_label = {split: collections.Counter(e["label"].decode() for e in troubled.splits[split]) for split in counts}
    assert troubled.report["ignored"] == {"hidden file": {".jpg": 1}, "side file": {".txt": 1}}
    assert {k: troubled.report[k] for k in ("files", "broken", "left_out", "oriented")} == {
        "files": 25, "broken": 9, "left_out": 4, "oriented": 1,
    }  # fmt: skip
    assert counts == by_label
    assert sum(sum(c.values()) for c in counts.values()) == 12


def test_the_report_holds_nothing_but_the_report(troubled):
    """The records of the first pass are removed."""
    assert troubled.files == ["image_figures.json", "images.parquet", "images.u64", "ingest.json", "quarantine.jsonl"]


def test_the_set_of_images_is_that_of_the_examples(troubled):
    """The set has the images of all splits with their labels, and no left-out file."""
    examples = (e for split in troubled.splits.values() for e in split)
    expected = image_set.make((e["digest"].decode(), e["label"].decode()) for e in examples)
    assert len(expected) == 12
    np.testing.assert_array_equal(image_set.read(troubled.uri), expected)


def test_the_list_of_images_is_that_of_the_examples(troubled):
    """With the split of each."""
    listed = [(i.split, i.digest, i.path, i.label) for i in read_image_list(f"{troubled.uri}/{IMAGES}")]
    examples = [
        (split, *(example[name].decode() for name in ("digest", "path", "label")))
        for split, rows in troubled.splits.items()
        for example in rows
    ]
    assert sorted(listed) == sorted(examples)


def test_images_are_dealt_by_the_salt_in_the_report(troubled):
    """The salt of `choose_salt` is taken; each image is where its bytes say."""
    salt = troubled.report["salt"]
    images = [(e["label"], e["digest"].decode()) for split in troubled.splits.values() for e in split]
    assert salt == choose_salt(images, RATIOS)
    for split, examples in troubled.splits.items():
        assert {assign_split(e["digest"].decode(), salt, RATIOS) for e in examples} == {split}
        assert {e["label"] for e in examples} == {b"cat", b"dog"}
    assert troubled.names == ["train", "val", "test"]


@pytest.fixture(scope="module")
def images(tmp_path_factory, make_images):
    """Two classes of 12 images."""
    data = tmp_path_factory.mktemp("images")
    make_images(data, "cat", 12)
    make_images(data, "dog", 12)
    return data


def test_a_given_salt_is_kept(images, tmp_path):
    """A model is retrained on the splits that it was tested on, even if the salt leaves a gap."""
    result = ingest(images, tmp_path, salt="424")
    assert result.report["salt"] == 424
    for split, examples in result.splits.items():
        assert {assign_split(e["digest"].decode(), 424, RATIOS) for e in examples} <= {split}


def serve(model_dir, **record):
    """A serving folder with a version of this record; returns its path."""
    (model_dir / "7/assets.extra").mkdir(parents=True)
    (model_dir / "7/saved_model.pb").write_bytes(b"graph")
    (model_dir / "7/assets.extra/graft.json").write_text(json.dumps(record))
    return str(model_dir)


@pytest.mark.parametrize("salt", [0, 424])
def test_without_a_given_salt_that_of_the_live_version_is_taken(make_images, tmp_path, salt):
    """Test images of the live version must not be trained on; 0 is a valid salt."""
    for label in ("cat", "dog"):
        make_images(tmp_path / "data", label, 3)
    chosen = ingest(tmp_path / "data", tmp_path / "chosen").report["salt"]
    result = ingest(tmp_path / "data", tmp_path, model_dir=serve(tmp_path / "serving", salt=salt))
    assert result.report["salt"] == salt != chosen
    for split, examples in result.splits.items():
        assert {assign_split(e["digest"].decode(), salt, RATIOS) for e in examples} <= {split}


def test_a_given_salt_goes_before_that_of_the_live_version(images, tmp_path):
    """A salt in the settings comes from the live version that the run has looked up."""
    assert ingest(images, tmp_path, model_dir=serve(tmp_path / "serving", salt=5), salt="424").report["salt"] == 424


def test_without_a_salt_of_the_live_version_one_is_chosen(images, tmp_path):
    """No version is live yet, or the live version is not Graft's."""
    chosen = ingest(images, tmp_path / "chosen").report["salt"]
    for name, model_dir in (("first", str(tmp_path / "nowhere")), ("foreign", serve(tmp_path / "serving"))):
        assert ingest(images, tmp_path / name, model_dir=model_dir).report["salt"] == chosen


def test_the_split_of_an_image_does_not_depend_on_its_path_or_class(images, tmp_path):
    """Renamed, moved into a nested folder and relabelled as a whole: the same bytes stay in the same split."""
    moved = tmp_path / "moved"
    for index, path in enumerate(sorted(images.rglob("*.jpeg"), reverse=True)):
        target = moved / f"other {path.parent.name}" / "deep" / f"{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    before, after = ingest(images, tmp_path / "before", salt="1"), ingest(moved, tmp_path / "after", salt="1")
    for split in before.splits:
        digests = {e["digest"] for e in before.splits[split]}
        assert digests
        assert digests == {e["digest"] for e in after.splits[split]}


def test_all_three_splits_are_written_even_if_one_gets_no_image(tmp_path, make_images):
    """With one image there are two empty splits: empty files, for the components behind look for them."""
    make_images(tmp_path / "data", "cat", 1)
    result = ingest(tmp_path / "data", tmp_path / "out")
    assert sorted(map(len, result.splits.values())) == [0, 0, 1]
    assert all(any((tmp_path / "out/examples" / f"Split-{s}").iterdir()) for s in ("train", "val", "test"))


def test_an_ingest_without_one_good_image_succeeds(tmp_path):
    """The gate stops the run, not ExampleGen: TFX would delete the list of broken files."""
    (tmp_path / "data/cat").mkdir(parents=True)
    (tmp_path / "data/cat/1.jpg").write_bytes(b"no image")
    result = ingest(tmp_path / "data", tmp_path / "out")
    assert find_paths(result) == []
    assert result.report["counts"] == {"train": {}, "val": {}, "test": {}}
    assert list(result.quarantine) == ["cat/1.jpg"]


def test_ready_made_splits_are_kept(tmp_path, make_images):
    """No split is drawn; an image in two splits stays in the test split."""
    data = tmp_path / "data"
    for split, first in (("train", 0), ("validation", 10), ("test", 20)):
        make_images(data / split, "cat", 3, first=first)
    shutil.copy(data / "test/cat/020.jpeg", data / "train/cat/leaked.jpeg")
    result = ingest(data, tmp_path / "out")
    assert find_paths(result, "train") == ["train/cat/000.jpeg", "train/cat/001.jpeg", "train/cat/002.jpeg"]
    assert find_paths(result, "val") == [f"validation/cat/0{i}.jpeg" for i in (10, 11, 12)]
    assert find_paths(result, "test") == [f"test/cat/0{i}.jpeg" for i in (20, 21, 22)]
    assert result.quarantine["train/cat/leaked.jpeg"]["reason"] == "duplicate of test/cat/020.jpeg"


def test_a_missing_split_is_taken_from_train(tmp_path, make_images):
    """`val` is drawn among the training images with the shares of the two; `test` stays as it came."""
    data = tmp_path / "data"
    for label in ("cat", "dog"):
        make_images(data / "train", label, 12)
        make_images(data / "test", label, 4, first=20)
    result = ingest(data, tmp_path / "out")
    assert find_paths(result, "test") == sorted(f"test/{c}/{i:03d}.jpeg" for c in ("cat", "dog") for i in range(20, 24))
    assert len(find_paths(result, "train")) + len(find_paths(result, "val")) == 24
    assert all(path.startswith("train/") for path in find_paths(result, "val"))
    assert {e["label"] for e in result.splits["val"]} == {b"cat", b"dog"}
    drawn = {"train": 0.7, "val": 0.15}
    for split in drawn:
        salt = result.report["salt"]
        assert {assign_split(e["digest"].decode(), salt, drawn) for e in result.splits[split]} == {split}


def test_a_window_of_dates_is_read_and_reported(tmp_path, make_images):
    """Only its days; across them the newest label wins, and the report names the spans."""
    data = tmp_path / "data"
    for day, first in (("2026-11-20", 0), ("2026-11-22", 10), ("2026-11-23", 20)):
        make_images(data / day, "cat", 3, first=first)
    (data / "2026-11-23/dog").mkdir()
    shutil.copy(data / "2026-11-22/cat/010.jpeg", data / "2026-11-23/dog/corrected.jpeg")
    result = ingest(data, tmp_path / "out", window_end="2026-11-23", window_days=2)
    assert result.report["files"] == 7
    assert (result.report["window_end"], result.report["spans"]) == ("2026-11-23", ["2026-11-22", "2026-11-23"])
    assert result.report["fingerprint"] == list_images(str(data), "2026-11-23", 2).fingerprint
    reason = result.quarantine["2026-11-22/cat/010.jpeg"]["reason"]
    assert reason == "labelled dog since, by 2026-11-23/dog/corrected.jpeg"
    assert "2026-11-23/dog/corrected.jpeg" in find_paths(result)


@pytest.mark.parametrize(
    "window_end", ["23.11.2026", "2026-11-31", "2026-1-2", "20261123", "2026-W48-1", "2026-11-23T03:00:00", "today"]
)
def test_a_malformed_date_is_refused_with_the_format(images, tmp_path, window_end):
    """The date may come from a parameter of a scheduled run, which no earlier step has checked."""
    with pytest.raises(UsageError, match="window_end: expected a date such as 2026-11-23, or nothing; got") as error:
        ingest(images, tmp_path, window_end=window_end)
    assert repr(window_end) in str(error.value)


def test_the_time_of_a_run_that_kubeflow_left_unreplaced_is_today(tmp_path, make_images):
    """A pinned version of a pipeline gets the word itself; the window ends today then, not with the newest folder."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    for day, first in ((today, 0), (today + datetime.timedelta(days=3), 10)):
        make_images(tmp_path / "data" / day.isoformat(), "cat", 3, first=first)
    result = ingest(tmp_path / "data", tmp_path / "out", window_end="[[ScheduledTime.2006-01-02]]")
    assert result.report["window_end"] == today.isoformat()
    assert len(find_paths(result)) == 3


def test_names_of_other_scripts_pass_through(tmp_path, make_images):
    """Class and path are UTF-8 in the examples, in the report and in the quarantine."""
    paths = make_images(tmp_path / "data", "猫 и собака", 3)
    paths[0].with_name("пустой.jpg").write_bytes(b"")
    result = ingest(tmp_path / "data", tmp_path / "out")
    assert find_paths(result) == [f"猫 и собака/00{i}.jpeg" for i in range(3)]
    assert {e["label"].decode() for split in result.splits.values() for e in split} == {"猫 и собака"}
    assert {label for by_label in result.report["counts"].values() for label in by_label} == {"猫 и собака"}
    assert list(result.quarantine) == ["猫 и собака/пустой.jpg"]


@pytest.fixture
def shard(tmp_path, encode_image):
    """A target file, two records and the folder of their images."""
    records = []
    for name in ("1.jpg", "2.jpg"):
        content = encode_image(seed=int(name[0]))
        (tmp_path / name).write_bytes(content)
        records.append(Record(name, "cat", "", "", len(content), hashlib.sha256(content).hexdigest()))
    (tmp_path / "Split-train").mkdir()
    return tmp_path / "Split-train" / "data_tfrecord-00000-of-00001", records


def test_a_shard_is_written_whole_and_may_be_tried_twice(shard, tmp_path):
    """The second try replaces the first, and nothing else is left in the folder."""
    target, records = shard
    heard = []
    with progress.listen(heard.append):
        for _ in range(2):
            write_shard((str(target), records), str(tmp_path), 2)
    assert heard == [progress.Event("images written", 1, 2)] * 4
    assert [e["path"] for e in load_examples(target.parent)] == [b"1.jpg", b"2.jpg"]
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_changed_while_it_was_read_stops_the_shard(shard, tmp_path):
    """A DataError names the file, and no partial shard is left at the target."""
    target, records = shard
    (tmp_path / "2.jpg").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"2\.jpg: changed while it was read"):
        write_shard((str(target), records), str(tmp_path))
    assert not target.exists()


def test_a_file_that_vanished_while_it_was_read_stops_the_shard(shard, tmp_path):
    """A DataError names the file, as for a changed file, because a user can cause both."""
    target, records = shard
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(DataError, match=r"2\.jpg"):
        write_shard((str(target), records), str(tmp_path))
    assert not target.exists()


def test_a_shard_is_written_below_a_folder_of_its_own_name(shard, tmp_path):
    """Only the name of the temporary file differs, not that of a folder above."""
    _, records = shard
    folder = tmp_path / "data_tfrecord" / "Split-train"
    folder.mkdir(parents=True)
    write_shard((str(folder / "data_tfrecord-00000-of-00001"), records), str(tmp_path))
    assert len(list(load_examples(folder))) == 2


def test_what_was_decoded_once_is_not_decoded_again(tmp_path, make_images, monkeypatch):
    """The next run reads the bytes and takes the sizes from the cache; only new and broken files are decoded."""
    data = tmp_path / "data"
    make_images(data, "cat", 6)
    make_images(data, "dog", 6)
    (data / "dog/torn.jpg").write_bytes((data / "dog/000.jpeg").read_bytes()[:300])
    decoded, tried = str(tmp_path / "decoded"), []
    first = ingest(data, tmp_path / "1", decoded=decoded)

    def try_to_decode(encoded, max_megapixels):
        tried.append(encoded)
        return reading_try(encoded, max_megapixels)

    reading_try = reading.try_to_decode
    monkeypatch.setattr(reading, "try_to_decode", try_to_decode)
    make_images(data, "bird", 1)
    second = ingest(data, tmp_path / "2", decoded=decoded)
    assert sorted(tried) == sorted(path.read_bytes() for path in (*(data / "bird").iterdir(), data / "dog/torn.jpg"))
    assert second.quarantine == first.quarantine
    assert set(find_paths(second)) > set(find_paths(first))


def test_a_lower_max_megapixels_and_an_orientation_hold_for_what_is_not_decoded_again(tmp_path, encode_image):
    """The cache stores size and orientation of an image, not the limit of that run."""
    exif = Image.Exif()
    exif[274] = 6
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(4):
            content = encode_image("jpeg", seed=i + 4 * (label == "dog"), exif=exif)
            (tmp_path / "data" / label / f"{i}.jpg").write_bytes(content)
    decoded = str(tmp_path / "decoded")
    first = ingest(tmp_path / "data", tmp_path / "1", decoded=decoded)
    second = ingest(tmp_path / "data", tmp_path / "2", decoded=decoded, max_megapixels=1e-4)
    assert (
        first.report["oriented"] == ingest(tmp_path / "data", tmp_path / "3", decoded=decoded).report["oriented"] == 8
    )
    assert len(second.quarantine) == 8
    assert all("max_megapixels allows 0.0001" in entry["reason"] for entry in second.quarantine.values())


def test_other_code_decodes_again(tmp_path, make_images, monkeypatch):
    """Another Graft or TensorFlow may reject an image that this one reads."""
    make_images(tmp_path / "data", "cat", 4)
    make_images(tmp_path / "data", "dog", 4)
    decoded, tried = str(tmp_path / "decoded"), []
    ingest(tmp_path / "data", tmp_path / "1", decoded=decoded, decoding_digest="old")
    monkeypatch.setattr(reading, "try_to_decode", lambda *arguments: tried.append(arguments) or (8, 8, 99.0, 1))
    ingest(tmp_path / "data", tmp_path / "2", decoded=decoded, decoding_digest="new")
    assert len(tried) == 8
    remove_outdated(decoded, "new")
    assert len(list(pathlib.Path(decoded).iterdir())) == 1
