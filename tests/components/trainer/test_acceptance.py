"""Score of the images that `accepted` goes by, fitted by the network that is exported."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from small_networks import build_small_base
from training_settings import SETTINGS

from components.network import resnet
from components.trainer.acceptance import fit_score, score_embeddings
from components.trainer.phase import HEAD
from components.trainer.training import Images, Inputs


def fit(labels):
    """Fits to 12 augmented images, which have no embeddings of the Embedder; returns the score and embeddings."""
    frozen = SimpleNamespace(network=build_small_base(32, "random"), split_layer=None)
    pixels = np.random.default_rng(0).normal(0, 60, (12, 32, 32, 3)).astype(np.float32)
    plain = tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(5)
    inputs = Inputs(Images(plain, plain.map(lambda images, label: (images + 100, label)), plain.take(1)), None, None)
    embeddings = resnet.build_embedder(frozen.network).predict_on_batch(pixels)
    return fit_score(frozen, inputs, SimpleNamespace(kept=HEAD), SETTINGS), embeddings


def test_an_augmented_training_embeds_its_images_as_they_are_served():
    """Without augmentation, and `val` as well."""
    found, embeddings = fit(np.arange(12) % 2)
    expected = score_embeddings(found.distance, embeddings)
    np.testing.assert_allclose(found.distance.mean, embeddings.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.val, expected[:5], rtol=1e-3, atol=1e-3 * np.ptp(expected))


def test_without_a_distance_the_largest_probability_stays_and_the_log_says_why(caplog):
    """Here one class has no image."""
    found, _ = fit(np.zeros(12, int))
    assert found is None
    assert "`accepted` goes by the largest probability: a class has no image in train." in caplog.text
