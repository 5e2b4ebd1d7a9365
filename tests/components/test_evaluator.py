"""The threshold that depends on the data."""

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.evaluator import count_labels, default_min_accuracy


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"cat": 10, "dog": 10}, 0.6),
        ({"cat": 30, "dog": 10, "bird": 20}, 0.6),
        (dict.fromkeys("abcdefghij", 7), 0.2),
        ({"cat": 80, "dog": 20}, 0.9),
    ],
)
def test_by_default_the_majority_must_be_beaten_by_a_tenth(counts, expected):
    """A model that has learnt nothing says the most frequent class every time, and is not blessed."""
    assert default_min_accuracy(counts) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [({"cat": 90, "dog": 10}, 0.95), ({"cat": 98, "dog": 2}, 0.99), ({"cat": 19, "dog": 1}, 0.975)],
)
def test_a_skewed_test_set_leaves_the_default_within_reach(counts, expected):
    """Above 80 % it is half the way from the majority's share to 1: more than 1 nobody reaches."""
    assert default_min_accuracy(counts) == pytest.approx(expected)


def test_labels_are_counted_in_the_test_split_alone(tmp_path, serialize):
    """Over all of its files."""
    contents = {"test": ["cat cat dog", "猫"], "train": ["cat dog"], "val": ["dog"]}
    for split, shards in contents.items():
        (tmp_path / f"Split-{split}").mkdir()
        for index, labels in enumerate(shards):
            with tf.io.TFRecordWriter(str(tmp_path / f"Split-{split}" / f"data_tfrecord-{index}")) as writer:
                for label in labels.split():
                    writer.write(serialize(b"image", label))
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path), '["train", "val", "test"]'
    assert count_labels(examples) == {"cat": 2, "dog": 1, "猫": 1}
