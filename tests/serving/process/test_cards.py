"""The cards of a machine, as nvidia-smi tells them: whole, in part, not at all, or never."""

import os
import pathlib
import subprocess
import sys

import pytest
from stand_in_cards import CARD, UUID, write_nvidia_smi, write_program

from serving.process import cards
from serving.process.cards import Card, Holder

SECOND = "1, GPU-11111111-0000-0000-0000-000000000000, NVIDIA H200, 535.104.05, 143771, 0"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder on PATH for nvidia-smi; no device file, and no CUDA_VISIBLE_DEVICES."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(cards, "_DEVICES", str(tmp_path / "nvidia[0-9]*"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_cards_and_processes_are_read(machine):
    """Numbers in MiB; a program may have commas in its name."""
    write_nvidia_smi(machine, [CARD], [f"{UUID}, 4242, 123000, /opt/a, b/python3"])
    assert cards.list_cards() == [Card(0, UUID, "NVIDIA H200", "535.104.05", 143771, 512)]
    assert cards.list_holders() == [Holder(UUID, 4242, "/opt/a, b/python3", 123000)]


def test_what_the_driver_does_not_tell_is_unknown(machine):
    """A card in parts, or of a small machine, has no memory of its own; Windows' driver tells none of processes."""
    write_nvidia_smi(machine, ["0, GPU-1, NVIDIA GB10, 580.95.05, [N/A], [N/A]"], ["GPU-1, 7, [N/A], [Not Found]"])
    assert cards.list_cards() == [Card(0, "GPU-1", "NVIDIA GB10", "580.95.05", None, None)]
    assert cards.list_holders() == [Holder("GPU-1", 7, "[Not Found]", None)]


@pytest.mark.parametrize(
    "text",
    [
        'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9',
        "echo 'No devices were found'; exit 6",
        "echo 'No devices were found'",
        "exec sleep 60",
        "",
    ],
    ids=["no driver", "no card", "no card, and no error", "hangs", "says nothing"],
)
def test_program_that_lists_nothing_is_no_error(machine, text, monkeypatch):
    """And one that hangs is left behind."""
    monkeypatch.setattr(cards, "_SECONDS", 0.2)
    write_program(machine, text)
    assert (cards.list_cards(), cards.list_holders()) == ([], [])


def test_program_that_is_missing_or_of_another_machine_is_no_error(machine, monkeypatch):
    """Such as one that a folder of another machine has."""
    (machine / "nvidia-smi").write_bytes(b"\x7fELF of another machine")
    (machine / "nvidia-smi").chmod(0o755)
    assert (cards.list_cards(), cards.may_have_cards()) == ([], True)
    monkeypatch.setenv("PATH", "/nowhere")
    assert (cards.list_cards(), cards.may_have_cards()) == ([], False)
    (machine / "nvidia3").touch()
    assert cards.may_have_cards()


@pytest.mark.parametrize(
    ("wish", "hidden", "numbers"),
    [
        (None, False, [0, 1]),
        ("0,1", False, [0, 1]),
        ("1", False, [1]),
        (" 1 , 0 ", False, [1, 0]),
        ("GPU-8932", False, [0]),
        ("MIG-8932", False, [0, 1]),
        ("1,-1,0", False, [1]),
        ("7", False, []),
        ("", True, []),
        ("-1", True, []),
        ("NoDevFiles", True, []),
    ],
)
def test_cards_that_the_user_hides_are_left_out(machine, monkeypatch, wish, hidden, numbers):
    """CUDA ignores the entries of CUDA_VISIBLE_DEVICES that follow one that names no card."""
    write_nvidia_smi(machine, [CARD, SECOND])
    if wish is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wish)
    assert [card.index for card in cards.select_visible(cards.list_cards())] == numbers
    assert cards.hides_all() == hidden


@pytest.mark.parametrize(("own", "expected"), [({}, "true"), ({"TF_FORCE_GPU_ALLOW_GROWTH": "false"}, "false")])
def test_memory_of_a_card_is_taken_as_it_is_needed_unless_the_user_says_otherwise(own, expected):
    """Set where the package is imported, so before TensorFlow starts."""
    code = "import os, serving; print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'])"
    environment = {name: value for name, value in os.environ.items() if name != "TF_FORCE_GPU_ALLOW_GROWTH"} | own
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=pathlib.Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert ended.stdout.strip() == expected
