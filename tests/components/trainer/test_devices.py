"""Choice of precision, XLA and strategy, on faked machines."""

import pytest
import tensorflow as tf

from components.trainer import devices
from components.trainer.devices import choose_devices


@pytest.fixture
def fake(monkeypatch):
    """Returns a function that fakes the GPUs of a machine."""

    def fake_machine(gpus=()):
        names = {f"GPU:{i}": details for i, details in enumerate(gpus)}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: list(names) if kind == "GPU" else [])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", names.__getitem__)

    return fake_machine


def capability(*versions):
    """Compute capabilities that a faked TensorFlow reports for the GPUs."""
    return [{"compute_capability": version, "device_name": "GPU"} for version in versions]


def test_a_cpu_computes_in_float32(fake):
    """All CPUs train the same model from the same images; bfloat16 must be set explicitly."""
    fake()
    assert choose_devices("auto").precision == "float32"


@pytest.mark.parametrize(
    ("gpus", "precision"),
    [
        (capability((8, 0)), "bfloat16"),
        (capability((12, 0)), "bfloat16"),
        (capability((7, 5)), "float16"),
        (capability((7, 0)), "float16"),
        (capability((6, 1)), "float32"),
        (capability((8, 0), (7, 5)), "float16"),
        (capability((7, 5), (8, 6), (6, 1)), "float32"),
        ([{}], "float32"),
    ],
    ids=["8.0", "12.0", "7.5", "7.0", "6.1", "8.0 and 7.5", "7.5, 8.6 and 6.1", "unknown"],
)
def test_a_gpu_computes_in_what_its_tensor_cores_take(fake, gpus, precision):
    """The oldest of several decides."""
    fake(gpus)
    assert choose_devices("auto").precision == precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("gpus", [[], capability((8, 0)), capability((6, 1))], ids=["CPU", "new GPU", "old GPU"])
def test_a_precision_that_is_named_is_taken(fake, precision, gpus):
    """On any machine; TensorFlow has that type."""
    fake(gpus)
    assert choose_devices(precision).precision == precision
    assert tf.as_dtype(precision).is_floating


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_xla_compiles_for_gpus_alone(fake, precision):
    """XLA is slower on a CPU."""
    fake()
    assert choose_devices(precision).jit_compile is False
    fake(capability((8, 0)))
    assert choose_devices(precision).jit_compile is True


@pytest.mark.parametrize("gpus", [0, 1])
def test_on_one_device_nothing_is_mirrored(fake, gpus):
    """The strategy is TensorFlow's default."""
    fake(gpus * capability((8, 0)))
    assert choose_devices("auto").strategy is tf.distribute.get_strategy()


def test_several_gpus_share_each_batch(fake):
    """Each has a copy of the network; train_on_two_devices.py trains so."""
    fake(capability((8, 0), (8, 0)))
    assert isinstance(choose_devices("auto").strategy, tf.distribute.MirroredStrategy)


@pytest.mark.parametrize(
    ("gpus", "said"),
    [(0, "the CPU, in float32, without XLA"), (2, "2 GPU(s), in bfloat16, with XLA")],
)
def test_the_log_says_what_was_chosen(fake, caplog, gpus, said):
    """The log explains a slow run."""
    caplog.set_level("INFO", logger=devices.logging.get_absl_logger().name)
    fake(gpus * capability((8, 0)))
    choose_devices("auto")
    assert f"Training on {said}." in caplog.text
