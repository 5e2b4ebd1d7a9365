"""Choice of precision and strategy for a training, on faked machines; the choices by card are in test_devices above."""

import pytest
import tensorflow as tf

from components.devices import Device
from components.trainer import devices
from components.trainer.devices import choose_devices

H200 = Device("NVIDIA H200", (9, 0), 1)


@pytest.fixture
def fake(monkeypatch):
    """Returns a function that fakes the device of this machine."""
    return lambda device: monkeypatch.setattr(devices, "find_device", lambda: device)


def test_a_cpu_computes_in_float32(fake):
    """All CPUs train the same model from the same images; bfloat16 must be set explicitly."""
    fake(Device())
    assert choose_devices("auto").precision == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("device", [Device(), H200, Device("old", (6, 1), 1)], ids=lambda device: device.text)
def test_a_precision_that_is_named_is_taken(fake, precision, device):
    """On any machine; TensorFlow has that type."""
    fake(device)
    assert choose_devices(precision).precision == precision
    assert tf.as_dtype(precision).is_floating


def test_xla_compiles_long_trainings_on_a_card_that_was_measured(fake, caplog):
    """The log names the decision, and the numbers that it follows from."""
    caplog.set_level("INFO", logger=devices.logging.get_absl_logger().name)
    fake(H200)
    assert choose_devices("auto").decide_xla(63_000, 5) is True
    assert "Training with XLA: 63000 images, 5 epochs." in caplog.text
    assert choose_devices("auto").decide_xla(980, 5) is False
    assert "Training without XLA: 980 images, 5 epochs." in caplog.text
    fake(Device())
    assert choose_devices("bfloat16").decide_xla(10**6, 5) is False


@pytest.mark.parametrize("device", [Device(), H200], ids=lambda device: device.text)
def test_on_one_device_nothing_is_mirrored(fake, device):
    """The strategy is TensorFlow's default."""
    fake(device)
    assert choose_devices("auto").strategy is tf.distribute.get_strategy()


def test_several_gpus_share_each_batch(fake):
    """Each has a copy of the network; train_on_two_devices.py trains so."""
    fake(Device("NVIDIA H200", (9, 0), 2))
    assert isinstance(choose_devices("auto").strategy, tf.distribute.MirroredStrategy)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (Device(), "CPU, float32, "),
        (H200, "NVIDIA H200, bfloat16, "),
        (Device("NVIDIA H200", (9, 0), 2), "2 x NVIDIA H200, bfloat16, "),
    ],
)
def test_the_log_says_what_was_chosen(fake, caplog, device, said):
    """The log explains a slow run."""
    caplog.set_level("INFO", logger=devices.logging.get_absl_logger().name)
    fake(device)
    choose_devices("auto")
    assert f"Training on {said}" in caplog.text
