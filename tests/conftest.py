"""Tiny images and a tiny transform graph; everything is made here, with fixed seeds."""

import gc
import hashlib
import os
import signal
import sys

import pytest
from image_files import CLASSES, FILES, encode, write_images
from warm import start_warm_python

from serving.process.cores import count_cores

# As `./graft` sets them: serving.storage.gfile.set_defaults. Before any test module imports TensorFlow.
os.environ |= {"GCS_READ_CACHE_BLOCK_SIZE_MB": "8", "GCS_STAT_CACHE_MAX_AGE": "0"}
# Whoever called `/somewhere/graft test` reads that in each next step; the tests expect `./graft`.
os.environ.pop("GRAFT_COMMAND", None)
# absl, inside TFX, would parse the options of pytest once more.
sys.argv = sys.argv[:1]
# Whoever starts the tests in the background of a script has SIGINT ignored, in all that they start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Several processes of tests share the processors: so do the threads of TensorFlow and of what the tests start.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    threads = str(max(1, count_cores() // workers))
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, threads)

IMAGE_SIZE = 32
MAX_MEGAPIXELS = 1.0


def pytest_collection_modifyitems(items):
    """Puts the files that take longest first, so that no process ends long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """Leaves the libraries out of each search for garbage: it would visit their million objects, for half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def classes():
    """The class list of the transform graph."""
    return list(CLASSES)


@pytest.fixture(scope="session")
def image_size():
    """What the transform graph resizes to: the smallest that ResNet50 takes."""
    return IMAGE_SIZE


@pytest.fixture(scope="session")
def encode_image():
    """See `encode`."""
    return encode


@pytest.fixture(scope="session", params=list(FILES))
def kind_and_file(request):
    """Each kind of docs/images.md in turn, and a file of it: (name of the kind, bytes)."""
    return request.param, FILES[request.param]()


@pytest.fixture(scope="session")
def make_file():
    """Returns a function that makes a file of a kind of docs/images.md."""
    return lambda kind: FILES[kind]()


@pytest.fixture(scope="session")
def make_images():
    """See `write_images`."""
    return write_images


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory):
    """Programs to start Python with where its imports are not what is tested; see warm_python.py."""
    with start_warm_python(tmp_path_factory.mktemp("warm")) as programs:
        yield programs


@pytest.fixture(scope="module")
def small_base():
    """Puts `build_small_base` in the place of `resnet.build_base`, and returns it; asks no heat maps in a run."""
    from small_networks import build_small_base

    from components.network import resnet
    from components.serving_validator import trial
    from pipeline.report import explanations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "build_base", build_small_base)
        patch.setattr(trial, "EXPLAINED", 0)
        patch.setattr(explanations, "MOST", 0)
        yield build_small_base


@pytest.fixture(scope="session")
def serialize():
    """Returns a function that makes a serialized tf.Example of an encoded image and a label."""
    import tensorflow as tf

    def to_example(image, label, path="a.jpg"):
        digest = hashlib.sha256(image).hexdigest().encode()
        values = {"image": image, "label": label.encode(), "path": path.encode(), "digest": digest}
        feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
        feature["brightness"] = tf.train.Feature(float_list=tf.train.FloatList(value=[99.0]))
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    return to_example


@pytest.fixture(scope="session")
def transform_graph(make_transform_graph):
    """The folder of a real transform graph."""
    return make_transform_graph()


@pytest.fixture(scope="session")
def make_transform_graph(tmp_path_factory):
    """Returns a function that makes a transform graph: `preprocessing_fn` for two classes, traced as TFX does."""
    import functools

    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

    from components.schema_gen import read_schema
    from components.transform.preprocessing import preprocessing_fn

    def make(**changes):
        folder = tmp_path_factory.mktemp("transform")
        config = {"classes": CLASSES, "image_size": IMAGE_SIZE, "max_megapixels": MAX_MEGAPIXELS}
        config |= {"orientation": "exif", "resize": "stretch"} | changes
        row = {"image": [encode()], "label": [b"cat"], "path": [b"cat/0.jpg"], "digest": [b"0"], "brightness": [99.0]}
        with tft_beam.Context(temp_dir=str(folder / "tmp")):
            transform_fn = ([row], DatasetMetadata(read_schema(CLASSES))) | tft_beam.AnalyzeDataset(
                functools.partial(preprocessing_fn, custom_config=config)
            )
            _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
        return str(folder / "graph")

    return make
