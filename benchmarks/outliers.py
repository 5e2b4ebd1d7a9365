"""Are probabilities calibrated, and how many images of no known class are accepted? Digits 0 to 7, asked with 8 and 9.

For each seed, a ResNet50 at 32 px is trained on half of the digits 0 to 7 of scikit-learn, so it has never seen an 8 or
a 9. Graft's head is trained on its embeddings; 15 % validate and 35 % test. Then the last block of the base is trained
with the head, at a learning rate of 1e-4. Temperature and thresholds come from `val` by the code that the Trainer runs,
also for the fine-tuned model where Graft would keep the head alone. Each score gets its threshold at the same coverage.

Run: .venv/bin/python -m benchmarks.outliers [--seeds 5] [--epochs 6] [--coverage 0.95] [--bases FOLDER]
"""

import argparse
import json
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.recipe import (
    BATCH,
    FINE_TUNE_FROM,
    SETTINGS,
    SPLIT_LAYER,
    Extracted,
    describe,
    extract,
    load_digit_images,
    pretrain,
    split,
)
from components.embedder.artifact import Embedded
from components.evaluator.calibration import measure_calibration
from components.network import resnet
from components.network.heads import ARTICLE
from components.network.weights import RANDOM
from components.probabilities import scale_probabilities
from components.records.predictions import Predictions, no_baseline
from components.tfdata import shuffle
from components.trainer import training
from components.trainer.acceptance import score_embeddings
from components.trainer.calibration import find_threshold
from components.trainer.class_distance import fit_distance
from components.trainer.devices import choose_devices
from components.trainer.phase import FINE_TUNE, train_phase
from components.trainer.temperature import fit_temperature
from serving.export.calibration import Calibration

KNOWN = 8
CLASSES = [str(digit) for digit in range(KNOWN)]
HEADS = {"article": list(ARTICLE), "no hidden layer": []}
RIDGE = 0.1  # of the covariances, as a share of the mean variance
Rows = dict[str, np.ndarray]  # by "train", "val", "test" and "outliers"


def measure_distances(rows: Rows, labels: np.ndarray) -> dict[str, Rows]:
    """Returns the negative distance of embeddings to the nearest class mean, in three forms.

    Args:
        rows: embeddings of each part.
        labels: class indices of the training images.
    Returns:
        Scores by their name: of the angle; of the relative Mahalanobis distance of unit vectors (Ren et al., 2021) in
        all dimensions; and of that which the Trainer fits.
    """
    fitted, _ = fit_distance(rows["train"], labels, KNOWN)
    unit = {part: values / np.linalg.norm(values, axis=1, keepdims=True) for part, values in rows.items()}
    train = unit["train"].astype(np.float64)
    means = np.stack([train[labels == index].mean(axis=0) for index in range(KNOWN)])
    angles = means / np.linalg.norm(means, axis=1, keepdims=True)
    within, around = whiten(train - means[labels]), whiten(train - train.mean(axis=0))

    def compare(values: np.ndarray) -> np.ndarray:
        nearest = np.min([np.square(within(values - mean)).sum(axis=1) for mean in means], axis=0)
        return np.square(around(values - train.mean(axis=0))).sum(axis=1) - nearest

    return {
        "angle to the class means": {part: (values @ angles.T).max(axis=1) for part, values in unit.items()},
        "relative Mahalanobis distance, 2,048 dimensions": {part: compare(values) for part, values in unit.items()},
        "the same on the axes of the classes": {part: score_embeddings(fitted, x) for part, x in rows.items()},
    }


def whiten(centred: np.ndarray) -> Any:
    """Returns the function that scales vectors by the inverse root of the covariance of other vectors."""
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    variances = np.square(lengths) / len(centred)
    scales = axes.T / np.sqrt(variances + RIDGE * variances.mean())
    return lambda values: values @ scales


class Experiment:
    """Trainings on the digits 0 to 7, on one base."""

    def __init__(self, data: Extracted, seed: int, coverage: float):
        """Splits the images."""
        self._data, self._seed, self._coverage = data, seed, coverage
        known = np.flatnonzero(data.labels < KNOWN)
        parts = zip(("train", "val", "test"), (known[part] for part in split(len(known), seed)), strict=True)
        self._parts = {**dict(parts), "outliers": np.flatnonzero(data.labels >= KNOWN)}
        self._labels = {part: data.labels[rows] for part, rows in self._parts.items()}
        self._devices = choose_devices("float32")

    def run(self, units: list[int]) -> dict[str, dict[str, Any]]:
        """Trains both phases with a head, and returns the figures by phase."""
        rows = {part: self._data.embeddings[chosen] for part, chosen in self._parts.items()}
        given = {part: Embedded(rows[part], self._labels[part], []) for part in rows}
        settings = SETTINGS.model_copy(
            update={"classes": CLASSES, "seed": self._seed, "head_units": units, "fine_tune_learning_rate": 1e-4}
        )
        with tempfile.TemporaryDirectory() as logs:
            head = training.try_heads(given["train"], given["val"], settings, self._devices, logs).head
            alone = self._measure(head, rows, {"split layer": self._pool()})
            base = resnet.build_base(self._data.image_size, RANDOM)
            base.set_weights(self._data.weights)
            resnet.freeze_below(base, FINE_TUNE_FROM)
            network = resnet.assemble_tail(base, SPLIT_LAYER, head)
            batches = self._batch("train", self._seed), self._batch("val")
            labels = self._labels["train"]
            train_phase(FINE_TUNE, network, *batches, labels, settings, self._devices, logs)
        tail = resnet.build_tail(base, SPLIT_LAYER)
        tuned = {part: training.embed(tail, self._batch(part))[0] for part in self._parts}
        return {"head alone": alone, "fine-tuned": self._measure(head, tuned, {"split layer": self._pool()})}

    def _pool(self) -> Rows:
        """Returns the pooled output of the split layer, which phase 2 does not change."""
        features = self._data.features.astype(np.float32).mean(axis=(1, 2))
        return {part: features[rows] for part, rows in self._parts.items()}

    def _batch(self, part: str, order: int | None = None) -> tf.data.Dataset:
        rows = self._parts[part]
        below = tf.data.Dataset.from_tensor_slices((self._data.features[rows], self._data.labels[rows]))
        return (below if order is None else shuffle(below, len(rows), order)).batch(BATCH)

    def _measure(self, head: keras.Model, rows: Rows, below: dict[str, Rows]) -> dict[str, Any]:
        """Returns the calibration on `test`, and the share of accepted images by score."""
        labels = self._labels
        logits = {part: resnet.build_logits(head).predict(values, verbose=0) for part, values in rows.items()}
        temperature = fit_temperature(logits["val"], labels["val"]).value
        plain = {part: np.asarray(tf.nn.softmax(values)) for part, values in logits.items()}
        scaled = {part: scale_probabilities(values, temperature) for part, values in plain.items()}
        scores = {
            "largest probability": {part: values.max(axis=1) for part, values in scaled.items()},
            "largest probability, temperature 1": {part: values.max(axis=1) for part, values in plain.items()},
            "energy": {part: np.logaddexp.reduce(values, axis=1) for part, values in logits.items()},
            **measure_distances(rows, labels["train"]),
        }
        for name, values in below.items():
            fitted, _ = fit_distance(values["train"], labels["train"], KNOWN)
            scores[f"the same, at the {name}"] = {part: score_embeddings(fitted, x) for part, x in values.items()}
        predictions = make_predictions(scaled["test"], labels["test"])
        figures = measure_calibration(predictions, Calibration(temperature=temperature))
        accepted = {name: share_accepted(found, self._coverage) for name, found in scores.items()}
        right = logits["test"].argmax(axis=1) == labels["test"]
        return {"accuracy": float(right.mean()), "calibration": figures, "accepted": accepted}


def share_accepted(scores: Rows, coverage: float) -> tuple[float, float]:
    """Returns the share of accepted test images, and of accepted outliers."""
    threshold, _ = find_threshold(scores["val"], coverage)
    return tuple(float((scores[part] >= threshold).mean()) for part in ("test", "outliers"))


def make_predictions(probabilities: np.ndarray, labels: np.ndarray) -> Predictions:
    """Builds predictions without paths."""
    texts = [""] * len(labels)
    names = [CLASSES[label] for label in labels]
    return Predictions(CLASSES, None, None, texts, texts, texts, names, probabilities, no_baseline(len(labels)))


def show_calibration(name: str, results: list[dict[str, Any]]) -> None:
    """Prints a row for each seed, and the means."""
    for seed, result in enumerate(results):
        found = result["calibration"]
        values = (found.log_loss_before, found.log_loss, found.ece_before, found.ece)
        cells = " | ".join(f"{figure.value:.4f}" for figure in values)
        print(f"| {name} | {seed} | {result['accuracy']:.3f} | {found.temperature:.2f} | {cells} |")


def show_accepted(name: str, results: list[dict[str, Any]]) -> None:
    """Prints a row for each score: mean and standard deviation over the seeds."""
    for score in results[0]["accepted"]:
        both = zip(*(result["accepted"][score] for result in results), strict=True)
        cells = " | ".join("{:.3f} ± {:.3f}".format(*describe(values)) for values in both)
        print(f"| {name} | {score} | {cells} |")


def find_base(folder: pathlib.Path, seed: int, epochs: int) -> str:
    """Returns the path of a base for a seed, which is trained if it is missing."""
    weights = folder / f"base{seed}.weights.h5"
    if not weights.exists():
        images, digits = load_digit_images()
        known = np.flatnonzero(digits < KNOWN)
        train = known[split(len(known), seed)[0]]
        pretrain(images[train], digits[train], str(weights), epochs)
    return str(weights)


def main() -> None:
    """Prints both tables, and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the base")
    parser.add_argument("--coverage", type=float, default=0.95)
    parser.add_argument("--bases", type=pathlib.Path, help="folder of base<seed>.weights.h5; trained if missing")
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            weights = find_base(arguments.bases or pathlib.Path(folder), seed, arguments.epochs)
            data = extract("digits", CLASSES, *load_digit_images(), weights)
            for name, units in HEADS.items():
                for phase, found in Experiment(data, seed, arguments.coverage).run(units).items():
                    results.setdefault(f"{name}, {phase}", []).append(found)
            keras.backend.clear_session()
    print("| model | seed | accuracy | temperature | log loss before | after | ECE before | after |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in results.items():
        show_calibration(name, found)
    print("\n| model | score | accepted of test | accepted of 8 and 9 |\n|---|---|---|---|")
    for name, found in results.items():
        show_accepted(name, found)
    print(json.dumps(results, default=lambda value: value.model_dump()))


if __name__ == "__main__":
    main()
