"""Foreign files in a store run no code and end no command, and the shards beside them are read."""

import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import uuid

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from hostile_shards import write_shard_with_code

from components.example_gen.decode_cache import DecodedImages
from components.row_store.shards import BadShardError, FeatureKey, Shard, write_shard
from components.row_store.store import KEY_FILE, EmbeddingStore, list_keys

ROOT = pathlib.Path(__file__).parents[3]
KEY = FeatureKey("embedding", "weights", "graph", (8,), "float32")
DIGEST = bytes(range(32))


@pytest.fixture
def log(caplog):
    """Captures the log."""
    caplog.set_level("INFO", logger=logging.get_absl_logger().name)
    return caplog


@pytest.fixture
def store(tmp_path):
    """A store with one good shard of one row."""
    return fill(EmbeddingStore(str(tmp_path / "out" / "embeddings"), KEY))


def fill(store):
    with store.append() as append:
        append([DIGEST], np.ones([1, 8], np.float32))
    return store


def test_embeddings_command_runs_no_code_of_a_shard(store, tmp_path):
    """In a process without Beam, whose import alone makes an old pyarrow safe; the good shard is counted."""
    touched = tmp_path / "touched"
    write_shard_with_code(pathlib.Path(store.folder) / "code.arrow", KEY, touched)
    command = [sys.executable, ROOT, "embeddings", "--out", tmp_path / "out"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ["embedding", "1"] in [line.split()[:2] for line in ran.stdout.splitlines()]
    assert not touched.exists()
    assert "Traceback" not in ran.stderr


def test_a_shard_with_code_is_passed_over_as_a_foreign_one(store, tmp_path, log):
    """The warning is that of a foreign shard; pruning leaves the file in place."""
    write_shard_with_code(pathlib.Path(store.folder) / "code.arrow", KEY, tmp_path / "touched")
    assert len(store.open()) == 1
    assert "code.arrow: not a shard of this store (it holds something else)" in log.text
    assert store.prune([]) == 1
    assert sorted(os.listdir(store.folder)) == ["code.arrow", KEY_FILE]
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("listed", [False, True])
def test_a_shard_with_code_in_a_bucket_is_passed_over(tmp_path, log, listed):
    """A shard with a list of digests as well: it is rejected when its first row is read."""
    store = fill(EmbeddingStore(f"ram://{uuid.uuid4().hex}", KEY))
    write_shard_with_code(tmp_path / "code.arrow", KEY, tmp_path / "touched")
    tf.io.gfile.copy(str(tmp_path / "code.arrow"), f"{store.folder}/code.arrow")
    other = hashlib.sha256(b"other").digest()
    if listed:
        with tf.io.gfile.GFile(f"{store.folder}/code.digests", "wb") as file:
            file.write(other)
    rows = store.open()
    assert rows.check(rows.find([DIGEST, other])).tolist() == [True, False]
    assert "code.arrow: damaged; set aside" in log.text if listed else "code.arrow: not a shard" in log.text
    assert not (tmp_path / "touched").exists()


def test_a_shard_with_code_among_what_was_decoded_is_passed_over(tmp_path):
    """ExampleGen's store of decoded sizes consists of shards, too."""
    known = DecodedImages(str(tmp_path / "decoded"), "code")
    folder = pathlib.Path(known._store.folder)
    folder.mkdir(parents=True)
    write_shard_with_code(folder / "code.arrow", known._store.key, tmp_path / "touched")
    assert DecodedImages(str(tmp_path / "decoded"), "code").find(DIGEST.hex()) is None
    assert not (tmp_path / "touched").exists()


def make_pipe(path):
    os.mkfifo(path)


def make_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_pipe, make_device, pathlib.Path.mkdir])
def test_what_is_no_regular_file_is_passed_over(store, make):
    """A pipe, device or folder is no shard and no `kind.json`: opening a pipe blocks, a device may never end."""
    make(pathlib.Path(store.folder) / "special.arrow")
    other = pathlib.Path(store.folder).parent / "other"
    other.mkdir()
    make(other / KEY_FILE)
    assert len(store.open()) == 1
    assert list_keys(str(other.parent)) == [KEY]


@pytest.mark.parametrize(
    "change",
    [{"dtype": "object"}, {"shape": [-1]}, {"shape": [True]}, {"shape": [1 << 40]}, {"layer": 3}, {"more": 1}],
    ids=str,
)
def test_a_feature_key_that_graft_does_not_write_is_ignored(store, change):
    """Even if the name of its folder has the right digest."""
    values = json.loads(KEY.to_json()) | change
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    folder = pathlib.Path(store.folder).parent / f"{values['layer']}-{digest[:16]}"
    folder.mkdir()
    (folder / KEY_FILE).write_text(json.dumps(values))
    assert list_keys(str(folder.parent)) == [KEY]


def mutate(content, random_):
    """Overwrites 1 to 4 runs of up to 8 bytes, most of them in the footer; or cuts the end off."""
    content = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        start = random_.randrange(len(content) // 2 if random_.random() < 0.7 else 0, len(content))
        content[start : start + random_.randint(1, 8)] = random_.choice([b"\0", b"\xff", b"\x7f", random_.randbytes(4)])
    return content[: random_.randrange(len(content))] if random_.random() < 0.1 else content


@pytest.mark.parametrize("count", [300, pytest.param(30_000, marks=pytest.mark.long)])
def test_a_mutated_shard_is_read_or_refused(tmp_path, count):
    """Opening raises only BadShardError, and rows that do not fit their checksums are not intact."""
    with write_shard(str(tmp_path), KEY) as append:
        append([DIGEST, DIGEST[::-1]], np.ones([2, 8], np.float32))
        append([DIGEST[1:] + b"0"], np.ones([1, 8], np.float32))
    [path] = tmp_path.iterdir()
    whole, random_ = path.read_bytes(), random.Random(0)
    mutated = tmp_path / "mutated.arrow"
    refused = 0
    for _ in range(count):
        mutated.write_bytes(mutate(whole, random_))
        try:
            shard = Shard(str(mutated), KEY)
        except BadShardError:
            refused += 1
        else:
            rows, intact = shard.read(range(len(shard.digests)), check=True)
            assert (rows[intact] == 1).all()
    assert count * 0.2 < refused < count
