"""The code in docs/convert.md, run as it stands there: each way gives the probabilities of `serving_default`."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from image_files import FILES, STORED, draw, encode, insert_chunks, save
from PIL import Image
from small_networks import build_small_base

from components.network import resnet, served
from components.trainer.class_distance import fit_distance
from serving.export.calibration import Calibration
from serving.export.signatures import export_saved_model

PAGE = pathlib.Path(__file__).parents[2] / "docs/convert.md"
ASK = """
import json, pathlib, sys
import numpy as np, tensorflow as tf
predict = tf.lite.Interpreter("images.tflite").get_signature_runner("serving_default")
for name in sys.argv[1:]:
    encoded = np.array([pathlib.Path(name).read_bytes()], object)
    print(json.dumps(predict(image_bytes=encoded)["probabilities"].tolist()), flush=True)
"""


@pytest.fixture(scope="module")
def sections():
    """Returns the code blocks of the page by section, each as language and text."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = (re.findall(r"^```(\w+)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL) for part in parts[2::2])
    return dict(zip(parts[1::2], blocks, strict=True))


@pytest.fixture(scope="module")
def here(transform_graph, classes, tmp_path_factory):
    """Returns a folder with a pushed version, which has a threshold of the distance, and an image, as on the page."""
    base = build_small_base(32, "random")
    images = np.random.default_rng(0).normal(0, 60, (8, 32, 32, 3)).astype(np.float32)
    embeddings = resnet.pool(base(images, training=False)).numpy()
    network = served.make_network(base, resnet.build_logits(resnet.build_head(embeddings, [4, 4], 2)))
    distance, _ = fit_distance(embeddings, np.arange(8) % 2, 2)
    calibration = Calibration(temperature=2.0, coverage=0.95, score="distance", threshold=-50.0)
    folder = tmp_path_factory.mktemp("here")
    path = str(folder / "graft-out/serving/graft/1795612102")
    transform = tft.TFTransformOutput(transform_graph)
    export_saved_model(network, transform, classes, path, calibration=calibration, distance=distance)
    (folder / "photo.jpg").write_bytes(encode(seed=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def first(here, sections):
    """Returns the names that the first section defines; `probabilities` are those of `serving_default`."""
    [(_, images), (_, pixels)] = sections["Plain TensorFlow"]
    names = run(images)
    expected = names["probabilities"]
    assert run(pixels, names)["probabilities"] == pytest.approx(expected, abs=1e-5)
    return names | {"probabilities": expected}


def run(code, names=None):
    """Runs a block with the names of earlier blocks; returns all names."""
    names = {} if names is None else names
    exec(code, names)
    return names


def test_plain_tensorflow_and_keras_give_the_same(first, sections):
    """The signature of pixels as a function, and as a layer."""
    [(_, code)] = sections["Keras"]
    assert run(code, dict(first))["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)


def test_tensorflow_lite_takes_pixels_with_builtin_ops_alone(first, sections):
    """The converter would refuse any other, for they are not allowed."""
    [(_, convert), (_, ask)] = sections["TensorFlow Lite: pixels"]
    names = run(ask, run(convert, dict(first)))
    assert names["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)
    assert b"Flex" not in pathlib.Path("pixels.tflite").read_bytes()


@pytest.fixture(scope="module")
def converted(first, sections):
    """Converts images.tflite, as the page does; returns the names."""
    [(_, convert), _] = sections["TensorFlow Lite: images"]
    return run(convert, dict(first))


def test_tensorflow_lite_takes_images_with_the_ops_of_tensorflow(converted, first, sections):
    """Each op of the preprocessing graph is one that the Flex delegate has."""
    [_, (_, ask)] = sections["TensorFlow Lite: images"]
    names = dict(converted)
    try:
        run(ask, names)
    except RuntimeError as error:
        if "Select TensorFlow op(s)" not in str(error):
            raise
        pytest.skip(f"converted; TensorFlow {tf.__version__} has no Flex delegate to run it")
    assert names["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)
    assert names["answer"]["label"][0] == first["answer"]["label"][0].numpy()


@pytest.mark.slow
@pytest.mark.usefixtures("converted")
@pytest.mark.long
def test_tensorflow_lite_turns_and_searches_images_as_the_version_does(first, here):
    """In a process of its own: some builtin ops end the process on values of these files."""
    files = {
        f"{kind}_{turned}": save(Image.fromarray(draw(3)), kind, turned)
        for kind in ("PNG", "JPEG")
        for turned in STORED
    }
    files["seems_to_have_texts"] = insert_chunks(encode("png"), (b"abCd", bytes(100_000) + b"TX" * 17))
    files["seems_to_have_scans"] = FILES["JPEG before a film"]()
    for name, content in files.items():
        (here / name).write_bytes(content)
    done = subprocess.run([sys.executable, "-c", ASK, *files], cwd=here, capture_output=True, text=True, timeout=120)
    if "Select TensorFlow op(s)" in done.stderr:
        pytest.skip(f"converted; TensorFlow {tf.__version__} has no Flex delegate to run it")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(files), (
        f"exit code {done.returncode} on {list(files)[len(answers)]}: {done.stderr[-2000:]}"
    )
    serve = first["model"].signatures["serving_default"]
    for (name, content), answer in zip(files.items(), answers, strict=True):
        expected = serve(image_bytes=tf.constant([content]))["probabilities"].numpy()
        assert np.array(answer) == pytest.approx(expected, abs=1e-5), name


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tf2onnx", "onnxruntime"))),
    reason="needs tf2onnx and onnxruntime",
)
def test_onnx_takes_pixels(first, sections):
    """Shell commands of the page run in a separate process."""
    [(_, shell), (_, ask)] = sections["ONNX"]
    install, convert = shell.splitlines()
    assert install.startswith("pip install ")
    subprocess.run([sys.executable, *convert.split()[1:]], check=True, capture_output=True)
    assert run(ask, dict(first))["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)
