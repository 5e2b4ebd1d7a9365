"""The list of a run's images: what is written is read, and another file is refused in one line."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.records.image_list import ListedImage, read_image_list, read_image_properties, write_image_list
from serving.storage.documents import DocumentError

IMAGES = [
    ListedImage("train", "ab" * 32, "cats/ü \n.jpg", "cats", 640, 480, 99.5, 6),
    ListedImage("test", "cd" * 32, "a.png", "dogs\x1b", 8, 9, 0.0),
]


@pytest.mark.parametrize("images", [IMAGES, []])
def test_what_is_written_is_read(tmp_path, images):
    write_image_list(str(tmp_path / "a"), iter(images))
    assert read_image_list(str(tmp_path / "a")) == images
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_properties_are_found_by_digest(tmp_path):
    """An image that the list lacks has size and orientation 0, and brightness NaN."""
    write_image_list(str(tmp_path / "a"), IMAGES)
    found = read_image_properties(str(tmp_path / "a")).select(["cd" * 32, "ef" * 32, "ab" * 32])
    assert (found.width.tolist(), found.height.tolist()) == ([8, 0, 640], [9, 0, 480])
    np.testing.assert_equal(found.brightness, [0.0, np.nan, 99.5])
    assert found.orientation.tolist() == [1, 0, 6]


def write_table(path, metadata=b"1", **columns):
    """Writes the images with other columns; `None` in a column is a missing value."""
    write_image_list(str(path), IMAGES)
    table = pq.ParquetFile(path).read()
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table.replace_schema_metadata({b"graft_images": metadata}), path)


REFUSED = {
    "missing": (lambda path: None, "is missing"),
    "torn": (lambda path: path.write_bytes(b"PAR1 torn PAR1"), "not the images of a run"),
    "of another program": (lambda path: pq.write_table(pa.table({"a": [1]}), path), "not the images of a run"),
    "newer": (lambda path: write_table(path, b"2"), "format 2; this Graft reads 1"),
    "without values": (lambda path: write_table(path, label=pa.array([None, "a"])), "or lack values"),
    "with numbers": (lambda path: write_table(path, label=pa.array([1, 2])), "its columns are other ones"),
    "a folder": (lambda path: path.mkdir(), "a folder, not a file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_another_file_is_refused_in_one_line(tmp_path, kind):
    make, reason = REFUSED[kind]
    make(tmp_path / "images.parquet")
    with pytest.raises(DocumentError, match=reason) as refused:
        read_image_list(str(tmp_path / "images.parquet"))
    assert "\n" not in str(refused.value)
