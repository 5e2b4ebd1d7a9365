"""The nearest new training images: the same as by brute force, in chunks, and without rows that are not there."""

import tracemalloc

import numpy as np
import pytest

from components.records.image_list import ListedImage
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore
from pipeline.compare import nearest


def make_digest(number):
    return f"{number + 1:064x}"


def store_rows(folder, rows, at_once=64):
    """Stores rows under the digests of 0, 1, and so on; opens the store."""
    key = FeatureKey("embedding", "w", "g", rows.shape[1:], "float32")
    store = EmbeddingStore(str(folder), key)
    with store.append() as append:
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            append([bytes.fromhex(make_digest(start + i)) for i in range(len(part))], part)
    return store


def list_new(numbers):
    return [(ListedImage("train", make_digest(i), f"{i}.jpg", "cats"), None) for i in numbers]


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_the_nearest_are_those_of_brute_force_in_whatever_chunks(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(nearest, "_CHUNK", chunk)
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    flipped, new = [0, 1, 2], range(10, 50)
    opened = store_rows(tmp_path, rows).open()
    found, missing = nearest.find_nearest(opened, [make_digest(i) for i in flipped], list_new(new), 3)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for image, near in zip(flipped, found, strict=True):
        cosines = {i: float(units[image] @ units[i]) for i in new}
        expected = sorted(cosines, key=lambda i: -cosines[i])[:3]
        assert [n.path for n in near] == [f"{i}.jpg" for i in expected]
        assert [n.similarity for n in near] == pytest.approx([cosines[i] for i in expected], abs=1e-5)
    assert missing == 0


def test_rows_that_are_missing_damaged_or_zero_are_left_out_and_counted(tmp_path):
    """A damaged row would be near to anything; the file stays as it is."""
    rows = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    rows[3] = 0
    store = store_rows(tmp_path, rows)
    [file] = (tmp_path / store.key.name).glob("*.arrow")
    content = file.read_bytes()
    at = content.index(rows[4].tobytes())
    file.write_bytes(content[: at + 3] + b"\xff" + content[at + 4 :])
    asked = [make_digest(0), make_digest(77), "no digest"]
    found, missing = nearest.find_nearest(store.open(), asked, list_new([1, 2, 3, 4, 99]), 3)
    assert [sorted(n.path for n in near) for near in found] == [["1.jpg", "2.jpg"], [], []]
    assert missing == 3
    assert [path.name for path in file.parent.glob("*.arrow*")] == [file.name]


@pytest.mark.long
def test_memory_does_not_grow_with_the_new_images(tmp_path):
    """20,000 rows of 2048 floats are 160 MB."""
    part = np.random.default_rng(0).normal(size=(1000, 2048)).astype(np.float32)
    rows = np.concatenate([part] * 20)
    opened = store_rows(tmp_path, rows, 1000).open()
    asked, new = [make_digest(i) for i in range(20)], list_new(range(20_000))
    del rows
    tracemalloc.start()
    nearest.find_nearest(opened, asked, new, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
