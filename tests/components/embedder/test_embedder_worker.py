"""Worker of the Embedder in another process, with the real ResNet50."""

import pathlib
import subprocess
import sys

import cloudpickle
import pytest
import tensorflow as tf

from components.embedder.artifact import read_rows
from components.embedder.backbone import FrozenBase
from components.embedder.worker import ExampleFile, Work

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_work_reaches_a_process_that_shares_nothing(write_examples, make_images, transform_graph, tmp_path, spec):
    """The pickle that Beam sends is small; a fresh process embeds with it and the real ResNet50."""
    images = [(path.read_bytes(), "cat") for path in make_images(tmp_path / "images", "cat", 5)]
    examples = write_examples(tmp_path / "examples", {"train": [images]})
    frozen = FrozenBase(spec, transform_graph)
    work = Work(spec, transform_graph, str(tmp_path / "store"), frozen.embedding_key, frozen.extractor_key, 5, "run")
    [source, *_] = sorted(map(str, (examples / "Split-train").iterdir()))
    target = tmp_path / "embedded"
    pickled = cloudpickle.dumps((work, ExampleFile(source, str(target), "train")))
    assert len(pickled) < 4000
    (tmp_path / "work").write_bytes(pickled)
    root = pathlib.Path(__file__).parents[3]
    code = f"""
import sys; sys.path.insert(0, {str(root)!r})
import pickle
from components.embedder.worker import Worker
work, file = pickle.load(open({str(tmp_path / "work")!r}, "rb"))
worker = Worker(work)
computed, moments = worker.finish(worker.begin(file))
print("COMPUTED", computed, "MOMENTS OF", moments.count)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=300, capture_output=True, text=True)
    assert "COMPUTED 5 MOMENTS OF 5" in done.stdout
    assert len(read_rows(str(target))) == 5
    [record, *_] = tf.data.TFRecordDataset(str(target))
    example = tf.train.Example.FromString(record.numpy())
    assert set(example.features.feature) == {"digest", "label", "path", "embedding"}
    assert len(example.features.feature["embedding"].float_list.value) == 2048
