"""Device of a machine, and the precision and XLA that follow from it, on faked machines."""

import pytest
import tensorflow as tf

from components import devices
from components.devices import BASE, FINE_TUNING, Device, choose_precision, describe, find_device, pays_xla

H200 = Device("NVIDIA H200", (9, 0), 1)


@pytest.fixture
def fake(monkeypatch):
    """Returns a function that fakes the GPUs of a machine, by their details."""

    def fake_machine(*gpus):
        names = {f"GPU:{i}": details for i, details in enumerate(gpus)}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: list(names) if kind == "GPU" else [])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", names.__getitem__)

    return fake_machine


def test_without_a_card_the_device_is_the_processor(fake):
    """The default of `Device` is a machine without a card."""
    fake()
    assert find_device() == Device()
    assert find_device().text == "CPU"


def test_the_oldest_of_several_cards_names_the_device(fake):
    """It decides about the precision."""
    new = {"compute_capability": (9, 0), "device_name": "NVIDIA H200"}
    fake(new, {"compute_capability": (7, 5), "device_name": "Tesla T4"})
    assert find_device() == Device("Tesla T4", (7, 5), 2)
    fake(new)
    assert find_device() == H200
    fake({})  # a driver that tells nothing
    assert find_device() == Device("GPU", (0, 0), 1)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((12, 0), "bfloat16"),
        ((8, 0), "bfloat16"),
        ((7, 5), "float16"),
        ((7, 0), "float16"),
        ((6, 1), "float32"),
        ((0, 0), "float32"),
    ],
    ids=str,
)
def test_auto_is_what_the_tensor_cores_take(capability, precision):
    """A CPU has capability 0.0: float32."""
    device = Device("a card", capability, 1)
    assert choose_precision("auto", device) == precision
    for named in ("float32", "bfloat16", "float16"):
        assert choose_precision(named, device) == named


@pytest.mark.parametrize(
    ("network", "images", "epochs", "xla"),
    [
        (BASE, 0, 1, False),
        (BASE, 8_392, 1, False),  # the run of issue 28
        (BASE, 100_000, 1, False),
        (BASE, 101_000, 1, True),
        (BASE, 1_000_000, 1, True),
        (FINE_TUNING, 980, 5, False),
        (FINE_TUNING, 62_000, 5, False),
        (FINE_TUNING, 63_000, 5, True),
        (FINE_TUNING, 315_000, 1, True),
        (FINE_TUNING, 315_000, 0, False),
    ],
)
def test_xla_compiles_where_images_times_epochs_outweigh_the_compilation(network, images, epochs, xla):
    """On the H200: 15 s to compile the base, 47 s to compile phase 2; 4,804 images/s without XLA and 17,009 with it."""
    assert pays_xla(network, images, epochs, H200) is xla


@pytest.mark.parametrize(
    "device",
    [
        Device(),
        Device("NVIDIA GeForce RTX 4090", (8, 9), 1),
        Device("NVIDIA H200 MIG 1g.18gb", (9, 0), 1),
        Device("NVIDIA H200", (9, 0), 2),
    ],
    ids=lambda device: device.text,
)
@pytest.mark.parametrize("network", [BASE, FINE_TUNING])
def test_xla_compiles_nothing_on_a_device_that_was_not_measured(network, device):
    """A CPU, another card, a part of a card, and two cards, which share each batch."""
    assert pays_xla(network, 10**9, 10, device) is False


def test_a_computation_is_described_in_one_line(monkeypatch):
    """With device, precision, XLA and cores, as far as they are decided."""
    monkeypatch.setattr(devices, "count_cores", lambda: 16)
    assert describe(H200, "bfloat16", xla=True).text == "NVIDIA H200, bfloat16, with XLA, 16 cores"
    assert describe(Device("NVIDIA H200", (9, 0), 2), "bfloat16").text == "2 x NVIDIA H200, bfloat16, 16 cores"
    monkeypatch.setattr(devices, "count_cores", lambda: 1)
    assert describe(Device(), "float32", xla=False).text == "CPU, float32, without XLA, 1 core"
