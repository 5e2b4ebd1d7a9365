"""Compares the pipeline with a plain script that embeds every image once and trains a head on the embeddings.

`script` is the script, written as a good engineer writes it in Keras: tf.data with parallel decoding, one pass of the
frozen base over train, val and test, the head that Graft trains (standardized embeddings, the same layers, optimizer
and batches) with the best epoch on val, the accuracy on test, and a SavedModel that takes encoded images.
Without `script`, it runs in turn with `./graft run --fine-tune-epochs 0` in a fresh workspace, on the images of
Graft's splits and from the same weights. The wall clock of both processes counts, from the imports on.

Run: .venv/bin/python -m benchmarks.embed_once --data PHOTOS [--images 1000] [--repeat 2]
     .venv/bin/python -m benchmarks.embed_once --digits --image-size 32
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import sys
import tempfile

from benchmarks.against_keras_script import run_pipeline, save_random_weights, write_data, write_splits
from benchmarks.graft_run import measure
from schema import features

HEAD_UNITS = (1024, 1024, 1024, 512)
GRAFT, SCRIPT = "graft", "script"


def run_script(arguments: argparse.Namespace) -> None:
    """The script; prints the accuracy on test as JSON."""
    import keras
    import numpy as np
    import tensorflow as tf

    size = arguments.image_size
    keras.utils.set_random_seed(arguments.seed)
    classes = sorted(path.name for path in (arguments.folder / features.TRAIN).iterdir())
    base = keras.applications.ResNet50(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
    base.load_weights(arguments.weights)
    base.trainable = False

    def preprocess(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return keras.applications.resnet50.preprocess_input(tf.image.resize(image, [size, size]))

    def embed(split: str) -> tuple[np.ndarray, np.ndarray]:
        files = sorted((arguments.folder / split).glob("*/*"))
        images = tf.data.Dataset.from_tensor_slices([str(file) for file in files])
        images = images.map(lambda path: preprocess(tf.io.read_file(path)), tf.data.AUTOTUNE)
        labels = np.array([classes.index(file.parent.name) for file in files])
        return base.predict(images.batch(32).prefetch(tf.data.AUTOTUNE), verbose=0), labels

    train, val, test = (embed(split) for split in features.SPLITS)
    standardize = keras.layers.Normalization()
    standardize.adapt(train[0])
    head = keras.Sequential([keras.Input([train[0].shape[1]]), standardize])
    for units in HEAD_UNITS:
        head.add(keras.layers.Dense(units, activation="relu"))
    head.add(keras.layers.Dense(len(classes), activation="softmax"))
    head.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    best = keras.callbacks.EarlyStopping("val_loss", patience=arguments.epochs, restore_best_weights=True)
    head.fit(*train, arguments.batch_size, arguments.epochs, verbose=0, validation_data=val, callbacks=[best])
    accuracy = head.evaluate(*test, verbose=0, return_dict=True)["accuracy"]

    model = keras.Model(base.input, head(base(base.input, training=False)))
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda encoded: model(tf.map_fn(preprocess, encoded, fn_output_signature=tf.TensorSpec([size, size, 3]))),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    archive.write_out(str(arguments.folder / "saved_model"), verbose=False)
    print(json.dumps({"images": len(test[1]), "accuracy": accuracy}))


def compare(arguments: argparse.Namespace, folder: pathlib.Path) -> dict[str, list[float]]:
    """Runs both in turn, and prints the seconds and the accuracy of each run; returns the seconds."""
    weights = save_random_weights(folder / "base.weights.h5", arguments.image_size, arguments.seed)
    common = ["--image-size", str(arguments.image_size), "--batch-size", str(arguments.batch_size)]
    common += ["--seed", str(arguments.seed), "--weights", weights]
    options = [*common, "--head-epochs", str(arguments.epochs), "--fine-tune-epochs", "0", *arguments.graft_options]
    data, splits = folder / "data", folder / "splits"
    write_data(data, arguments)
    seconds: dict[str, list[float]] = {GRAFT: [], SCRIPT: []}
    for index in range(arguments.repeat):
        out = folder / f"out-{index}"
        graft = run_pipeline(data, out, options)
        if not index:
            write_splits(out, splits, features.SPLITS)
        command = [sys.executable, "-m", "benchmarks.embed_once", SCRIPT, str(splits), *common]
        script = measure(*command, "--epochs", str(arguments.epochs))
        accuracy = json.loads(script.printed.splitlines()[-1])["accuracy"]
        for name, took, right in ((GRAFT, graft["seconds"], graft["accuracy"]), (SCRIPT, script.seconds, accuracy)):
            seconds[name].append(took)
            print(f"{name:<8} {took:7.1f} s   accuracy {right:.3f}", flush=True)
        print("  " + ", ".join(f"{name} {s:.1f}" for name, s in graft["seconds_by_component"].items()), flush=True)
    return seconds


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=(SCRIPT,), help="to run the script alone")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="train, val and test with class folders, for it")
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--data", help="folder of class folders of JPEGs; without it, noise")
    images.add_argument("--digits", action="store_true", help="the 1797 images of digits inside scikit-learn")
    parser.add_argument("--images", type=int, default=1000, help="how many photographs; Graft splits them")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--weights", help="weights file, for the script")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--graft-options", type=shlex.split, default=[], metavar="'...'", help="further ones")
    parser.add_argument("--repeat", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Runs the script, or prints a table and a line of JSON."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = parse_arguments()
    if arguments.command == SCRIPT:
        run_script(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        seconds = compare(arguments, pathlib.Path(folder))
    median = {name: statistics.median(each) for name, each in seconds.items()}
    ratio = median[GRAFT] / median[SCRIPT]
    print(f"graft: {ratio:.2f} of the time of the script")
    print(json.dumps({"arguments": vars(arguments), "seconds": seconds, "ratio": ratio}, default=str))


if __name__ == "__main__":
    main()
