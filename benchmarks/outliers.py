"""Are probabilities calibrated, and how many images of no known class are accepted? Digits 0 to 7, asked with 8 and 9.

For each seed, a ResNet50 at 32 px is trained on half of the digits 0 to 7 of scikit-learn, so it has never seen an 8 or
a 9. Graft's head is trained on its embeddings; 15 % validate and 35 % test. Temperature and thresholds come from `val`
by the code that the Trainer runs. Each score gets its threshold at the same coverage.

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
    DIGITS_SIZE,
    SETTINGS,
    describe,
    load_digit_images,
    pretrain,
    split,
)
from components.embedder.artifact import Embedded
from components.evaluator.calibration import measure_calibration
from components.network import resnet
from components.network.heads import ARTICLE
from components.probabilities import scale_probabilities
from components.records.predictions import Predictions, no_baseline
from components.trainer import training
from components.trainer.calibration import find_threshold
from components.trainer.devices import choose_devices
from components.trainer.temperature import fit_temperature
from components.transform.preprocessing import from_uint8
from serving.export.calibration import Calibration

KNOWN = 8
CLASSES = [str(digit) for digit in range(KNOWN)]
HEADS = {"article": list(ARTICLE), "no hidden layer": []}
RIDGE = 0.1  # of the covariances, as a share of the mean variance
Rows = dict[str, np.ndarray]  # by "train", "val", "test" and "outliers"


def embed_digits(weights: str) -> np.ndarray:
    """Returns the embeddings of all digits by a base, float32 [num_images, 2048]."""
    images, _ = load_digit_images()
    base = resnet.build_base(DIGITS_SIZE, weights)
    starts = range(0, len(images), BATCH)
    batches = (from_uint8(tf.constant(images[start : start + BATCH])) for start in starts)
    return np.concatenate([np.asarray(resnet.pool(base(batch, training=False))) for batch in batches])


def measure_distances(rows: Rows, labels: np.ndarray) -> dict[str, Rows]:
    """Returns the negative distance of embeddings to the nearest class mean, in two forms.

    Args:
        rows: embeddings of each part.
        labels: class indices of the training images.
    Returns:
        Scores by their name: of the angle, and of the relative Mahalanobis distance of unit vectors (Ren et al., 2021).
    """
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
        "relative Mahalanobis distance": {part: compare(values) for part, values in unit.items()},
    }


def whiten(centred: np.ndarray) -> Any:
    """Returns the function that scales vectors by the inverse root of the covariance of other vectors."""
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    variances = np.square(lengths) / len(centred)
    scales = axes.T / np.sqrt(variances + RIDGE * variances.mean())
    return lambda values: values @ scales


def measure(embeddings: np.ndarray, seed: int, units: list[int], coverage: float) -> dict[str, Any]:
    """Trains a head, and returns its calibration on `test` and the share of accepted images by score."""
    _, digits = load_digit_images()
    known = np.flatnonzero(digits < KNOWN)
    parts = dict(zip(("train", "val", "test"), (known[part] for part in split(len(known), seed)), strict=True))
    parts["outliers"] = np.flatnonzero(digits >= KNOWN)
    rows = {part: embeddings[chosen] for part, chosen in parts.items()}
    given = {part: Embedded(rows[part], digits[chosen], []) for part, chosen in parts.items()}
    settings = SETTINGS.model_copy(update={"classes": CLASSES, "seed": seed, "head_units": units})
    with tempfile.TemporaryDirectory() as logs:
        head = training.try_heads(given["train"], given["val"], settings, choose_devices("float32"), logs).head
    logits = {part: resnet.build_logits(head).predict(values, verbose=0) for part, values in rows.items()}
    temperature = fit_temperature(logits["val"], digits[parts["val"]]).value
    plain = {part: np.asarray(tf.nn.softmax(values)) for part, values in logits.items()}
    scaled = {part: scale_probabilities(values, temperature) for part, values in plain.items()}
    scores = {
        "largest probability": {part: values.max(axis=1) for part, values in scaled.items()},
        "largest probability, temperature 1": {part: values.max(axis=1) for part, values in plain.items()},
        "energy": {part: np.logaddexp.reduce(values, axis=1) for part, values in logits.items()},
        **measure_distances(rows, digits[parts["train"]]),
    }
    figures = measure_calibration(
        make_predictions(scaled["test"], digits[parts["test"]]), Calibration(temperature=temperature)
    )
    accepted = {name: share_accepted(found, coverage) for name, found in scores.items()}
    right = logits["test"].argmax(axis=1) == digits[parts["test"]]
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


def main() -> None:
    """Prints both tables, and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the base")
    parser.add_argument("--coverage", type=float, default=0.95)
    parser.add_argument("--bases", type=pathlib.Path, help="folder of base<seed>.weights.h5; trained if missing")
    arguments = parser.parse_args()
    images, digits = load_digit_images()
    known = np.flatnonzero(digits < KNOWN)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in HEADS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            weights = (arguments.bases or pathlib.Path(folder)) / f"base{seed}.weights.h5"
            if not weights.exists():
                train = known[split(len(known), seed)[0]]
                pretrain(images[train], digits[train], str(weights), arguments.epochs)
            embeddings = embed_digits(str(weights))
            for name, units in HEADS.items():
                results[name].append(measure(embeddings, seed, units, arguments.coverage))
            keras.backend.clear_session()
    print("| head | seed | accuracy | temperature | log loss before | after | ECE before | after |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in results.items():
        show_calibration(name, found)
    print("\n| head | score | accepted of test | accepted of 8 and 9 |\n|---|---|---|---|")
    for name, found in results.items():
        show_accepted(name, found)
    print(json.dumps(results, default=lambda value: value.model_dump()))


if __name__ == "__main__":
    main()
