"""A card that TensorFlow does not use, and one whose memory is full: a user is told, with the remedy."""

import importlib.metadata
import io
import os

import pytest
import tensorflow as tf
from rich.console import Console
from stand_in_cards import CARD, UUID, write_nvidia_smi, write_program

import pipeline.card_advice
from pipeline import cli
from pipeline.card_advice import RUN_REMEDY, describe_unused_card, explain_full_card
from pipeline.config.load import load_config
from pipeline.console.ending import Interrupts
from pipeline.local import run
from schema.errors import GraftError
from serving.process import cards

H200 = "NVIDIA H200 is here, and TensorFlow computes on the processor: "
ABSENT = "the environment has no CUDA libraries; GRAFT_CUDA=1 ./graft run installs them, once"
OLD = "the driver 470.57.02 is too old for CUDA 12, which needs 525.60.13 or later; update it"
INSTALLED = "its CUDA libraries are installed; with TF_CPP_MIN_LOG_LEVEL=0, the log shows TensorFlow's reason"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an H200 and its driver, on which TensorFlow sees nothing: a folder on PATH for nvidia-smi."""
    folder = tmp_path / "bin"
    folder.mkdir()
    write_nvidia_smi(folder, [CARD])
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(cards, "_DEVICES", str(folder / "nvidia[0-9]*"))
    monkeypatch.setattr(cards, "_SECONDS", 0.2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    see(monkeypatch, [])
    install(monkeypatch, False)
    return folder


def see(monkeypatch, gpus):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)


def install(monkeypatch, installed):
    """Makes the environment one with CUDA's libraries, or one without."""

    def find(name):
        if not installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return "12.9.79"

    monkeypatch.setattr(pipeline.card_advice.importlib.metadata, "version", find)


@pytest.mark.parametrize(
    ("driver", "installed", "reason"),
    [
        ("535.104.05", False, ABSENT),
        ("525.60.13", False, ABSENT),
        ("535.104.05", True, INSTALLED),
        ("470.57.02", True, OLD),
        ("470.57.02", False, f"{OLD}. Besides, {ABSENT}"),
        ("525.60.11", True, OLD.replace("470.57.02", "525.60.11")),
    ],
)
def test_card_that_is_not_used_is_told_with_reason_and_remedy(machine, monkeypatch, driver, installed, reason):
    """One line: libraries that are not installed, a driver that is too old, or something else."""
    write_nvidia_smi(machine, [CARD.replace("535.104.05", driver)])
    install(monkeypatch, installed)
    assert describe_unused_card(RUN_REMEDY) == f"{H200}{reason}."


def test_card_is_told_where_its_program_is_missing_or_hangs(machine):
    """The device file is there; a container may have one of another number."""
    (machine / "nvidia2").touch()
    for text in ("exit 9", "exec sleep 60"):
        write_program(machine, text)
        assert describe_unused_card(RUN_REMEDY).startswith("a card of NVIDIA is here, and TensorFlow computes on")


@pytest.mark.parametrize("wish", ["", "-1", "5"])
def test_card_that_the_user_hides_is_not_told(machine, monkeypatch, wish):
    """The user's own wish; that 5 names no card, nvidia-smi alone can tell."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wish)
    assert describe_unused_card(RUN_REMEDY) is None
    write_program(machine, "exit 9")
    (machine / "nvidia0").touch()
    assert (describe_unused_card(RUN_REMEDY) is None) == (wish != "5")


def test_machine_without_a_card_and_one_whose_card_is_used_are_told_nothing(machine, monkeypatch):
    """Nor a machine that has the program without a card."""
    write_nvidia_smi(machine, [])
    assert describe_unused_card(RUN_REMEDY) is None
    (machine / "nvidia-smi").unlink()
    monkeypatch.setattr(cards.shutil, "which", lambda _: None)
    assert describe_unused_card(RUN_REMEDY) is None
    (machine / "nvidia0").touch()
    see(monkeypatch, ["GPU:0"])
    assert describe_unused_card(RUN_REMEDY) is None


def raise_from(cause):
    """Returns an error of Beam or TFX that wraps another."""
    error = RuntimeError("while running Embed/ParDo")
    error.__cause__ = cause
    return error


OOM = (
    "Graph execution error:\n\nOOM when allocating tensor with shape[256,64,112,112] and type float on "
    "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc\n\t [[{{node conv1}}]] [Op:__inference_x]"
)
OTHERS = [f"{UUID}, 4242, 123000, python3", f"{UUID}, 4343, 20000, /usr/bin/ollama"]
FULL = CARD.replace("512", "143500")


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, OOM),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4294967296 bytes. [Op:__inference_x]"),
        tf.errors.InternalError(None, None, "cudaSetDevice() on GPU:0 failed. Status: out of memory"),
        RuntimeError("failed call to cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED in external/local_xla/xla/stream_executor/cuda/cuda_dnn.cc(5143)"),
        RuntimeError("Could not create cudnn handle: CUDNN_STATUS_NOT_INITIALIZED"),
    ],
)
def test_full_card_names_the_processes_that_hold_it(machine, error):
    """The message says how much memory which processes hold, and what to do; also if Beam has wrapped the error."""
    write_nvidia_smi(machine, [FULL], OTHERS)
    told = str(explain_full_card(raise_from(error)))
    assert told == (
        "NVIDIA H200: the memory of the card is full: other processes hold 139.6 of 140.4 GiB: "
        "python3 (process 4242), /usr/bin/ollama (process 4343). End them, or choose another card with "
        "CUDA_VISIBLE_DEVICES, and run the same command again: finished components are kept, and the live version "
        "stays live."
    )


@pytest.mark.parametrize(
    ("gpus", "processes", "expected"),
    [
        (
            [FULL],
            [f"{UUID}, {os.getpid()}, 143000, python3"],
            "NVIDIA H200: the memory of the card is full: 140.1 of 140.4 GiB are held, by this run alone. Set a "
            "smaller batch_size, or compute on the processor with CUDA_VISIBLE_DEVICES=-1, and run",
        ),
        ([FULL], [], "140.1 of 140.4 GiB are held, and nvidia-smi does not tell by which processes. Set a"),
        ([], [], "the memory of the card is full. End other processes on it, or set a smaller batch_size, and run"),
        (
            [CARD, FULL.replace("0, GPU-8", "1, GPU-9")],
            [f"{UUID}, 4343, 500, Xorg", f"{UUID.replace('-8', '-9', 1)}, 4242, 143000, python3"],
            "other processes hold 139.6 of 140.4 GiB: python3 (process 4242). End",
        ),
    ],
    ids=["own", "container", "no program", "second card"],
)
def test_full_card_without_others_says_what_else_helps(machine, gpus, processes, expected):
    """A container does not see the processes of its host; of several cards, the fullest is meant."""
    write_nvidia_smi(machine, gpus, processes)
    assert expected in str(explain_full_card(raise_from(tf.errors.ResourceExhaustedError(None, None, OOM))))


def test_other_errors_are_left_alone(machine, monkeypatch):
    """Memory of the machine, a library that does not start for another reason, errors with an advice of their own."""
    write_nvidia_smi(machine, [CARD])
    on_cpu = OOM.replace("GPU:0 by allocator GPU_0_bfc", "CPU:0 by allocator cpu")
    for error in (
        tf.errors.ResourceExhaustedError(None, None, on_cpu),
        RuntimeError("Could not create cudnn handle: CUDNN_STATUS_NOT_INITIALIZED"),
        GraftError("CUDA_ERROR_OUT_OF_MEMORY"),
        MemoryError(),
    ):
        assert explain_full_card(error) is None
    monkeypatch.setattr(cards.shutil, "which", lambda _: None)
    assert explain_full_card(RuntimeError("Out of memory while trying to allocate 9 bytes")) is None


def test_run_tells_both_on_the_terminal_and_in_the_log(machine, tmp_path, monkeypatch, make_images, caplog):
    """The note before the first component, as the user called Graft; the error with its chain in the log."""
    for label in ("cats", "dogs"):
        make_images(tmp_path / "photos", label, 1)

    def fail(*_):
        raise tf.errors.ResourceExhaustedError(None, None, OOM)

    monkeypatch.setattr(run, "resolve", fail)
    monkeypatch.setenv("GRAFT_COMMAND", "../graft")
    console = Console(file=io.StringIO(), width=300)
    settings = {"data": str(tmp_path / "photos"), "out": str(tmp_path / "out"), "weights": "random"}
    with pytest.raises(GraftError, match=r"140\.4 GiB are held"):
        run.run_pipeline(load_config(None, settings), console)
    note = f"{H200}{ABSENT}.".replace("./graft", "../graft")
    assert [line.strip() for line in console.file.getvalue().splitlines() if "H200" in line] == [note]
    assert note in [record.getMessage() for record in caplog.records]
    assert "the memory of the card is full" in caplog.text
    assert "OOM when allocating" in caplog.text


def test_every_command_explains_a_full_card(machine, monkeypatch, capsys):
    """Such as predict, which loads a model; other errors keep their traceback."""

    def fail(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, OOM)

    monkeypatch.setattr(cli.cli, "main", fail)
    assert cli._call(["predict"], Interrupts()) == 1
    [told] = capsys.readouterr().err.splitlines()
    assert told.startswith("graft: NVIDIA H200: the memory of the card is full: ")
    (machine / "nvidia-smi").unlink()
    monkeypatch.setattr(cards.shutil, "which", lambda _: None)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        cli._call(["predict"], Interrupts())
