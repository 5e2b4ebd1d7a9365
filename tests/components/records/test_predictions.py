"""File with the predictions of a run: what is written, read and refused."""

import dataclasses
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.records.predictions import Predictions, join_predictions, no_baseline, read_predictions
from serving.storage.documents import DocumentError

NAN = float("nan")
TWO = Predictions(
    classes=["cat", "dog"],
    baseline_version=7,
    baseline_classes=["dog", "wolf", "cat"],
    split=["test", "test"],
    digest=["aa", "bb"],
    path=["cat/猫.jpg", "dog/b.jpg"],
    label=["cat", "dog"],
    candidate=np.array([[0.9, 0.1], [0.3, 0.7]], np.float32),
    baseline=np.array([[NAN, NAN, NAN], [0.5, 0.25, 0.25]], np.float32),
)


def assert_equal(one, other):
    for field in dataclasses.fields(Predictions):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_what_is_written_is_read(tmp_path):
    """The file keeps names, numbers, and the images without a prediction of the live version."""
    TWO.write(str(tmp_path / "p.parquet"))
    assert_equal(read_predictions(str(tmp_path / "p.parquet")), TWO)


def test_columns_are_those_that_others_read(tmp_path):
    """Another reader of Parquet gets the same columns; a missing prediction of the live version is null."""
    TWO.write(str(tmp_path / "p.parquet"))
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert list(rows[0]) == ["split", "digest", "path", "label", "candidate", "baseline"]
    assert (rows[0]["path"], rows[0]["baseline"], rows[1]["baseline"]) == ("cat/猫.jpg", None, [0.5, 0.25, 0.25])
    assert rows[1]["candidate"] == pytest.approx([0.3, 0.7])


def test_which_images_are_accepted_is_kept_where_it_is_known(tmp_path):
    """Through writing, sorting and joining; joined with images of which it is unknown, it is unknown."""
    known = dataclasses.replace(TWO, accepted=np.array([True, False]))
    known.write(str(tmp_path / "p.parquet"))
    assert_equal(read_predictions(str(tmp_path / "p.parquet")), known)
    np.testing.assert_array_equal(join_predictions([known.take([1]), known]).sort().accepted, [True, False])
    assert join_predictions([known, TWO]).accepted is None


@pytest.mark.parametrize("count", [0, 2])
def test_predictions_without_a_live_version_are_read(tmp_path, count):
    """The same holds for a file without images."""
    alone = dataclasses.replace(
        TWO.take(range(count)), baseline_version=None, baseline_classes=None, baseline=no_baseline(count)
    )
    alone.write(str(tmp_path / "p.parquet"))
    assert_equal(read_predictions(str(tmp_path / "p.parquet")), alone)
    assert not alone.has_baseline().any()


def test_equal_predictions_are_equal_bytes():
    """So a bundle that Beam tries twice writes one file."""
    assert TWO.render() == TWO.take([0, 1]).render()


def test_an_image_that_is_there_twice_is_kept_once():
    """The rows are sorted by split and path."""
    val = dataclasses.replace(TWO, split=["val", "val"], baseline_classes=None, baseline=no_baseline(2))
    joined = join_predictions([val, TWO.take([1]), TWO.take([1, 0])]).sort()
    assert list(zip(joined.split, joined.path, strict=True)) == [
        ("test", "cat/猫.jpg"),
        ("test", "dog/b.jpg"),
        ("val", "cat/猫.jpg"),
        ("val", "dog/b.jpg"),
    ]
    np.testing.assert_array_equal(joined.has_baseline(), [False, True, False, False])


def test_a_live_version_is_aligned_by_path():
    """The order of rows does not matter; an image without a prediction gets NaN."""
    alone = dataclasses.replace(TWO, baseline_version=None, baseline_classes=None, baseline=no_baseline(2))
    assert_equal(alone.align_baseline(TWO.take([1])), TWO)


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_damaged_file_is_told(tmp_path, content):
    """So is a missing file."""
    if content is not None:
        (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(DocumentError, match=r"p\.parquet"):
        read_predictions(str(tmp_path / "p.parquet"))


def test_a_newer_format_is_told(tmp_path, monkeypatch):
    """The reader refuses the whole file."""
    monkeypatch.setattr("components.records.predictions.FORMAT", 2)
    TWO.write(str(tmp_path / "p.parquet"))
    monkeypatch.undo()
    with pytest.raises(DocumentError, match="format 2"):
        read_predictions(str(tmp_path / "p.parquet"))


def test_readers_start_no_tensorflow():
    """Importing TensorFlow takes seconds."""
    code = "import sys, components.records.predictions; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
