"""The logistic regression beside a model: its sample, its accuracies, and a difference beyond chance."""

import hashlib

import numpy as np
import pytest
from made_up_evaluation import EVALUATION
from sklearn.linear_model import LogisticRegression as Oracle
from sklearn.preprocessing import StandardScaler

from components.embedder.artifact import ImageRow, read_embeddings, write_embeddings
from components.evaluator import logistic_regression
from components.evaluator.logistic_regression import compare_paired, measure_baseline, read_sample
from components.records.embedding import EmbeddingSummary
from components.records.evaluation import LogisticRegression
from components.records.predictions import Predictions, no_baseline
from pipeline.report.advice import describe_better_baseline

CLASSES = ["cat", "dog", "owl"]
COUNTS = {"train": 30, "val": 12, "test": 12}


def write_split(folder, split, labels, seed, files=2):
    """Writes embeddings around a mean of their class into files; returns digests and labels."""
    random = np.random.default_rng(seed)
    means = np.random.default_rng(0).normal(0, 0.08, (len(CLASSES), 2048))
    embeddings = (means[labels] + random.normal(0, 1, (len(labels), 2048))).astype(np.float32)
    rows = [
        ImageRow(hashlib.sha256(f"{split}{i}".encode()).digest(), CLASSES[n].encode(), b"")
        for i, n in enumerate(labels)
    ]
    (folder / f"Split-{split}").mkdir(parents=True)
    for index in range(files):
        target = folder / f"Split-{split}/data_tfrecord-{index:05}-of-{files:05}"
        write_embeddings(str(target), rows[index::files], embeddings[index::files])
    return [row.digest for row in rows], labels


def predict(digests, answers):
    """Predictions of a model that answers with these classes."""
    candidate = np.eye(len(CLASSES), dtype=np.float32)[answers]
    names = [digest.hex() for digest in digests]
    columns = {"digest": names, "path": names, "label": names, "split": ["test"] * len(names)}
    return Predictions(
        classes=CLASSES,
        baseline_version=None,
        baseline_classes=None,
        candidate=candidate,
        baseline=no_baseline(len(names)),
        **columns,
    )


@pytest.fixture
def embedded(tmp_path):
    """Embeddings of three splits of three classes; returns digests and labels of `test`."""
    EmbeddingSummary(kind="{}", trunk=None, images=100, computed=100, note="").write(str(tmp_path))
    written = [write_split(tmp_path, split, np.arange(n) % 3, n + len(split)) for split, n in COUNTS.items()]
    return written[-1]


def test_the_accuracies_are_those_of_scikit_learn(embedded, tmp_path):
    """Scikit-learn alone, on features of mean 0 and variance 1, is the oracle; the model beside it is always right."""
    measured = measure_baseline(str(tmp_path), CLASSES, predict(*embedded))
    train, val, test = (read_embeddings(str(tmp_path), split, CLASSES) for split in COUNTS)
    scale = StandardScaler().fit(train.embeddings)
    oracle = Oracle(C=measured.strength, max_iter=50).fit(scale.transform(train.embeddings), train.labels)
    assert measured.test_accuracy == oracle.score(scale.transform(test.embeddings), test.labels)
    assert measured.val_accuracy == oracle.score(scale.transform(val.embeddings), val.labels)
    assert 0.3 < measured.test_accuracy < 1 == measured.model_accuracy
    assert (measured.train_images, measured.val_images, measured.test_images) == (30, 12, 12)
    assert not measured.beats_model
    assert measure_baseline(str(tmp_path), CLASSES, predict(*embedded)) == measured


def test_a_large_split_is_sampled_by_digest_whatever_the_files(embedded, tmp_path):
    """The images with the lowest digests, in their order, from any number of files; memory has the sample alone."""
    sample = read_sample(str(tmp_path), CLASSES, 10, "train")
    write_split(tmp_path / "other", "train", np.arange(30) % 3, 35, files=5)
    other = read_sample(str(tmp_path / "other"), CLASSES, 10, "train")
    assert sample.digests == other.digests == sorted(read_embeddings(str(tmp_path), "train", CLASSES).digests)[:10]
    np.testing.assert_array_equal(sample.embeddings, other.embeddings)
    np.testing.assert_array_equal(sample.labels, other.labels)


def test_a_sample_is_said(embedded, tmp_path, monkeypatch):
    """Also the model is measured on the sampled test images."""
    monkeypatch.setattr(logistic_regression, "_MOST_IMAGES", 9)
    monkeypatch.setattr(logistic_regression, "_FEWEST_IMAGES", 9)
    measured = measure_baseline(str(tmp_path), CLASSES, predict(*embedded))
    assert (measured.train_images, measured.val_images, measured.test_images) == (9, 9, 9)
    assert measured.model_accuracy == 1


def test_a_class_without_a_training_image_is_never_predicted(tmp_path):
    """The sample of a rare class may be empty; it counts as mistakes."""
    EmbeddingSummary(kind="{}", trunk=None, images=100, computed=100, note="").write(str(tmp_path))
    write_split(tmp_path, "train", np.arange(40) % 2, 1)
    write_split(tmp_path, "val", np.arange(9) % 3, 2)
    test = write_split(tmp_path, "test", np.full(6, 2), 3)
    assert measure_baseline(str(tmp_path), CLASSES, predict(*test)).test_accuracy == 0


def test_without_embeddings_or_with_one_class_there_is_none(embedded, tmp_path):
    """Augmented images have no embeddings."""
    EmbeddingSummary(kind=None, trunk=None, images=0, computed=0, note="").write(str(tmp_path))
    assert measure_baseline(str(tmp_path), CLASSES, predict(*embedded)) is None
    (tmp_path / "one").mkdir()
    EmbeddingSummary(kind="{}", trunk=None, images=0, computed=0, note="").write(str(tmp_path / "one"))
    for split in COUNTS:
        write_split(tmp_path / "one", split, np.zeros(4, int), 1)
    assert measure_baseline(str(tmp_path / "one"), CLASSES, predict(*embedded)) is None


def test_a_difference_is_judged_on_the_images_that_one_of_both_gets_right():
    """McNemar's exact test: of 9 such images 8 to 1 has p = 20 / 512; without any, p is 1."""
    one, other = np.array([True] * 8 + [False] + [True] * 50), np.array([False] * 8 + [True] + [True] * 50)
    assert compare_paired(one, other) == compare_paired(other, one) == pytest.approx(20 / 512)
    assert compare_paired(one, one) == 1


@pytest.mark.parametrize(
    ("accuracy", "p_value", "said"), [(0.95, 0.04, True), (0.95, 0.06, False), (0.85, 0.04, False), (None, 1, False)]
)
def test_a_note_is_given_only_where_the_baseline_is_better_beyond_chance(accuracy, p_value, said):
    """The note names both accuracies and what to try."""
    fitted = None
    if accuracy is not None:
        counts = {"train_images": 60, "val_images": 20, "val_accuracy": 0.9, "test_images": 40, "strength": 0.01}
        fitted = LogisticRegression(**counts, test_accuracy=accuracy, model_accuracy=0.9, p_value=p_value)
    note = describe_better_baseline(EVALUATION.model_copy(update={"logistic_regression": fitted}))
    assert bool(note) == said
    assert not said or ("0.950" in note and "0.900" in note and "--head-units auto" in note)
