"""Paths with wildcard characters are refused, and no others."""

import apache_beam.io.filesystems as beam_files
import pytest
import tensorflow as tf

from schema.errors import UsageError
from serving.client.predict import load_signature
from serving.storage.wildcards import check_plain

WILD = ["o*", "o?", "o[1]", "o[!2]", "o[]x]", "o\\p"]
PLAIN = ["o[", "o]", "o[]", "o[!]", "]o[", "{a,b}", "a\nb", "a,b", "a@2", "a#b%20c", "a b", "~a$b", "a:b;c", "'\"", "é"]


def is_refused(path):
    try:
        check_plain(str(path), "out", "Rename it.")
    except UsageError:
        return True
    return False


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Returns a checkpoint of one variable, in a folder with a plain name."""
    return tf.train.Checkpoint(v=tf.Variable(3.0)).write(str(tmp_path_factory.mktemp("checkpoint") / "ck"))


def find_readers_that_fail(folder, checkpoint):
    """Returns the libraries, of three, that read files of other folders in place of this one."""
    for name in ("oX", "o1", "o", "op", "oa", "folder"):
        (folder.parent / name).mkdir(exist_ok=True)
        (folder.parent / name / "file").touch()
    folder.mkdir()
    (folder / "file").touch()
    expected = [str(folder / "file")]
    found = {"gfile": tf.io.gfile.glob(f"{folder}/f*")}
    [matched] = beam_files.FileSystems.match([f"{folder}/f*"])
    found["beam"] = [metadata.path for metadata in matched.metadata_list]
    wrong = {name for name, paths in found.items() if paths != expected}
    for end in (".index", ".data-00000-of-00001"):
        tf.io.gfile.copy(checkpoint + end, f"{folder}/ck{end}")
    try:
        tf.train.load_checkpoint(f"{folder}/ck").get_tensor("v/.ATTRIBUTES/VARIABLE_VALUE")
    except tf.errors.OpError:
        wrong.add("checkpoint")
    return wrong


@pytest.mark.parametrize("name", [*WILD, *PLAIN])
def test_what_is_refused_is_what_the_libraries_expand(name, checkpoint, tmp_path):
    """In a folder of its own beside others; each reader is asked."""
    folder = tmp_path / name
    assert is_refused(folder) == (name in WILD)
    assert bool(find_readers_that_fail(folder, checkpoint)) == (name in WILD)


def test_a_folder_above_counts_too():
    """The message has key and character, and what to do."""
    with pytest.raises(UsageError, match=r"^out: /a\[1\]/out: expected a path without \[1\], .* Rename it\.$"):
        check_plain("/a[1]/out", "out", "Rename it.")


def test_a_model_in_such_a_folder_is_refused_in_words(tmp_path):
    """TensorFlow would say that its checkpoint has no matching files."""
    (tmp_path / "m[1]").mkdir()
    (tmp_path / "m[1]/saved_model.pb").touch()
    with pytest.raises(UsageError, match=r"m\[1\]: expected a path without \[1\].*Rename or copy"):
        load_signature(str(tmp_path / "m[1]"))
