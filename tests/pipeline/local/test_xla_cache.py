"""Cache of what XLA has compiled: the flags of TensorFlow, and a folder without damaged files."""

import os
import re
import stat
import subprocess
import sys
import types

import pytest
import tensorflow as tf

from pipeline.local import xla_cache
from pipeline.local.xla_cache import VARIABLE, enable, keep_compiled
from serving.process import cards

DRIVER = "#!/bin/sh\nprintf '580.65.06, 9.0\\n580.65.06, 9.0\\n'\n"


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A machine with two cards and an nvidia-smi, which the test may write anew; returns the path of nvidia-smi."""
    (tmp_path / "nvidia0").touch()
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(DRIVER)
    program.chmod(0o755)
    monkeypatch.setattr(cards, "_DEVICES", str(tmp_path / "nvidia[0-9]*"))
    monkeypatch.setattr(xla_cache.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**11))
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv(VARIABLE, "")  # so that what `enable` sets is undone
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def find_folder(parent):
    [folder] = parent.iterdir()
    return folder


@pytest.mark.parametrize("own", ["", "--tf_xla_auto_jit=1"])
def test_flags_are_added_to_those_of_the_user(card, tmp_path, own, monkeypatch):
    """The folder is named after TensorFlow, driver and capability, and nobody else may write or read it."""
    monkeypatch.setenv(VARIABLE, own)
    enable(tmp_path / "xla")
    folder = find_folder(tmp_path / "xla")
    assert folder.name.startswith("tensorflow-2.")
    assert folder.name.endswith("-driver-580.65.06-capability-9.0")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    flags = os.environ[VARIABLE].split(" ")
    assert f"--tf_xla_persistent_cache_directory={folder}" in flags
    assert flags[1:] == own.split()


def test_a_run_with_the_cache_writes_models(card, tmp_path):
    """A model's fingerprint takes names of graphs that end in _<number>, as TensorFlow's own do, and no others."""
    enable(tmp_path / "xla")
    with keep_compiled(tmp_path / "xla"):
        module = tf.Module()
        module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None])], autograph=False)
        names = [module.double.get_concrete_function().name.decode() for _ in range(2)]
        tf.saved_model.save(module, str(tmp_path / "model"), signatures={"double": module.double})
    assert re.fullmatch(r"__inference_\S*_graft_\d+", names[0]), names
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(tmp_path / "model"))
    assert fingerprint.graph_def_program_hash
    assert tf.saved_model.load(str(tmp_path / "model")).double(tf.constant([2.0])).numpy() == [4.0]


@pytest.mark.parametrize("own", ["--tf_xla_persistent_cache_directory=/mine", "/etc/my.flags"])
def test_a_folder_or_a_file_of_the_user_wins(card, tmp_path, own, monkeypatch):
    """TensorFlow reads the flags from a file if the variable names one."""
    monkeypatch.setenv(VARIABLE, own)
    enable(tmp_path / "xla")
    assert os.environ[VARIABLE] == own
    assert not (tmp_path / "xla").exists()


@pytest.mark.parametrize(
    "program",
    ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho No devices were found\n", "#!/bin/sh\necho '../x, 9.0'\n", "", None],
    ids=["fails", "no devices", "a path", "no program", "missing"],
)
def test_a_driver_that_tells_nothing_means_no_cache(card, tmp_path, program):
    """The run goes on without one."""
    card.write_text(program or "")
    if program is None:
        card.unlink()
    enable(tmp_path / "xla")
    assert os.environ[VARIABLE] == ""
    assert not (tmp_path / "xla").exists()


@pytest.mark.parametrize("hidden", [True, False], ids=["hidden", "none"])
def test_without_a_card_no_program_runs(card, tmp_path, monkeypatch, hidden):
    """Nor with a card that CUDA_VISIBLE_DEVICES hides: nothing changes on a processor, and nothing takes time."""
    if hidden:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    else:
        monkeypatch.setattr(cards, "_DEVICES", str(tmp_path / "other[0-9]*"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    enable(tmp_path / "xla")
    assert os.environ[VARIABLE] == ""
    assert not (tmp_path / "xla").exists()


def test_a_path_that_flags_cannot_hold_means_no_cache(card, tmp_path):
    """TensorFlow splits the flags at spaces, and stops at a flag that it does not know."""
    enable(tmp_path / "my runs")
    assert os.environ[VARIABLE] == ""


def test_a_full_disk_means_no_cache(card, tmp_path, monkeypatch):
    """TensorFlow fails a training whose compiled code it cannot write."""
    monkeypatch.setattr(xla_cache.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**9))
    enable(tmp_path / "xla")
    assert os.environ[VARIABLE] == ""


def test_damaged_and_torn_files_are_removed_before_a_run(tmp_path):
    """TensorFlow would fail on them; whole files stay, and a killed run lists nothing."""
    folder = tmp_path / "tensorflow-2"
    folder.mkdir()
    with keep_compiled(tmp_path):
        for name in ("whole.pb", "damaged.pb", "cut.pb"):
            (folder / name).write_bytes(b"compiled")
    (folder / "damaged.pb").write_bytes(b"c0mpiled")
    (folder / "cut.pb").write_bytes(b"comp")
    (folder / "torn.pb").write_bytes(b"of a killed run")
    with keep_compiled(tmp_path):
        assert sorted(path.name for path in folder.iterdir()) == ["index.json", "whole.pb"]
    for index in ("", "[]", "{", '{"whole.pb": 1}'):
        (folder / "whole.pb").write_bytes(b"compiled")
        (folder / "index.json").write_text(index)
        with keep_compiled(tmp_path):
            assert not (folder / "whole.pb").exists()
    with keep_compiled(tmp_path / "missing"):
        pass
    assert not (tmp_path / "missing").exists()


def test_the_oldest_files_make_room(tmp_path, monkeypatch):
    """A folder does not grow for ever."""
    monkeypatch.setattr(xla_cache, "_MOST_BYTES", 20)
    folder = tmp_path / "tensorflow-2"
    folder.mkdir()
    with keep_compiled(tmp_path):
        for age, name in enumerate(("new.pb", "newer.pb", "old.pb")):
            (folder / name).write_bytes(b"compiled")
            os.utime(folder / name, (1000 - age, 1000 - age))
    assert sorted(path.name for path in folder.glob("*.pb")) == ["new.pb", "newer.pb"]


TRAIN = """
import os, pathlib, sys
before, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2], "tensorflow")
folder.mkdir(parents=True, exist_ok=True)
from pipeline.local import xla_cache
os.environ["TF_XLA_FLAGS"] = xla_cache.add_flags("", str(folder))
import keras
import numpy as np
import tensorflow as tf
from components.network import resnet
from components.network.padded import PaddedNetwork, pad_batches
for _ in range(before):
    tf.ones([2]) + 1
with xla_cache.keep_compiled(folder.parent):
    kept = len(list(folder.glob("*.pb")))
    inputs = keras.Input([5])
    network = PaddedNetwork.of(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs)))
    resnet.compile_for_training(network, keras.optimizers.Adam(), jit_compile=True)
    rows = tf.data.Dataset.from_tensor_slices((np.ones([10, 5], np.float32), np.arange(10) % 3)).batch(4)
    network.fit(pad_batches(rows, 4), validation_data=pad_batches(rows, 4), epochs=2, verbose=0)
print("COMPILED", len(list(folder.glob("*.pb"))) - kept, "KEPT", kept)
"""


@pytest.mark.long
def test_a_second_run_of_the_same_shapes_compiles_nothing(tmp_path):
    """On a CPU, whatever the process did before. A damaged file is compiled anew, and the training does not fail."""

    def train(before):
        command = [sys.executable, "-c", TRAIN, str(before), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout.strip().splitlines()[-1]

    assert train(0) == "COMPILED 2 KEPT 0"  # a training step and a validation step
    assert train(7) == "COMPILED 0 KEPT 2"
    damaged = sorted((tmp_path / "tensorflow").glob("*.pb"))[0]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert train(3) == "COMPILED 1 KEPT 1"
