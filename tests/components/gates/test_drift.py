"""Drift of images from those of the live model: label mix, brightness and embeddings."""

import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from damaged_files import DAMAGES
from tfx.types import artifact_utils, standard_artifacts

from components.embedder.moments import Moments
from components.example_gen.component import make_example
from components.example_gen.duplicates import Record
from components.gates.drift import (
    describe_damaged_moments,
    describe_damaged_statistics,
    find_embedding_drift,
    find_statistics_drift,
)
from components.schema_gen import SchemaGen
from components.statistics_gen import StatisticsGenExecutor

EVEN = {"cat": 50, "dog": 50}
KIND = '{"layer": "embedding"}'


@pytest.fixture
def find_drift(write_statistics, serve, tmp_path):
    """Returns a function that compares images, label to number, with those of the live version."""

    def find(now, before=EVEN, brightness=(120, 120), seeds=(0, 1), max_label_drift=0.3, max_brightness_drift=0.3):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        current, kept = (
            write_statistics(folder / name, counts, level, seed)
            for name, counts, level, seed in zip(("now", "before"), (now, before), brightness, seeds, strict=True)
        )
        statistics = pathlib.Path(kept, "Split-train/FeatureStats.pb").read_bytes()
        live = serve(folder / "serving", {"FeatureStats.pb": statistics})
        return find_statistics_drift(current, live, max_label_drift, max_brightness_drift)

    return find


@pytest.mark.parametrize(
    "now", [EVEN, {"cat": 75, "dog": 25}, {"cat": 25, "dog": 75}, {"cat": 5000, "dog": 4000}], ids=str
)
def test_a_label_mix_that_is_near_enough_is_no_drift(find_drift, now):
    """Shares count, and not how many images there are."""
    assert find_drift(now) == []


def test_a_label_mix_that_drifted_is_told_with_both_shares(find_drift):
    """The message names the class that differs most, the version, the key to raise, and the other remedies."""
    [problem] = find_drift({"cat": 10, "dog": 50, "owl": 40}, {"cat": 50, "dog": 30, "owl": 20})
    assert problem == (
        "the label mix drifted: 10 % of the images are cat, and 50 % of those of version 7 were; max_label_drift "
        "allows 0.3. Look at the newest images; if they are right, raise max_label_drift, or force the run."
    )


def test_a_class_of_which_there_was_none_before_may_be_the_drift(find_drift):
    """Whatever the order of the others."""
    [problem] = find_drift(EVEN | {"owl": 100})
    assert "50 % of the images are owl, and 0 % of those of version 7 were" in problem


def test_a_class_of_which_there_is_none_now_may_be_the_drift(find_drift):
    """The class has no image now."""
    [problem] = find_drift(EVEN, EVEN | {"owl": 100})
    assert "0 % of the images are owl, and 50 % of those of version 7 were" in problem


@pytest.mark.parametrize(("allowed", "found"), [(0.19, 1), (0.21, 0)])
def test_how_far_the_label_mix_may_drift_can_be_set(find_drift, allowed, found):
    """70 % to 50 % are 0.2."""
    assert len(find_drift({"cat": 70, "dog": 30}, max_label_drift=allowed)) == found


def test_images_that_are_darker_are_told_with_both_brightnesses(find_drift):
    """The message has both mean pixel values, the divergence, the version and the key to raise."""
    [problem] = find_drift(EVEN, brightness=(60, 120))
    assert re.fullmatch(
        r"the brightness drifted: the mean pixel value is 6\d, and was 1[12]\d in the images of version 7 "
        r"\(Jensen-Shannon divergence (1\.00|0\.9\d); max_brightness_drift allows 0\.3\)\. Look at the newest images; "
        r"if they are right, raise max_brightness_drift, or force the run\.",
        problem,
    )


@pytest.mark.parametrize(("allowed", "found"), [(0.05, 1), (0.9, 0)])
def test_how_far_the_brightness_may_drift_can_be_set(find_drift, allowed, found):
    """A shift of one standard deviation lies between the two bounds."""
    assert len(find_drift(EVEN, brightness=(105, 120), max_brightness_drift=allowed)) == found


def test_both_may_drift(find_drift):
    """Each drift is a problem of its own."""
    label, brightness = find_drift({"cat": 95, "dog": 5}, brightness=(20, 120))
    assert "label mix" in label
    assert "brightness" in brightness


def test_nothing_is_further_than_1(find_drift):
    """A bound of 1 switches the comparison off."""
    everything = {"brightness": (0, 255), "max_label_drift": 1.0, "max_brightness_drift": 1.0}
    assert find_drift({"cat": 100}, {"dog": 100}, **everything) == []


def test_a_live_version_without_statistics_is_compared_with_nothing(write_statistics, serve, tmp_path):
    """An older Graft or another program has pushed that version."""
    live = serve(tmp_path / "serving", {})
    assert find_statistics_drift(write_statistics(tmp_path / "now", {"cat": 100}), live, 0.0, 0.0) == []


@pytest.mark.parametrize(("counts", "found"), [((49, 100), 0), ((100, 49), 0), ((50, 50), 2)])
def test_a_few_images_are_compared_with_nothing(find_drift, counts, found):
    """With fewer than 50 images, chance alone would stop a run."""
    now, before = counts
    assert len(find_drift({"cat": now}, {"dog": before}, brightness=(0, 200))) == found


def test_fifty_images_of_the_same_kind_are_no_drift_by_chance(find_drift):
    """Nor are fifty beside a thousand; the thresholds are the defaults."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        mixes = [
            {"cat": cats, "dog": count - cats} for count in (50, 50) for cats in [int(random.binomial(count, 0.5))]
        ]
        assert find_drift(*mixes, seeds=(2 * seed, 2 * seed + 1)) == []
        assert find_drift(mixes[0], {"cat": 500, "dog": 500}, seeds=(2 * seed, 2 * seed + 1)) == []


def test_statistics_are_compared_as_statisticsgen_writes_them(write_statistics, serve, tmp_path):
    """The test runs StatisticsGen on ExampleGen's examples, so that names of files and features are its."""
    artifacts = {
        "examples": standard_artifacts.Examples(),
        "whole_schema": standard_artifacts.Schema(),
        "schema": standard_artifacts.Schema(),
        "statistics": standard_artifacts.ExampleStatistics(),
    }
    for name, artifact in artifacts.items():
        artifact.uri = str(tmp_path / name)
        (tmp_path / name).mkdir()
    artifacts["examples"].split_names = artifact_utils.encode_split_names(["train", "val", "test"])
    for split, count in (("train", 60), ("val", 1), ("test", 1)):
        (tmp_path / f"examples/Split-{split}").mkdir()
        with tf.io.TFRecordWriter(str(tmp_path / f"examples/Split-{split}/data_tfrecord-00000-of-00001")) as writer:
            for level in range(count):
                record = Record("a.jpg", "cat", "", "", 5, "0", brightness=float(level))
                writer.write(make_example(record, b"image").SerializeToString())
    SchemaGen.EXECUTOR_SPEC.executor_class().Do(
        {},
        {"schema": [artifacts["whole_schema"]], "statistics_schema": [artifacts["schema"]]},
        {"classes": json.dumps(["cat", "dog"]), "code_digest": ""},
    )
    StatisticsGenExecutor().Do(
        {"examples": [artifacts["examples"]], "schema": [artifacts["schema"]]},
        {"statistics": [artifacts["statistics"]]},
        {},
    )
    written = (tmp_path / "statistics/Split-train/FeatureStats.pb").read_bytes()
    same = serve(tmp_path / "serving", {"FeatureStats.pb": written})
    assert find_statistics_drift(str(tmp_path / "statistics"), same, 0.0, 0.0) == []
    now = write_statistics(tmp_path / "now", EVEN)
    label, brightness = find_statistics_drift(now, same, 0.3, 0.3)
    assert "50 % of the images are cat, and 100 % of those of version 7 were" in label
    assert "and was 30 in the images of version 7" in brightness


@pytest.fixture
def find_embedded_drift(serve, tmp_path):
    """Returns a function that compares moments, or none, with those of the live version, at 0.5 deviations."""

    def find(now, before):
        for name, moments in (("now", now), ("before", before)):
            (tmp_path / name).mkdir()
            if moments:
                moments.write(str(tmp_path / name))
        kept = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
        return find_embedding_drift(str(tmp_path / "now"), serve(tmp_path / "serving", kept), 0.5)

    return find


def make_moments(mean=0.0, count=200, kind=KIND):
    """Of embeddings whose deviation is 2."""
    return Moments.of(np.random.default_rng(0).normal(mean, 2, (count, 2048)), kind)


def test_embeddings_that_drifted_are_told_with_their_distance(find_embedded_drift):
    """In standard deviations, with the version and the key to raise."""
    assert find_embedded_drift(make_moments(2.5), make_moments()) == [
        "the images drifted: the mean embedding is 1.25 standard deviations from that of version 7; "
        "max_embedding_drift allows 0.5. Look at the newest images; if they are right, raise max_embedding_drift, or "
        "force the run."
    ]


@pytest.mark.parametrize("mean", [0.0, 0.9])
def test_embeddings_that_are_near_enough_are_no_drift(find_embedded_drift, mean):
    """0.9 of 2 is less than a half."""
    assert find_embedded_drift(make_moments(mean), make_moments()) == []


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (make_moments(9), make_moments(kind='{"layer": "other"}')),
        (None, make_moments()),
        (make_moments(9), None),
        (make_moments(9, count=49), make_moments()),
        (make_moments(9), make_moments(count=49)),
        (make_moments(0, count=0), make_moments()),
    ],
    ids=["of another base", "augmented now", "augmented before", "few now", "few before", "none now"],
)
def test_embeddings_that_cannot_be_compared_are_no_drift(find_embedded_drift, now, before):
    """Embeddings of another base, missing ones and too few are not compared."""
    assert find_embedded_drift(now, before) == []


def test_fifty_embeddings_are_enough(find_embedded_drift):
    """Fifty images on each side are compared."""
    assert len(find_embedded_drift(make_moments(9, count=50), make_moments(count=50))) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_beside_the_live_model_are_compared_with_nothing(serve, tmp_path, damage):
    """A warning says so, and no run ends; a model of an older Graft has none of them."""
    live = serve(tmp_path / "serving", {})
    assert describe_damaged_statistics(live) + describe_damaged_moments(live) == []
    Moments.of(np.ones((60, 4)), KIND).write(str(tmp_path))
    for name in ("FeatureStats.pb", "moments.npz"):
        damage(f"{live.path}/assets.extra/{name}")
    assert find_statistics_drift(str(tmp_path / "not looked at"), live, 0.1, 0.1) == []
    assert find_embedding_drift(str(tmp_path), live, 0.1) == []
    assert re.match(r"FeatureStats\.pb of version 7 cannot be read \(", describe_damaged_statistics(live)[0])
    assert re.match(r"moments\.npz of version 7 cannot be read \(", describe_damaged_moments(live)[0])


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_torn_moments_are_damaged_ones(serve, tmp_path, part):
    """Any truncation is detected."""
    Moments.of(np.ones((60, 4)), KIND).write(str(tmp_path))
    content = (tmp_path / "moments.npz").read_bytes()
    live = serve(tmp_path / "serving", {"moments.npz": content[: int(len(content) * part)]})
    assert find_embedding_drift(str(tmp_path), live, 0.1) == []
    assert len(describe_damaged_moments(live)) == 1


def test_moments_of_another_length_are_compared_with_nothing(serve, tmp_path):
    """NumPy would broadcast some shapes and fail for others."""
    Moments.of(np.ones((60, 4)), KIND).write(str(tmp_path))
    (tmp_path / "other").mkdir()
    Moments.of(np.zeros((60, 1)), KIND).write(str(tmp_path / "other"))
    live = serve(tmp_path / "serving", {"moments.npz": (tmp_path / "other/moments.npz").read_bytes()})
    assert find_embedding_drift(str(tmp_path), live, 0.1) == []
