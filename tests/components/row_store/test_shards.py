"""A shard is there whole, or not at all; and it says of each row whether it is what was written."""

import contextlib
import dataclasses
import os
import resource

import numpy as np
import pyarrow as pa
import pytest

from components.row_store.shards import BadShardError, FeatureKey, Shard, write_shard

EMBEDDING = FeatureKey("embedding", "weights", "graph", (2048,), "float32")
TRUNK = FeatureKey("conv4_block6_out", "weights", "graph", (2, 2, 8), "bfloat16")
BATCHES = (3, 1, 4)  # rows of each


def make_digests(count, first=1):
    """Digests of 32 bytes, in no order."""
    return [np.random.default_rng(seed).bytes(32) for seed in range(first, first + count)]


def make_rows(kind, count, seed=0):
    """Random rows as they come from the base, [count, *shape]."""
    return np.random.default_rng(seed).standard_normal((count, *kind.shape)).astype(kind.numpy_dtype)


def write(folder, kind, batches=BATCHES):
    """Writes a shard of `make_digests` and `make_rows` in batches; returns its path."""
    before = set(os.listdir(folder))
    digests, rows = make_digests(sum(batches)), make_rows(kind, sum(batches))
    ends = np.cumsum(batches)
    with write_shard(str(folder), kind) as append:
        for begin, end in zip(ends - batches, ends, strict=True):
            append(digests[begin:end], rows[begin:end])
    [name] = set(os.listdir(folder)) - before
    return folder / name


def read(shard, kind):
    """All rows of a shard, [num_rows, *shape]."""
    return shard.read(range(len(shard.digests)))[0]


@contextlib.contextmanager
def file_size_limit(num_bytes):
    """Files that grow beyond it cannot be written, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", [EMBEDDING, TRUNK], ids=lambda kind: kind.dtype)
def test_rows_are_read_as_they_were_written(tmp_path, kind):
    """Bit-equal, in their order, each with its digest, whatever the batches; and all are intact."""
    shard = Shard(str(write(tmp_path, kind)), kind)
    rows = read(shard, kind)
    assert rows.dtype == kind.numpy_dtype
    assert rows.tobytes() == make_rows(kind, sum(BATCHES)).tobytes()
    assert shard.digests.tolist() == make_digests(sum(BATCHES))
    assert shard.read(range(sum(BATCHES)), check=True)[1].all()


def test_rows_of_another_type_are_converted(tmp_path):
    """What a kind says is what is kept; here bfloat16 of float32."""
    rows = np.random.default_rng(0).standard_normal((2, *TRUNK.shape)).astype(np.float32)
    with write_shard(str(tmp_path), TRUNK) as append:
        append(make_digests(2), rows)
    [path] = tmp_path.iterdir()
    np.testing.assert_array_equal(read(Shard(str(path), TRUNK), TRUNK), rows.astype(TRUNK.numpy_dtype))


def test_batches_without_rows_do_no_harm(tmp_path):
    """In front of, between and behind others."""
    shard = Shard(str(write(tmp_path, TRUNK, (0, 2, 0, 1, 0))), TRUNK)
    np.testing.assert_array_equal(read(shard, TRUNK), make_rows(TRUNK, 3))


def test_a_shard_appears_when_the_context_ends(tmp_path):
    """Not before, however much is written."""
    with write_shard(str(tmp_path), TRUNK) as append:
        append(make_digests(1), make_rows(TRUNK, 1))
        assert list(tmp_path.glob("*.arrow")) == []
    assert len(list(tmp_path.glob("*.arrow"))) == len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_failed_write_leaves_nothing(tmp_path, error):
    """Neither a shard nor a temporary file; the error passes."""

    def fail():
        with write_shard(str(tmp_path), TRUNK) as append:
            append(make_digests(1), make_rows(TRUNK, 1))
            raise error

    with pytest.raises(type(error)):
        fail()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("batches", [0, 2])
def test_without_rows_there_is_no_file(tmp_path, batches):
    """Not even where batches without rows were appended."""
    with write_shard(str(tmp_path), TRUNK) as append:
        for _ in range(batches):
            append([], make_rows(TRUNK, 0))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("rows", [make_rows(TRUNK, 1), make_rows(EMBEDDING, 2)], ids=["number", "shape"])
def test_rows_that_do_not_fit_are_refused(tmp_path, rows):
    """One row for two images, or rows of another kind: nothing is written."""
    with pytest.raises(ValueError, match="reshape"), write_shard(str(tmp_path), TRUNK) as append:
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
        lambda path: write_arrow(path, pa.schema([("digest", pa.string())], {b"graft": TRUNK.to_json()})),
        lambda path: write(path.parent, EMBEDDING).rename(path),
        lambda path: write(path.parent, dataclasses.replace(TRUNK, weights="other")).rename(path),
    ],
    ids=[
        "empty", "cut by a byte", "cut in the middle", "zeros", "text", "any Arrow", "columns of another kind",
        "another layer", "other weights",
    ],
)  # fmt: skip
def test_a_torn_or_foreign_file_is_a_bad_shard(tmp_path, damage):
    """The error is one, whatever is the matter with the file."""
    path = write(tmp_path, TRUNK)
    damage(path)
    with pytest.raises(BadShardError):
        Shard(str(path), TRUNK)


def flip(path, position, bit=0):
    """Turns one bit of a file over; it keeps its length."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_in_a_row_is_noticed(tmp_path):
    """The file opens, for it has its length; that row is not intact, and the others are."""
    path = write(tmp_path, TRUNK)
    rows = make_rows(TRUNK, sum(BATCHES))
    flip(path, path.read_bytes().index(rows[5].tobytes()) + 7)
    shard = Shard(str(path), TRUNK)
    assert shard.read(range(len(rows)), check=True)[1].tolist() == [i != 5 for i in range(len(rows))]


def test_a_flipped_bit_anywhere_is_noticed_or_does_no_harm(tmp_path):
    """The file is a bad shard, or no image has an intact row that is not its own: Arrow's own fields lead to rows."""
    path = write(tmp_path, TRUNK, (4,))
    content, digests, rows = path.read_bytes(), make_digests(4), make_rows(TRUNK, 4)
    begin = content.index(rows.tobytes())
    outcomes = {}
    for position in [*range(begin), *range(begin + rows.nbytes, len(content))]:
        for bit in (5, 7):  # moves a field by 32 bytes, a digest; and as far as a byte goes
            path.write_bytes(content)
            flip(path, position, bit)
            try:
                shard = Shard(str(path), TRUNK)
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
    "change", [{"layer": "conv3"}, {"weights": "w"}, {"graph": "g"}, {"shape": (2, 8, 2)}, {"dtype": "float32"}]
)
def test_a_kind_that_differs_in_anything_has_another_name(change):
    """So another folder; a person reads the layer in it."""
    assert dataclasses.replace(TRUNK, **change).name != TRUNK.name
    assert TRUNK.name.startswith("conv4_block6_out-")


def test_equal_kinds_have_one_name():
    """Whoever made them, and whenever: another name would leave all rows that are kept behind."""
    assert FeatureKey("a", "w", "g", (2,), "float32").name == "a-e18f2bdaeb3ecdfa"


@pytest.mark.parametrize("kind", [EMBEDDING, TRUNK], ids=lambda kind: kind.dtype)
def test_a_kind_comes_back_from_json(kind):
    """The shape is a tuple again, so that kinds can be compared."""
    assert FeatureKey.from_json(kind.to_json()) == kind
    assert "\n" not in kind.to_json()


def test_a_kind_knows_what_a_row_takes():
    """In bytes, without the digest; budgets are made of it."""
    assert (EMBEDDING.row_bytes, TRUNK.row_bytes) == (8192, 64)
