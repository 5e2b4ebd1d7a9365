"""Arithmetic of the frozen base on other devices, which a faked TensorFlow reports."""

import pytest
import tensorflow as tf

from components.embedder.arithmetic import choose_base_precision, count_batch, describe_here, read_precision


@pytest.fixture
def fake(monkeypatch):
    """Returns a function that fakes the cards of a machine, by their compute capability."""

    def fake_machine(*capabilities):
        details = {f"GPU:{i}": {"compute_capability": c, "device_name": "card"} for i, c in enumerate(capabilities)}
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind=None: list(details) if kind == "GPU" else []
        )
        monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)

    return fake_machine


@pytest.mark.parametrize(
    ("cards", "asked", "precision", "arithmetic"),
    [
        ((), "auto", "float32", "folded float32"),
        ((), "float32", "float32", "folded float32"),
        ((), "bfloat16", "bfloat16", "folded bfloat16"),
        (((9, 0),), "auto", "bfloat16", "folded bfloat16"),
        (((9, 0),), "float32", "float32", "folded TF32"),
        (((7, 5),), "auto", "float32", "folded float32"),
        (((7, 5),), "bfloat16", "bfloat16", "folded bfloat16"),
        (((9, 0), (7, 0)), "auto", "float32", "folded float32"),
    ],
)
def test_the_key_names_what_the_device_computes_in(fake, cards, asked, precision, arithmetic):
    """The keys of a processor are those of earlier versions; on a card TF32 and bfloat16 have others."""
    fake(*cards)
    assert choose_base_precision(asked) == precision
    assert describe_here(precision) == arithmetic
    assert read_precision(arithmetic) == precision


def test_without_tf32_a_card_computes_in_float32(fake):
    fake((9, 0))
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        assert describe_here("float32") == "folded float32"
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


def test_batches_are_large_on_a_card_alone(fake):
    fake()
    assert count_batch() == 32
    fake((7, 0))
    assert count_batch() == 256
