"""The fastest way to compute on what is there; a machine is faked."""

import keras
import pytest
import tensorflow as tf

from components import devices
from components.devices import choose_devices

X86 = "processor\t: 0\nflags\t\t: fpu vme sse4_2 avx2 avx512f{} avx_vnni\nbugs\t\t: spectre_v1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd aes{} i8mm\nCPU implementer\t: 0x41\n"


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Returns a function that fakes a machine: what /proc/cpuinfo says, None for no such file, and its GPUs."""

    def fake_machine(cpuinfo="", gpus=()):
        path = tmp_path / "cpuinfo"
        if cpuinfo is not None:
            path.write_text(cpuinfo)
        names = {f"GPU:{i}": details for i, details in enumerate(gpus)}
        monkeypatch.setattr(devices, "_CPU_FLAGS", path)
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: list(names) if kind == "GPU" else [])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", names.__getitem__)
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "mirrored")

    return fake_machine


def capability(*versions):
    """What TensorFlow says of GPUs of some compute capabilities."""
    return [{"compute_capability": version, "device_name": "GPU"} for version in versions]


@pytest.mark.parametrize(
    ("cpuinfo", "policy"),
    [
        (X86.format(" avx512_bf16"), "mixed_bfloat16"),
        (X86.format(" amx_bf16 amx_tile"), "mixed_bfloat16"),
        (ARM.format(" bf16"), "mixed_bfloat16"),
        (X86.format(""), "float32"),
        (X86.format(" amx_tile xbf16 bf16x"), "float32"),
        (ARM.format(""), "float32"),
        ("model name\t: a CPU with bf16\n" + X86.format(""), "float32"),
        ("", "float32"),
        (None, "float32"),
    ],
    ids=[
        "avx512_bf16", "amx_bf16", "ARM with bf16", "x86 without", "flags that contain it", "ARM without",
        "bf16 in its name", "empty", "no /proc/cpuinfo",
    ],
)  # fmt: skip
def test_a_cpu_computes_in_bfloat16_where_it_multiplies_it(fake, cpuinfo, policy):
    """And in float32 elsewhere, where bfloat16 is slower."""
    fake(cpuinfo)
    assert choose_devices("auto").policy == policy


@pytest.mark.parametrize(
    ("gpus", "policy"),
    [
        (capability((8, 0)), "mixed_bfloat16"),
        (capability((12, 0)), "mixed_bfloat16"),
        (capability((7, 5)), "mixed_float16"),
        (capability((7, 0)), "mixed_float16"),
        (capability((6, 1)), "float32"),
        (capability((8, 0), (7, 5)), "mixed_float16"),
        (capability((7, 5), (8, 6), (6, 1)), "float32"),
        ([{}], "float32"),
    ],
    ids=["8.0", "12.0", "7.5", "7.0", "6.1", "8.0 and 7.5", "7.5, 8.6 and 6.1", "unknown"],
)
def test_a_gpu_computes_in_what_its_tensor_cores_take(fake, gpus, policy):
    """The oldest of several decides, whatever the CPU can do."""
    fake(X86.format(" amx_bf16"), gpus)
    assert choose_devices("auto").policy == policy


@pytest.mark.parametrize(
    ("precision", "policy"),
    [("float32", "float32"), ("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16")],
)
@pytest.mark.parametrize(
    ("cpuinfo", "gpus"),
    [(X86.format(""), []), (X86.format(" amx_bf16"), []), ("", capability((8, 0))), ("", capability((6, 1)))],
    ids=["CPU without bfloat16", "CPU with bfloat16", "new GPU", "old GPU"],
)
def test_a_precision_that_is_named_is_taken(fake, precision, policy, cpuinfo, gpus):
    """On any machine; Keras has that policy."""
    fake(cpuinfo, gpus)
    assert choose_devices(precision).policy == policy
    assert keras.DTypePolicy(policy).name == policy


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_xla_compiles_for_gpus_alone(fake, precision):
    """On a CPU it is slower."""
    fake(X86.format(" avx512_bf16"))
    assert choose_devices(precision).jit_compile is False
    fake("", capability((8, 0)))
    assert choose_devices(precision).jit_compile is True


@pytest.mark.parametrize("gpus", [0, 1])
def test_on_one_device_nothing_is_mirrored(fake, gpus):
    """The strategy is the one that is in force anyway."""
    fake("", gpus * capability((8, 0)))
    assert choose_devices("auto").strategy is tf.distribute.get_strategy()


def test_several_gpus_share_each_batch(fake):
    """Each has a copy of the network."""
    fake("", capability((8, 0), (8, 0)))
    assert choose_devices("auto").strategy == "mirrored"


@pytest.mark.parametrize(
    ("gpus", "said"),
    [(0, "the CPU, policy float32, without XLA"), (2, "2 GPU(s), policy mixed_bfloat16, with XLA")],
)
def test_the_log_says_what_was_chosen(fake, caplog, gpus, said):
    """So that a slow run can be explained."""
    caplog.set_level("INFO", logger=devices.logging.get_absl_logger().name)
    fake("", gpus * capability((8, 0)))
    choose_devices("auto")
    assert f"Training on {said}." in caplog.text
