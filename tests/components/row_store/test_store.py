"""Rows are found by the digest of their image, in the shards of any run; damaged rows are not found."""

import contextlib
import dataclasses
import os
import pathlib
import resource
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from absl import logging

from components.row_store.shards import FeatureKey
from components.row_store.store import KEY_FILE, EmbeddingStore, list_keys, remove
from serving.storage.listing import measure

EMBEDDING = FeatureKey("embedding", "weights", "graph", (2048,), "float32")
FEATURES = FeatureKey("conv4_block6_out", "weights", "graph", (2, 2, 8), "bfloat16")
DAY = 24 * 3600.0


def make_digest(number):
    """Returns an unsorted digest of 32 bytes; every other one ends in zeros, which NumPy takes for padding."""
    zeros = 8 * (number % 2)
    return np.random.default_rng(number).bytes(32 - zeros) + bytes(zeros)


def make_row(key, number):
    """Returns the row of an image, [*shape], the same in every call."""
    return np.random.default_rng(number).standard_normal(key.shape).astype(key.numpy_dtype)


def add(store, numbers, batch_size=4):
    """Appends the rows of some images as one shard, in batches; returns its path."""
    before = set(list_shards(store))
    with store.append() as append:
        for begin in range(0, len(numbers), batch_size):
            batch = numbers[begin : begin + batch_size]
            append([make_digest(n) for n in batch], np.stack([make_row(store.key, n) for n in batch]))
    [path] = set(list_shards(store)) - before
    return path


def list_shards(store):
    return sorted(pathlib.Path(store.folder).glob("*.arrow"))


def find(rows, numbers):
    return rows.find([make_digest(n) for n in numbers])


def list_found(store, numbers):
    """Lists the images that have a row in a store; fails if a row is not that of its image."""
    rows = store.open()
    positions = find(rows, numbers)
    found = [n for n, position in zip(numbers, positions, strict=True) if position >= 0]
    for number, row in zip(found, rows.read(positions[positions >= 0]), strict=True):
        assert row.tobytes() == make_row(store.key, number).tobytes()
    return found


def check(store, numbers):
    """Opens a store and checks the rows of some images."""
    rows = store.open()
    return rows.check(find(rows, numbers)).tolist()


def flip(path, row):
    """Flips a bit inside a row."""
    content = bytearray(path.read_bytes())
    content[content.index(row.tobytes()) + 9] ^= 4
    path.write_bytes(content)


def set_age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


@contextlib.contextmanager
def limit(what, value):
    """Sets a resource limit of this process, such as the size of a written file."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


@pytest.fixture
def log(caplog):
    """Captures the log."""
    caplog.set_level("INFO", logger=logging.get_absl_logger().name)
    return caplog


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(str(tmp_path / "store"), FEATURES)


@pytest.mark.parametrize("key", [EMBEDDING, FEATURES], ids=lambda key: key.dtype)
def test_what_was_appended_is_found_and_read(tmp_path, key):
    """Bit-equal and in the order asked for, over several shards of several batches; by a store opened anew."""
    store = EmbeddingStore(str(tmp_path), key)
    for numbers in (range(10), range(10, 13), range(13, 22)):
        add(store, numbers)
    rows = EmbeddingStore(str(tmp_path), key).open()
    assert len(rows) == 22
    asked = [*range(21, -1, -1), 5, 5]
    read = rows.read(find(rows, asked))
    assert (read.dtype, read.shape) == (key.numpy_dtype, (24, *key.shape))
    assert read.tobytes() == np.stack([make_row(key, n) for n in asked]).tobytes()


@pytest.mark.parametrize("digest", [bytes(32), b"\1" + bytes(31), bytes(31) + b"\1", b"\xff" * 32])
def test_a_row_is_found_whatever_its_digest(store, digest):
    """Zeros at either end belong to the digest, and a common prefix does not make digests equal."""
    add(store, [2, 4])
    with store.append() as append:
        append([digest], make_row(FEATURES, 1)[np.newaxis])
    rows = store.open()
    [position] = rows.find([digest])
    np.testing.assert_array_equal(rows.read(np.array([position])), [make_row(FEATURES, 1)])
    others = [digest[:-1] + b"\2", b"\2" + digest[1:]]
    np.testing.assert_array_equal(rows.find(others), [-1, -1])


def test_images_that_are_not_there_have_no_position(store):
    """-1 for digests before the first, behind the last and between stored ones."""
    add(store, [1, 3, 5])
    rows = store.open()
    positions = rows.find([bytes(32), make_digest(3), b"\xff" * 32, *map(make_digest, range(6, 20))])
    assert (positions >= 0).tolist() == [False, True] + 15 * [False]
    assert (positions[positions < 0] == -1).all()
    assert rows.find([]).shape == (0,)
    assert rows.read(rows.find([])).shape == (0, *FEATURES.shape)


@pytest.mark.parametrize("made", [False, True], ids=["no folder", "no rows"])
def test_an_empty_store_has_no_rows(store, made):
    """All methods of Rows work without rows."""
    if made:
        with store.append():
            pass
    rows = store.open()
    assert len(rows) == 0
    np.testing.assert_array_equal(find(rows, [1, 2]), [-1, -1])
    np.testing.assert_array_equal(rows.check(find(rows, [1, 2])), [False, False])
    assert rows.read(rows.find([])).shape == (0, *FEATURES.shape)
    assert store.prune([]) == 0


def test_a_shard_is_seen_when_its_context_ends(store):
    """A later `open` finds the new rows; rows opened before stay the same."""
    with store.append() as append:
        append([make_digest(1)], make_row(FEATURES, 1)[np.newaxis])
        before = store.open()
        assert len(before) == 0
    assert len(before) == 0
    assert list_found(store, [1]) == [1]


def test_a_failed_append_adds_nothing(store):
    """The error is raised, the older rows stay, and no temporary file is left."""
    add(store, [1])
    files = sorted(os.listdir(store.folder))

    def fail():
        with store.append() as append:
            append([make_digest(2)], make_row(FEATURES, 2)[np.newaxis])
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert sorted(os.listdir(store.folder)) == files
    assert list_found(store, [1, 2]) == [1]


def append_many(root, first):
    """Appends 30 shards of 3 rows; rows of images below 100 are common to all writers."""
    store = EmbeddingStore(root, FEATURES)
    for shard in range(30):
        numbers = [shard, first + 2 * shard, first + 2 * shard + 1]
        with store.append() as append:
            for n in numbers:
                append([make_digest(n)], make_row(FEATURES, n)[np.newaxis])


def append_in_threads(root, firsts):
    threads = [threading.Thread(target=append_many, args=(root, first)) for first in firsts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def append_in_processes(root, firsts):
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['append_many'](sys.argv[2], int(sys.argv[3]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code, __file__, root, str(first)], env=environment) for first in firsts
    ]
    assert [process.wait() for process in processes] == [0, 0]


@pytest.mark.parametrize("append_at_once", [append_in_threads, append_in_processes])
def test_of_two_writers_at_once_nothing_is_lost(tmp_path, append_at_once):
    """All rows of both are found; a row that both have written is stored twice with equal values."""
    append_at_once(str(tmp_path), (100, 200))
    store = EmbeddingStore(str(tmp_path), FEATURES)
    assert len(store.open()) == 180
    numbers = [*range(30), *range(100, 160), *range(200, 260)]
    assert list_found(store, numbers) == numbers
    assert list_keys(str(tmp_path)) == [FEATURES]


def test_torn_and_foreign_shards_are_passed_over(store, tmp_path, log):
    """Each with a warning that names it; the others are read, and the files stay."""
    torn = [add(store, [n]) for n in (1, 2, 3)]
    torn[0].write_bytes(torn[0].read_bytes()[:-1])
    torn[1].write_bytes(torn[1].read_bytes()[:300])
    torn[2].write_bytes(b"")
    foreign = [torn[0].with_name("text.arrow"), torn[0].with_name("other.arrow")]
    foreign[0].write_text("This is not a shard.")
    other = EmbeddingStore(str(tmp_path), dataclasses.replace(FEATURES, weights="other"))
    add(other, [4]).rename(foreign[1])
    whole = add(store, [5, 6])
    assert list_found(store, range(8)) == [5, 6]
    for path in torn + foreign:
        assert f"{path}: not a shard of this store" in log.text
    assert whole.name not in log.text
    assert {*torn, *foreign, whole} == set(list_shards(store))


def test_a_damaged_row_fails_its_check(store, log):
    """The others pass; its shard is set aside with a warning, and a later `open` finds no row of that shard."""
    whole, damaged = add(store, [1, 2]), add(store, [3, 4, 5])
    flip(damaged, make_row(FEATURES, 4))
    rows = store.open()
    assert len(rows) == 5
    intact = rows.check(find(rows, [1, 9, 3, 4]))
    assert (intact.dtype, intact.tolist()[:2], intact[3]) == (bool, [True, False], False)
    assert f"{damaged}: damaged" in log.text
    assert list_shards(store) == [whole]
    assert list_found(store, range(9)) == [1, 2]


def test_reading_beside_the_runs_tells_damaged_rows_and_changes_nothing(store, log):
    """`check` would set the shard aside."""
    whole, damaged = add(store, [1, 2]), add(store, [3, 4, 5])
    flip(damaged, make_row(FEATURES, 4))
    rows = store.open()
    positions = find(rows, [5, 4, 1])
    read, intact = rows.read_intact(positions)
    assert intact.tolist() == [True, False, True]
    assert read[[0, 2]].tobytes() == np.stack([make_row(FEATURES, n) for n in (5, 1)]).tobytes()
    assert list_shards(store) == sorted([whole, damaged])
    whole.unlink()
    assert rows.read_intact(positions)[1].tolist() == [True, False, False]
    assert log.text == ""


def test_rows_that_pass_their_check_are_there_for_who_opens_next(store):
    """After the failed rows are computed, `open` finds all rows: no row of a shard set aside passes."""
    flip(add(store, [3, 4, 5]), make_row(FEATURES, 4))
    numbers = [3, 4, 5]
    intact = check(store, numbers)
    assert list_found(store, numbers) == [n for n, ok in zip(numbers, intact, strict=True) if ok]


def test_a_check_of_whole_rows_changes_nothing(store, log):
    """No file is touched, nothing is logged."""
    path = add(store, [1, 2, 3])
    rows = store.open()
    assert rows.check(find(rows, [3, 1])).tolist() == [True, True]
    assert rows.check(rows.find([])).tolist() == []
    assert list_shards(store) == [path]
    assert log.text == ""


def test_a_damaged_shard_that_another_run_has_set_aside_is_no_error(store):
    """Two runs may find the same damage."""
    path = add(store, [1])
    flip(path, make_row(FEATURES, 1))
    rows, others = store.open(), store.open()
    assert not others.check(find(others, [1])).any()
    assert not rows.check(find(rows, [1])).any()


def test_images_of_a_damaged_row_can_be_appended_again(store):
    """The newly computed row is found."""
    flip(add(store, [1, 2]), make_row(FEATURES, 1))
    check(store, [1, 2])
    add(store, [1, 2])
    assert list_found(store, [1, 2]) == [1, 2]


def test_a_copy_of_a_damaged_row_is_found_when_its_shard_is_set_aside(store):
    """Two runs have written it, and one shard is damaged."""
    for _ in range(2):
        add(store, [1])
    flip(list_shards(store)[0], make_row(FEATURES, 1))
    assert check(store, [1]) == [False]
    assert check(store, [1]) == [True]


@pytest.mark.parametrize("name", ["0.tmp", "0.arrow.damaged"])
@pytest.mark.parametrize(("age", "stays"), [(DAY - 60, True), (DAY + 60, False)], ids=["fresh", "after a day"])
def test_what_a_killed_run_left_is_removed_after_a_day(store, name, age, stays):
    """Another run may still be writing a younger file."""
    path = add(store, [1]).with_name(name)
    path.write_bytes(b"half a shard")
    set_age(path, age)
    assert list_found(store, [1]) == [1]
    assert path.exists() == stays


def test_a_store_that_is_opened_again_reads_the_new_shards_alone(store, monkeypatch):
    """Those that are gone are not found, nor those that were set aside."""
    first, other = add(store, range(4)), add(store, range(4, 6))
    before = store.open()
    assert store.open(before) is before
    monkeypatch.setattr(type(before.shards[str(first)]), "read", lambda *args, **kwargs: pytest.fail("read"))
    add(store, range(6, 9))
    other.unlink()
    after = store.open(before)
    assert (find(after, range(9)) >= 0).tolist() == [True] * 4 + [False] * 2 + [True] * 3
    assert after.shards[str(first)] is before.shards[str(first)]
    monkeypatch.undo()
    flip(first, make_row(store.key, 1))
    assert not after.check(find(after, [1])).any()
    assert find(store.open(after), [1]).tolist() == [-1]


def test_rows_are_told_apart_by_the_run_that_has_written_them(store):
    """By the first characters of the shard's name."""
    for prefix, numbers in (("run-1-a-", [1, 2]), ("run-1-b-", [3]), ("run-2-a-", [4])):
        with store.append(prefix) as append:
            append([make_digest(n) for n in numbers], np.stack([make_row(store.key, n) for n in numbers]))
    rows = store.open()
    positions = find(rows, range(6))
    assert rows.are_from("run-1", positions).tolist() == [False, True, True, True, False, False]
    assert rows.are_from("run-1-a", positions).tolist() == [False, True, True, False, False, False]
    assert not EmbeddingStore(store.folder, store.key).open().are_from("run-1", np.array([-1])).any()


def test_the_temporary_files_of_a_run_are_removed_and_no_others(store):
    """No shard, whatever its name; a store that has none yet is no error."""
    store.remove_temporaries("run-1")
    with store.append("run-1-a-") as append:
        append([make_digest(1)], make_row(store.key, 1)[np.newaxis])
    folder = pathlib.Path(store.folder)
    kept = {path.name for path in folder.iterdir()} | {"run-2-a-0.arrow.1.tmp"}
    for name in ("run-1-a-0.arrow.1.tmp", "run-1-b-0.arrow.1.tmp", "run-2-a-0.arrow.1.tmp"):
        (folder / name).touch()
    store.remove_temporaries("run-1")
    assert {path.name for path in folder.iterdir()} == kept


def test_pruning_merges_rows_that_two_runs_have_written(store):
    """A restarted job writes rows again: of 7 rows of 4 images in three shards, one row of each image stays."""
    for numbers in ([1, 2], [2, 3], [4, 1, 2]):
        add(store, numbers)
    assert (len(store.open()), store.open().count_images()) == (7, 4)
    assert store.prune([make_digest(n) for n in range(1, 5)]) == 3
    assert list_found(store, range(6)) == [1, 2, 3, 4]
    assert (len(store.open()), store.open().count_images()) == (4, 4)
    assert store.prune([make_digest(n) for n in range(1, 5)]) == 0


def test_old_shards_stay(store):
    """Intact shards are never removed because of their age."""
    set_age(add(store, [1]), 1000 * DAY)
    assert list_found(store, [1]) == [1]


def test_pruning_keeps_live_rows_and_drops_the_others(store):
    """Live rows keep their values; the result counts removed rows; live images without a row are ignored."""
    untouched = add(store, range(5))
    mixed, dead = add(store, range(5, 15)), add(store, range(15, 20))
    live = [*range(12), 40]
    assert store.prune([make_digest(n) for n in live]) == 8
    assert list_found(store, range(50)) == [*range(12)]
    assert len(store.open()) == 12
    assert untouched in list_shards(store)
    assert not mixed.exists()
    assert not dead.exists()
    assert store.prune([make_digest(n) for n in live]) == 0


def test_pruning_frees_the_disk(tmp_path):
    """Removed rows take no disk space, even if their shard had live rows."""
    store = EmbeddingStore(str(tmp_path), EMBEDDING)
    for first in (0, 20):
        add(store, range(first, first + 20), 20)
    store.prune([make_digest(1)])
    assert measure(store.folder) < 3 * EMBEDDING.row_bytes


def test_pruning_without_live_images_leaves_an_empty_store(store):
    """The empty store can be filled again."""
    add(store, range(3))
    assert store.prune([]) == 3
    assert list_shards(store) == []
    add(store, [7])
    assert list_found(store, [1, 7]) == [7]


def test_pruning_does_not_make_damaged_rows_whole(store):
    """A copy would get a fitting checksum, so damaged rows are removed and counted."""
    flip(add(store, range(4)), make_row(FEATURES, 2))
    assert store.prune([make_digest(n) for n in (1, 2)]) == 3
    assert list_found(store, range(4)) == [1]


def test_rows_that_were_pruned_meanwhile_fail_their_check(store):
    """After another process has pruned, the old place is not read, and `find` returns -1."""
    add(store, range(4))
    rows = store.open()
    store.prune([])
    assert not rows.check(find(rows, [2, 3])).any()
    assert (find(rows, [2, 3]) == -1).all()


def test_an_interrupted_pruning_loses_nothing(store, monkeypatch):
    """Live rows are copied before the old shard is removed; the next pruning merges the row that stands twice."""
    add(store, range(4))
    original = os.remove

    def interrupt(path):
        if str(path).endswith(".arrow"):
            raise KeyboardInterrupt
        original(path)

    monkeypatch.setattr(os, "remove", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.prune([make_digest(1)])
    monkeypatch.undo()
    assert list_found(store, range(4)) == [0, 1, 2, 3]
    assert store.prune([make_digest(1)]) == 4
    assert list_found(store, range(4)) == [1]


def test_two_prunings_at_once_are_no_error(store, monkeypatch):
    """The other run has already removed the shard."""
    add(store, range(4))
    original = os.remove

    def remove_twice(path):
        original(path)
        original(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "remove", remove_twice)
        store.prune([make_digest(1)])
    assert list_found(store, range(4)) == [1]


@pytest.mark.parametrize("length", [0, 2000], ids=["at once", "in the middle of a shard"])
def test_a_full_disk_leaves_what_was_there(tmp_path, length):
    """An OSError, no temporary file, and a store that is read and listed as before."""
    store = EmbeddingStore(str(tmp_path), EMBEDDING)
    path = add(store, [1])
    with limit(resource.RLIMIT_FSIZE, length), pytest.raises(OSError, match="large"):
        add(store, [2])
    assert sorted(os.listdir(store.folder)) == sorted([path.name, KEY_FILE])
    assert list_found(store, [1, 2]) == [1]
    assert list_keys(str(tmp_path)) == [EMBEDDING]


def test_a_store_may_have_more_shards_than_a_process_may_open_files(store):
    """Runs add shards, and 1024 open files are soon reached; an opened shard keeps no file open."""
    for number in range(30):
        add(store, [number])
    next_file = os.dup(0)
    os.close(next_file)
    with limit(resource.RLIMIT_NOFILE, next_file + 20):
        rows = store.open()
    assert len(rows) == 30


def test_the_feature_keys_below_a_folder_are_listed(tmp_path):
    """Files and folders without a valid `kind.json` of their own are skipped."""
    for key in (FEATURES, EMBEDDING):
        add(EmbeddingStore(str(tmp_path), key), [1])
    (tmp_path / "notes.txt").write_text("text")
    texts = {
        "a-copy": FEATURES.to_json(), "empty": "", "list": "[]", "number": "1", "null": "null", "bare": "{}",
        "half": FEATURES.to_json()[:9], "shape": '{"shape": 1}',
        "less": '{"layer": "a", "shape": [1]}', "more": FEATURES.to_json()[:-1] + ', "more": 1}',
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / KEY_FILE).write_text(text)
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / KEY_FILE).write_bytes(b"\xff\xfe")
    (tmp_path / "nothing").mkdir()
    assert list_keys(str(tmp_path)) == [FEATURES, EMBEDDING]
    assert list_keys(str(tmp_path / "missing")) == []


def test_rows_of_different_feature_keys_do_not_mix(tmp_path):
    """An image may have a row for one key and none for another."""
    stores = [EmbeddingStore(str(tmp_path), key) for key in (FEATURES, dataclasses.replace(FEATURES, graph="other"))]
    add(stores[0], [1, 2])
    assert list_found(stores[0], [1, 2]) == [1, 2]
    assert list_found(stores[1], [1, 2]) == []


def test_what_a_store_takes_is_measured(tmp_path):
    """In bytes, for one key or for all; 0 for a missing folder."""
    stores = [EmbeddingStore(str(tmp_path), key) for key in (FEATURES, EMBEDDING)]
    sizes = [add(s, [1, 2]).stat().st_size + len(s.key.to_json()) for s in stores]
    assert [measure(s.folder) for s in stores] == sizes
    assert measure(str(tmp_path)) == sum(sizes)
    assert measure(str(tmp_path / "missing")) == 0


def test_a_feature_key_is_removed_with_all_its_rows(tmp_path):
    """Other keys stay; removing a missing key is no error."""
    stores = [EmbeddingStore(str(tmp_path), key) for key in (FEATURES, EMBEDDING)]
    for s in stores:
        add(s, [1])
    for _ in range(2):
        remove(str(tmp_path), FEATURES)
    assert list_keys(str(tmp_path)) == [EMBEDDING]
    assert (list_found(stores[0], [1]), list_found(stores[1], [1])) == ([], [1])
