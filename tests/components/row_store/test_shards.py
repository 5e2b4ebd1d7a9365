"""A shard is written whole or not at all, and its checksums tell intact rows from damaged ones."""

import contextlib
import dataclasses
import os
import resource

import numpy as np
import pyarrow as pa
import pytest

from components.row_store.shards import BadShardError, FeatureKey, Shard, write_shard

EMBEDDING = FeatureKey("embedding", "weights", "graph", (2048,), "float32")
FEATURES = FeatureKey("conv4_block6_out", "weights", "graph", (2, 2, 8), "bfloat16")
BATCHES = (3, 1, 4)  # rows of each


def make_digests(count, first=1):
    """Returns digests of 32 bytes, unsorted."""
    return [np.random.default_rng(seed).bytes(32) for seed in range(first, first + count)]


def make_rows(key, count, seed=0):
    """Returns random rows, [count, *shape]."""
    return np.random.default_rng(seed).standard_normal((count, *key.shape)).astype(key.numpy_dtype)


def write(folder, key, batches=BATCHES):
    """Writes a shard of `make_digests` and `make_rows` in batches; returns its path."""
    before = set(os.listdir(folder))
    digests, rows = make_digests(sum(batches)), make_rows(key, sum(batches))
    ends = np.cumsum(batches)
    with write_shard(str(folder), key) as append:
        for begin, end in zip(ends - batches, ends, strict=True):
            append(digests[begin:end], rows[begin:end])
    [name] = set(os.listdir(folder)) - before
    return folder / name


def read(shard, key):
    """Reads all rows of a shard, [num_rows, *shape]."""
    return shard.read(range(len(shard.digests)))[0]


@contextlib.contextmanager
def file_size_limit(num_bytes):
    """Limits the size of written files, to imitate a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("key", [EMBEDDING, FEATURES], ids=lambda key: key.dtype)
def test_rows_are_read_as_they_were_written(tmp_path, key):
    """Bit-equal and in order, each with its digest, for any sizes of batches; and all are intact."""
    shard = Shard(str(write(tmp_path, key)), key)
    rows = read(shard, key)
    assert rows.dtype == key.numpy_dtype
    assert rows.tobytes() == make_rows(key, sum(BATCHES)).tobytes()
    assert shard.digests.tolist() == make_digests(sum(BATCHES))
    assert shard.read(range(sum(BATCHES)), check=True)[1].all()


def test_rows_of_another_type_are_converted(tmp_path):
    """Rows are stored in the dtype of the feature key; here float32 is converted to bfloat16."""
    rows = np.random.default_rng(0).standard_normal((2, *FEATURES.shape)).astype(np.float32)
    with write_shard(str(tmp_path), FEATURES) as append:
        append(make_digests(2), rows)
    [path] = tmp_path.iterdir()
    np.testing.assert_array_equal(read(Shard(str(path), FEATURES), FEATURES), rows.astype(FEATURES.numpy_dtype))


def test_batches_without_rows_do_no_harm(tmp_path):
    """Empty batches may stand before, between and behind others."""
    shard = Shard(str(write(tmp_path, FEATURES, (0, 2, 0, 1, 0))), FEATURES)
    np.testing.assert_array_equal(read(shard, FEATURES), make_rows(FEATURES, 3))


def test_a_shard_appears_when_the_context_ends(tmp_path):
    """Before that, no amount of written rows makes it visible."""
    with write_shard(str(tmp_path), FEATURES) as append:
        append(make_digests(1), make_rows(FEATURES, 1))
        assert list(tmp_path.glob("*.arrow")) == []
    assert len(list(tmp_path.glob("*.arrow"))) == len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_failed_write_leaves_nothing(tmp_path, error):
    """Neither a shard nor a temporary file; the error passes."""

    def fail():
        with write_shard(str(tmp_path), FEATURES) as append:
            append(make_digests(1), make_rows(FEATURES, 1))
            raise error

    with pytest.raises(type(error)):
        fail()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("batches", [0, 2])
def test_without_rows_there_is_no_file(tmp_path, batches):
    """Appended batches without rows make no file either."""
    with write_shard(str(tmp_path), FEATURES) as append:
        for _ in range(batches):
            append([], make_rows(FEATURES, 0))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("rows", [make_rows(FEATURES, 1), make_rows(EMBEDDING, 2)], ids=["number", "shape"])
def test_rows_that_do_not_fit_are_refused(tmp_path, rows):
    """One row for two images, or rows of another key: nothing is written."""
    with pytest.raises(ValueError, match="reshape"), write_shard(str(tmp_path), FEATURES) as append:
        append(make_digests(2), rows)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("part", [0.5, 1.0], ids=["in a row", "in the last byte"])
def test_a_full_disk_leaves_what_was_there(tmp_path, part):
    """An OSError, and neither a torn shard nor a temporary file beside the older one."""
    old = write(tmp_path, EMBEDDING)
    limit = int(old.stat().st_size * part) - 1
    with file_size_limit(limit), pytest.raises(OSError, match="large"):
        write(tmp_path, EMBEDDING)
    assert list(tmp_path.iterdir()) == [old]
    np.testing.assert_array_equal(read(Shard(str(old), EMBEDDING), EMBEDDING), make_rows(EMBEDDING, sum(BATCHES)))


def write_arrow(path, schema):
    """An Arrow file without rows."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema):
        pass


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_text("This is not a shard."),
        lambda path: write_arrow(path, pa.schema([("digest", pa.string())])),
        lambda path: write_arrow(path, pa.schema([("digest", pa.string())], {b"graft": FEATURES.to_json()})),
        lambda path: write(path.parent, EMBEDDING).rename(path),
        lambda path: write(path.parent, dataclasses.replace(FEATURES, weights="other")).rename(path),
    ],
    ids=[
        "empty", "cut by a byte", "cut in the middle", "zeros", "text", "any Arrow", "columns of another key",
        "another layer", "other weights",
    ],
)  # fmt: skip
def test_a_torn_or_foreign_file_is_a_bad_shard(tmp_path, damage):
    """Every fault of the file raises BadShardError."""
    path = write(tmp_path, FEATURES)
    damage(path)
    with pytest.raises(BadShardError):
        Shard(str(path), FEATURES)


def flip(path, position, bit=0):
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_in_a_row_is_noticed(tmp_path):
    """The file opens; the damaged row is not intact, and the others are."""
    path = write(tmp_path, FEATURES)
    rows = make_rows(FEATURES, sum(BATCHES))
    flip(path, path.read_bytes().index(rows[5].tobytes()) + 7)
    shard = Shard(str(path), FEATURES)
    assert shard.read(range(len(rows)), check=True)[1].tolist() == [i != 5 for i in range(len(rows))]


def test_a_flipped_bit_anywhere_is_noticed_or_does_no_harm(tmp_path):
    """The file is a bad shard, or no image has the row of another: the bit may be in Arrow's own fields."""
    path = write(tmp_path, FEATURES, (4,))
    content, digests, rows = path.read_bytes(), make_digests(4), make_rows(FEATURES, 4)
    begin = content.index(rows.tobytes())
    outcomes = {}
    for position in [*range(begin), *range(begin + rows.nbytes, len(content))]:
        for bit in (5, 7):  # moves a field by 32 bytes, a digest; and as far as a byte goes
            path.write_bytes(content)
            flip(path, position, bit)
            try:
                shard = Shard(str(path), FEATURES)
            except BadShardError:
                continue
            except Exception as error:  # a run would end with it, and the next one, too
                outcomes[position, bit] = repr(error)
                continue
            stored, intact = shard.read(range(len(shard.digests)), check=True)
            checked = zip(shard.digests.tolist(), stored, intact, strict=True)
            found = {digest: row.tobytes() for digest, row, fine in checked if fine}
            if any(found.get(d, row.tobytes()) != row.tobytes() for d, row in zip(digests, rows, strict=True)):
                outcomes[position, bit] = "an image has the row of another"
    assert outcomes == {}


@pytest.mark.parametrize(
    "change",
    [
        {"layer": "conv3"},
        {"weights": "w"},
        {"graph": "g"},
        {"shape": (2, 8, 2)},
        {"dtype": "float32"},
        {"arithmetic": "folded"},
    ],
)
def test_different_feature_keys_have_different_names(change):
    """Rows of different keys lie in different folders; the name begins with the layer."""
    assert dataclasses.replace(FEATURES, **change).name != FEATURES.name
    assert FEATURES.name.startswith("conv4_block6_out-")


def test_equal_feature_keys_have_one_name():
    """The name is the same in every release: under another name no stored row would be found."""
    key = FeatureKey("a", "w", "g", (2,), "float32")
    assert key.name == "a-e18f2bdaeb3ecdfa"
    assert FeatureKey.from_json('{"dtype": "float32", "graph": "g", "layer": "a", "shape": [2], "weights": "w"}') == key


@pytest.mark.parametrize("key", [EMBEDDING, FEATURES], ids=lambda key: key.dtype)
def test_a_feature_key_comes_back_from_json(key):
    """The shape is a tuple again, so that keys can be compared."""
    assert FeatureKey.from_json(key.to_json()) == key
    assert "\n" not in key.to_json()


def test_a_feature_key_knows_the_size_of_a_row():
    """In bytes, without the digest; budgets are computed from this size."""
    assert (EMBEDDING.row_bytes, FEATURES.row_bytes) == (8192, 64)
