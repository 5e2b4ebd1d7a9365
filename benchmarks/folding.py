"""Measures what folded BatchNorm and bfloat16 gain: each pair in turns; the best of several counts.

`embed`: the base on batches in memory, as the Embedder runs it, beside the base of Keras' layers in one graph.
`train`: a step of phase 2 from conv5 on, beside Keras' layers in float32 and with the policy mixed_bfloat16.
`serve`: SavedModels as TensorFlow Serving runs them, in a Session with variables, asked with encoded images.
`accuracy`: both phases on digits in float32 and in bfloat16, with five seeds, on the base of `benchmarks.recipe`.

CPU milliseconds an image are of this process; beside other work they tell more than images a second.

Run: .venv/bin/python -m benchmarks.folding [--only embed train serve accuracy] [--turns 6] [--data PHOTOS]
    [--base FILE]
OpenVINO is an anchor of `embed` where it can be imported: pip install --target DIR openvino, and PYTHONPATH=DIR.
"""

import argparse
import importlib.util
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from benchmarks import recipe
from benchmarks.embedder import write_transform_graph
from benchmarks.photographs_folder import write_photographs
from components.network import resnet, served
from components.network.folded import fold_weights, make_steps, pool
from components.network.weights import RANDOM
from components.transform.preprocessing import from_uint8
from serving.export.network import Network
from serving.export.signatures import SERVING, export_saved_model
from serving.storage.saved_model import SAVED_MODEL

SIZE, BATCH, SPLIT_LAYER, FINE_TUNE_FROM = 224, 32, "conv4_block6_out", "conv5_block1"
KERAS, FOLDED, BFLOAT16 = "Keras' layers", "folded", "folded, bfloat16"
_Call = Callable[[], Any]


def build_base(policy: str = "float32") -> keras.Model:
    """Builds a base whose BatchNorm has statistics as of a trained network."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        base = resnet.build_base(SIZE, RANDOM)
    finally:
        keras.config.set_dtype_policy(before)
    random = np.random.default_rng(0)
    base.set_weights([w if w.ndim == 4 else random.uniform(0.5, 1.5, w.shape) for w in base.get_weights()])
    return base


def measure(calls: dict[str, _Call], turns: int, images: int) -> dict[str, dict[str, float]]:
    """Calls each function once to trace, then in turns; returns the best CPU time and rate, and the median time."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.monotonic()
            call()
            if turn:
                seconds[name].append((time.process_time() - cpu, time.monotonic() - wall))
    return {
        name: {
            "cpu_ms": 1e3 * min(cpu for cpu, _ in found) / images,
            "images_s": images / min(wall for _, wall in found),
            "p50_ms": 1e3 * statistics.median(wall for _, wall in found),
        }
        for name, found in seconds.items()
    }


def print_rows(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Prints rows, each with its ratios to the first."""
    first = next(iter(rows.values()))
    for name, row in rows.items():
        print(
            f"{title:16} {name:18} {row['cpu_ms']:8.2f} CPU ms an image ({first['cpu_ms'] / row['cpu_ms']:.2f}), "
            f"{row['images_s']:7.1f} images/s ({row['images_s'] / first['images_s']:.2f}), p50 {row['p50_ms']:.1f} ms",
            flush=True,
        )


def compile_pixels(forward: Callable[[tf.Tensor], tf.Tensor]) -> tf.types.experimental.GenericFunction:
    """Compiles a forward pass over uint8 pixels as the Embedder does."""
    signature = [tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8)]
    return tf.function(lambda images: forward(from_uint8(images)), input_signature=signature, autograph=False)


def compare_embedding(turns: int) -> dict[str, Any]:
    """Measures the base of the Embedder, and how far the embeddings lie apart."""
    base = build_base()
    steps, weights = make_steps(base), list(fold_weights(base))
    images = tf.constant(np.random.default_rng(1).integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8))

    def run(precision: str) -> Callable[[tf.Tensor], tf.Tensor]:
        cast = [tf.cast(weight, precision) for weight in weights]
        return lambda pixels: pool(steps.run(pixels, cast))

    functions = {
        KERAS: compile_pixels(lambda pixels: pool(base(pixels, training=False))),
        FOLDED: compile_pixels(run("float32")),
        BFLOAT16: compile_pixels(run("bfloat16")),
    }
    calls: dict[str, _Call] = {name: lambda f=function: f(images).numpy() for name, function in functions.items()}
    if importlib.util.find_spec("openvino"):
        calls |= dict(make_openvino(base, images))
    rows = measure(calls, turns, BATCH)
    print_rows("embed", rows)
    expected = calls[KERAS]()
    for name in (FOLDED, BFLOAT16):
        apart = calls[name]() - expected
        rows[name]["difference"] = float(np.abs(apart).max() / np.abs(expected).max())
        rows[name]["rms"] = float(np.sqrt((apart**2).mean() / (expected**2).mean()))
        print(f"embed {name}: largest difference {rows[name]['difference']:.1e} of the largest embedding")
    return rows


def make_openvino(base: keras.Model, images: tf.Tensor) -> Iterator[tuple[str, _Call]]:
    """Yields OpenVINO's run of the same base on the same images, in float32 and in bfloat16."""
    import openvino as ov

    signature = [tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)]
    function = tf.function(lambda pixels: pool(base(pixels, training=False)), input_signature=signature)
    module = tf.Module()
    module.function, module.weights = function, [weight.value for weight in base.weights]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=function)
        model = ov.convert_model(folder)
        model.reshape([BATCH, SIZE, SIZE, 3])
    pixels = from_uint8(images).numpy()
    for precision, kind in (("f32", ov.Type.f32), ("bf16", ov.Type.bf16)):
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": 2}
        compiled = ov.Core().compile_model(model, "CPU", options)
        yield f"OpenVINO, {precision}", lambda run=compiled: run(pixels)[0]


def compare_training(turns: int) -> dict[str, Any]:
    """Measures a step of phase 2 on features of the split layer."""
    random = np.random.default_rng(1)
    shape = build_base().get_layer(SPLIT_LAYER).output.shape[1:]
    features = tf.cast(random.normal(0, 1, (BATCH, *shape)).clip(0), tf.bfloat16)
    labels = tf.constant(np.arange(BATCH) % 2)
    calls = {}
    for name, policy, precision in (
        (KERAS, "float32", ""),
        ("mixed_bfloat16", "mixed_bfloat16", ""),
        (FOLDED, "float32", "float32"),
        (BFLOAT16, "float32", "bfloat16"),
    ):
        base = build_base(policy)
        resnet.freeze_below(base, FINE_TUNE_FROM)
        head = resnet.build_head(random.normal(0, 1, (8, 2048)).astype(np.float32), [], 2)
        if precision:
            network = resnet.assemble_tail(base, SPLIT_LAYER, head, precision)
        else:
            network = assemble_keras_tail(base, head)
        resnet.compile_for_training(network, keras.optimizers.Adam(1e-5))
        calls[name] = lambda n=network: n.train_on_batch(features, labels)
    rows = measure(calls, turns, BATCH)
    print_rows("train", rows)
    return rows


def assemble_keras_tail(base: keras.Model, head: keras.Model) -> keras.Model:
    """Puts a head on the tail of Keras' own layers."""
    below = base.get_layer(SPLIT_LAYER).output
    tail = keras.Model(below, base.outputs[0])
    features = keras.Input(below.shape[1:], dtype=tail.inputs[0].dtype)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(tail(features, training=False))
    return keras.Model(features, head(pooled))


def compare_serving(turns: int, data: str | None) -> dict[str, Any]:
    """Measures SavedModels in a Session, with 1, 8 and 32 encoded images a request."""
    base, results = build_base(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_photographs(folder / "photographs", 2 * BATCH, data)
        write_transform_graph(folder / "photographs", folder)
        images = [path.read_bytes() for path in sorted((folder / "photographs").glob("*/*"))]
        transform = tft.TFTransformOutput(str(folder / "graph"))
        networks = make_networks(base, images, transform)
        ask = {}
        for index, (kind, network) in enumerate(networks.items()):
            path = folder / f"model-{index}"
            export_saved_model(network, transform, ["a", "b"], str(path))
            variables = sum(file.stat().st_size for file in (path / "variables").iterdir())
            print(
                f"{kind}: graph {(path / SAVED_MODEL).stat().st_size / 1e6:.2f} MB, variables {variables / 1e6:.1f} MB"
            )
            ask[kind] = open_session(str(path))
        for batch in (1, 8, BATCH):
            calls: dict[str, _Call] = {kind: lambda a=a, n=batch: a(images[:n]) for kind, a in ask.items()}
            results[f"serve, batch {batch}"] = rows = measure(calls, turns * max(1, 8 // batch), batch)
            print_rows(f"serve, batch {batch}", rows)
        expected = ask[KERAS](images[:BATCH])
        alone = np.concatenate([ask[KERAS]([image]) for image in images[:BATCH]])
        print(f"serve {KERAS}, one by one: probabilities differ by up to {np.abs(alone - expected).max():.1e}")
        for kind in (FOLDED, BFLOAT16):
            print(
                f"serve {kind}: probabilities differ by up to {np.abs(ask[kind](images[:BATCH]) - expected).max():.1e}"
            )
    return results


def make_networks(base: keras.Model, images: list[bytes], transform: tft.TFTransformOutput) -> dict[str, Network]:
    """Returns the networks to compare, with a head that standardizes the embeddings of the images."""
    columns = {"image": tf.constant(images)[:, tf.newaxis], "label": tf.fill([len(images), 1], "")}
    pixels = transform.transform_features_layer()(columns)["pixels"]
    embeddings = pool(base(pixels, training=False)).numpy()
    head = resnet.build_logits(resnet.build_head(embeddings, [1024], 2))
    return {
        KERAS: make_unfolded(base, head),
        FOLDED: served.make_network(base, head),
        BFLOAT16: served.make_network(base, head, "bfloat16"),
    }


def make_unfolded(base: keras.Model, head: keras.Model) -> Network:
    """Returns the network as it was exported before: Keras' layers, each with its variables."""
    network = served.make_network(base, head)
    return Network(
        input_shape=network.input_shape,
        base=lambda pixels: base(pixels, training=False),
        pool=network.pool,
        head=network.head,
        base_weights=[weight.value for weight in base.weights],
        head_weights=network.head_weights,
    )


def open_session(path: str) -> Callable[[list[bytes]], np.ndarray]:
    """Loads a SavedModel as TensorFlow Serving does; returns a function from images to probabilities."""
    v1 = tf.compat.v1
    session = v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signature = v1.saved_model.load(session, ["serve"], path).signature_def[SERVING]
    [given], asked = signature.inputs.values(), signature.outputs["probabilities"].name
    run = session.make_callable([asked], feed_list=[given.name])
    return lambda images: run(np.array(images, object))[0]


def compare_accuracy(weights: str, seeds: int) -> dict[str, Any]:
    """Trains both phases on the digits of `benchmarks.recipe` in float32 and in bfloat16."""
    images, labels = recipe.load_digit_images()
    known = labels < 5
    if not pathlib.Path(weights).exists():
        recipe.pretrain(images[known], labels[known], weights)
    results: dict[str, Any] = {}
    for precision in ("float32", "bfloat16"):
        extracted = recipe.extract("digits", list("56789"), images[~known], labels[~known] - 5, weights, precision)
        transfer = recipe.Transfer(extracted, precision)
        heads, changes = [transfer.train_head(seed, []) for seed in range(seeds)], {"fine_tune_learning_rate": 1e-4}
        for phase, found in (
            ("head", [transfer.test_head(head.head, seed) for seed, head in enumerate(heads)]),
            (
                "fine-tuned",
                [transfer.fine_tune(head, seed, changes) for seed, head in enumerate(heads)],
            ),
        ):
            accuracies = [row["accuracy"] for row in found]
            results[f"{precision}, {phase}"] = accuracies
            mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
            each = ", ".join(f"{accuracy:.3f}" for accuracy in accuracies)
            print(f"accuracy {precision:9} {phase:10} {mean:.3f} ± {deviation:.3f} ({each})", flush=True)
    return results


def main() -> None:
    """Prints tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("embed", "train", "serve", "accuracy")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    parser.add_argument(
        "--base", help="a *.weights.h5 for `accuracy`, as of benchmarks.recipe; trained and written if it is missing"
    )
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if "accuracy" in arguments.only and not arguments.base:
        parser.error("accuracy needs --base FILE")
    comparisons = {
        "embed": lambda: compare_embedding(arguments.turns),
        "train": lambda: compare_training(arguments.turns),
        "serve": lambda: compare_serving(arguments.turns, arguments.data),
        "accuracy": lambda: compare_accuracy(arguments.base, arguments.seeds),
    }
    results = {name: comparisons[name]() for name in names if name in arguments.only}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
