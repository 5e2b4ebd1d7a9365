"""Compares heads and options of phase 2 on a transfer that is small enough to repeat with five seeds.

A ResNet50 at 32 px is trained on the digits 0 to 4 of scikit-learn. It is the base for the digits 5 to 9 and, with
`--data`, for photographs at 64 px. A seed sets the splits (half to train, 15 % to validate, 35 % to test), the head and
the order of the images. Each option is compared with the row "as it is" on the same seeds. Phase 2 trains the last
block of the base alone, a third of the weights that it trains by default.

Run: .venv/bin/python -m benchmarks.recipe [--data PHOTOS] [--seeds 5] [--base FILE] [--only heads|1e-05|0.0001]
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from components.embedder.artifact import Embedded
from components.network import resnet
from components.network.folded import fold_weights, make_steps, pool
from components.network.heads import ARTICLE, AUTO
from components.network.weights import RANDOM
from components.records.history import Score
from components.tfdata import shuffle
from components.trainer import training
from components.trainer.devices import choose_devices
from components.trainer.phase import FINE_TUNE, HEAD, train_phase
from components.trainer.scoring import score
from components.trainer.settings import Settings
from components.transform.pixels import Augmentation
from components.transform.preprocessing import from_uint8

DIGITS_SIZE, PHOTOS_SIZE = 32, 64
FINE_TUNE_FROM, SPLIT_LAYER = "conv5_block3", "conv5_block2_out"
PRETRAINING_EPOCHS, BATCH = 2, 32
TRAIN, VAL = 0.5, 0.15  # the rest is for the test
RATES = (1e-4, 1e-5)
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "warm-up 0.1, cosine": {"fine_tune_schedule": "cosine", "fine_tune_warmup": 0.1},
    "clip norm 1": {"fine_tune_clip_norm": 1.0},
    "weight decay 0.05": {"fine_tune_weight_decay": 0.05},
    "average 0.9": {"fine_tune_average": 0.9},
}
HEADS: dict[str, str | list[int]] = {
    "article": list(ARTICLE),
    "no hidden layer": [],
    "1024": [1024],
    "auto": AUTO,
}
SETTINGS = Settings(
    classes=[],
    image_size=0,
    weights=RANDOM,
    head_units=list(ARTICLE),
    dropout=0.0,
    head_epochs=5,
    head_learning_rate=1e-3,
    fine_tune_epochs=5,
    fine_tune_learning_rate=1e-5,
    fine_tune_from=FINE_TUNE_FROM,
    precision="float32",
    batch_size=BATCH,
    early_stopping_patience=3,
    label_smoothing=0.0,
    class_weights="none",
    augmentation=Augmentation(),
    seed=0,
    store="",
    model_name="graft",
    cache_key={},
)


@dataclasses.dataclass(frozen=True)
class Extracted:
    """Images of a data set behind the frozen part of the base.

    Attributes:
        name: name of the data set.
        classes: class names.
        image_size: side of the images in pixels.
        features: output of the split layer, bfloat16 [num_images, height, width, channels].
        embeddings: float32 [num_images, 2048].
        labels: class indices, int64 [num_images].
        weights: weights of the base.
    """

    name: str
    classes: list[str]
    image_size: int
    features: np.ndarray
    embeddings: np.ndarray
    labels: np.ndarray
    weights: list[np.ndarray]


def load_digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Returns the digits as uint8 [num_images, 32, 32, 3], and the digit that each shows."""
    digits = load_digits()
    levels = (digits.images * 15).astype(np.uint8)
    images = [Image.fromarray(level).resize((DIGITS_SIZE, DIGITS_SIZE), Image.Resampling.BILINEAR) for level in levels]
    return np.stack([np.asarray(image.convert("RGB")) for image in images]), digits.target.astype(np.int64)


def load_photographs(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns photographs as uint8 [num_images, 64, 64, 3], their class indices, and the class names."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    paths = [(path, index) for index, name in enumerate(classes) for path in sorted((folder / name).glob("*.jpg"))]
    size = (PHOTOS_SIZE, PHOTOS_SIZE)
    images = [Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR) for path, _ in paths]
    return np.stack([np.asarray(image) for image in images]), np.array([index for _, index in paths]), classes


def pretrain(images: np.ndarray, labels: np.ndarray, path: str, epochs: int = PRETRAINING_EPOCHS) -> float:
    """Trains a base and saves its weights; returns its accuracy on a tenth of the images, which it has not seen."""
    base = resnet.build_base(DIGITS_SIZE, RANDOM)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # some hundred steps; the default needs a thousand
    inputs = keras.Input(base.input_shape[1:])
    outputs = keras.layers.Dense(int(labels.max()) + 1, activation="softmax")(resnet.pool(base(inputs)))
    network = keras.Model(inputs, outputs)
    network.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    pixels = np.asarray(from_uint8(tf.constant(images)))
    order = np.random.default_rng(0).permutation(len(labels))
    held, rest = np.split(order, [len(order) // 10])
    keras.utils.set_random_seed(0)
    network.fit(pixels[rest], labels[rest], batch_size=BATCH, epochs=epochs, verbose=0)
    base.save_weights(path)
    return float(network.evaluate(pixels[held], labels[held], verbose=0)[1])


def extract(
    name: str, classes: list[str], images: np.ndarray, labels: np.ndarray, weights: str, precision: str = "float32"
) -> Extracted:
    """Runs the images of a data set through the base once."""
    base = resnet.build_base(images.shape[1], weights)
    steps, arrays = make_steps(base), list(fold_weights(base))
    folded = [tf.cast(array, precision) for array in arrays]
    extractor, tail = steps.split(SPLIT_LAYER)
    features, embeddings = [], []
    for start in range(0, len(images), BATCH):
        below = extractor.run(from_uint8(tf.constant(images[start : start + BATCH])), folded[: extractor.num_weights])
        features.append(tf.cast(below, tf.bfloat16).numpy())
        embeddings.append(pool(tail.run(below, folded[extractor.num_weights :])).numpy())
    kept = np.concatenate(features), np.concatenate(embeddings)
    return Extracted(name, classes, images.shape[1], *kept, labels, base.get_weights())


def split(count: int, seed: int) -> list[np.ndarray]:
    """Splits the positions of images into those to train, to validate and to test."""
    order = np.random.default_rng(seed).permutation(count)
    return np.split(order, [int(count * TRAIN), int(count * (TRAIN + VAL))])


class Transfer:
    """Trainings on one data set, which share the base in memory and, for each seed, phase 1."""

    def __init__(self, data: Extracted, precision: str = "float32"):
        """Builds the base, whose tail is trained in a precision."""
        self._data = data
        self._base = resnet.build_base(data.image_size, RANDOM)
        self._devices = choose_devices(precision)
        self._settings = SETTINGS.model_copy(update={"classes": data.classes, "image_size": data.image_size})

    def train_head(self, seed: int, units: str | list[int]) -> training.TrainedHead:
        """Trains phase 1."""
        rows = split(len(self._data.labels), seed)[:2]
        settings = self._settings.model_copy(update={"seed": seed, "head_units": units})
        with tempfile.TemporaryDirectory() as logs:
            return training.try_heads(*map(self._embedded, rows), settings, self._devices, logs)

    def test_head(self, head: keras.Model, seed: int) -> dict[str, Any]:
        """Measures a head on the test images."""
        rows = split(len(self._data.labels), seed)[2]
        result = score(head, training.batch_embeddings(self._embedded(rows), BATCH)).score
        return {"accuracy": result.accuracy, "loss": result.loss, "kept": HEAD}

    def fine_tune(self, trained: training.TrainedHead, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
        """Trains phase 2 from a head, keeps the better phase as Graft does, and tests it."""
        weights = trained.head.get_weights()
        self._base.set_weights(self._data.weights)
        resnet.freeze_below(self._base, FINE_TUNE_FROM)
        to_train, to_validate, to_test = split(len(self._data.labels), seed)
        network = resnet.assemble_tail(self._base, SPLIT_LAYER, trained.head, self._devices.precision)
        settings, labels = self._settings.model_copy(update=changes), self._data.labels[to_train]
        batches = self._batch(to_train, seed), self._batch(to_validate)
        with tempfile.TemporaryDirectory() as logs:
            epochs = train_phase(FINE_TUNE, network, *batches, labels, settings, self._devices, logs)
        [best] = [Score(loss=row.val_loss, accuracy=row.val_accuracy) for row in epochs if row.best]
        result = score(network, self._batch(to_test)).score
        trained.head.set_weights(weights)
        if training.is_worse(best, trained.scored.score):
            return self.test_head(trained.head, seed)
        return {"accuracy": result.accuracy, "loss": result.loss, "kept": FINE_TUNE}

    def _embedded(self, rows: np.ndarray) -> Embedded:
        return Embedded(self._data.embeddings[rows], self._data.labels[rows], [])

    def _batch(self, rows: np.ndarray, order: int | None = None) -> tf.data.Dataset:
        below = tf.data.Dataset.from_tensor_slices((self._data.features[rows], self._data.labels[rows]))
        return (below if order is None else shuffle(below, len(rows), order)).batch(BATCH)


def compare(data: Extracted, seeds: int, what: str | float) -> Iterator[dict[str, Any]]:
    """Compares the heads, or the options of phase 2 at a learning rate."""
    return compare_heads(data, seeds) if isinstance(what, str) else compare_options(data, seeds, what)


def compare_options(data: Extracted, seeds: int, rate: float) -> Iterator[dict[str, Any]]:
    """Trains phase 2 with each option; yields a row for each, compared with the first one."""
    transfer, first = Transfer(data), list[dict[str, Any]]()
    heads = [transfer.train_head(seed, SETTINGS.head_units) for seed in range(seeds)]
    for name, option in OPTIONS.items():
        changes = {**option, "fine_tune_learning_rate": rate}
        results = [transfer.fine_tune(head, seed, changes) for seed, head in enumerate(heads)]
        first = first or results
        yield describe_row(data.name, f"{rate:g}, {name}", results, first)


def compare_heads(data: Extracted, seeds: int) -> Iterator[dict[str, Any]]:
    """Trains phase 1 with each head; yields a row for each, compared with the default."""
    transfer, first = Transfer(data), list[dict[str, Any]]()
    for name, units in HEADS.items():
        heads = [transfer.train_head(seed, units) for seed in range(seeds)]
        results = [transfer.test_head(head.head, seed) for seed, head in enumerate(heads)]
        first = first or results
        yield describe_row(data.name, name, results, first)


def describe_row(data: str, name: str, results: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns mean and spread of each metric, and of its difference from the first row on the same seeds."""
    row: dict[str, Any] = {"data": data, "row": name}
    row["fine_tuned"] = sum(result["kept"] == FINE_TUNE for result in results)
    for metric in ("accuracy", "loss"):
        gains = [one[metric] - other[metric] for one, other in zip(results, first, strict=True)]
        row[metric] = describe([result[metric] for result in results])
        row[f"{metric}_gain"] = describe(gains)
    return row


def describe(values: Sequence[float]) -> tuple[float, float]:
    """Returns mean and standard deviation, rounded."""
    return round(statistics.fmean(values), 4), round(statistics.stdev(values), 4) if len(values) > 1 else 0.0


def show(row: dict[str, Any]) -> None:
    """Prints a result as a row of a Markdown table."""
    columns = [f"{row[name][0]:+.4f} ± {row[name][1]:.4f}" for name in ("accuracy_gain", "loss_gain")]
    values = [f"{row[name][0]:.4f} ± {row[name][1]:.4f}" for name in ("accuracy", "loss")]
    cells = [row["data"], row["row"], values[0], columns[0], values[1], columns[1], str(row["fine_tuned"])]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--base", type=pathlib.Path, help="a *.weights.h5; trained and written if it is missing")
    parser.add_argument("--only", help="heads, or a learning rate of phase 2")
    arguments = parser.parse_args()
    images, labels = load_digit_images()
    known = labels < 5
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.base or pathlib.Path(folder, "base.weights.h5")
        if not weights.exists():
            accuracy = pretrain(images[known], labels[known], str(weights))
            print(f"base: accuracy {accuracy:.3f} on the digits 0 to 4", flush=True)
        sets = [extract("digits", list("56789"), images[~known], labels[~known] - 5, str(weights))]
        if arguments.data:
            photographs, indices, classes = load_photographs(arguments.data)
            sets.append(extract("photographs", classes, photographs, indices, str(weights)))
    rows = []
    for what in ("heads", *RATES):
        for data in sets if arguments.only in (None, str(what)) else []:
            for row in compare(data, arguments.seeds, what):
                show(row)
                rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
