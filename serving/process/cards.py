"""NVIDIA's cards of this machine and the processes on them, as `nvidia-smi` tells them."""

import dataclasses
import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

PROGRAM = "nvidia-smi"
VISIBLE = "CUDA_VISIBLE_DEVICES"  # CUDA's variable: the cards that a process may use
_DEVICES = "/dev/nvidia[0-9]*"  # a container may have any of them
_SECONDS = 10.0  # it takes 0.1 to 3 s, and hangs where the driver does


@dataclasses.dataclass(frozen=True)
class Card:
    """Card.

    Attributes:
        index: number of the card, in the order of their slots.
        uuid: id, such as GPU-8932f937-d72c-4106-c12f-20bd9faed9f6.
        name: model, such as NVIDIA H200.
        driver: version of the driver, such as 535.104.05.
        memory: memory in MiB; None if unknown.
        used: memory that processes hold, in MiB; None if unknown.
    """

    index: int
    uuid: str
    name: str
    driver: str
    memory: int | None
    used: int | None


@dataclasses.dataclass(frozen=True)
class Holder:
    """Process that holds memory of a card.

    Attributes:
        uuid: id of the card.
        process: id of the process.
        name: program of the process.
        used: memory that the process holds, in MiB; None if unknown.
    """

    uuid: str
    process: int
    name: str
    used: int | None


def may_have_cards() -> bool:
    """Tells whether this machine has a device file of a card, or `nvidia-smi`; a laptop may have it without a card."""
    return has_device() or bool(shutil.which(PROGRAM))


def has_device() -> bool:
    """Tells whether this machine has the device file of a card."""
    return bool(glob.glob(_DEVICES))


def list_cards() -> list[Card]:
    """Lists the cards; an empty list if `nvidia-smi` is missing, fails or hangs."""
    rows = query("--query-gpu=index,uuid,name,driver_version,memory.total,memory.used")
    return [
        Card(int(row[0]), row[1], row[2], row[3], _to_number(row[4]), _to_number(row[5]))
        for row in rows
        if len(row) == 6 and row[0].isdecimal()
    ]


def list_holders() -> list[Holder]:
    """Lists the processes that compute on cards. In a container the list may be empty, whatever the host runs."""
    rows = query("--query-compute-apps=gpu_uuid,pid,used_memory,process_name")
    return [
        Holder(row[0], int(row[1]), ", ".join(row[3:]), _to_number(row[2]))
        for row in rows
        if len(row) >= 4 and row[1].isdecimal()
    ]


def hides_all() -> bool:
    """Tells whether CUDA_VISIBLE_DEVICES hides all cards from this process, as "" and "-1" do."""
    first = os.environ.get(VISIBLE, "0").split(",")[0].strip()
    return not (first.isdecimal() or first.startswith(("GPU-", "MIG-")))


def select_visible(cards: Sequence[Card]) -> list[Card]:
    """Selects the cards that CUDA_VISIBLE_DEVICES leaves to this process.

    CUDA ignores what follows an entry that names no card. Its numbers are those of nvidia-smi if the cards are of one
    model, or CUDA_DEVICE_ORDER is PCI_BUS_ID.
    """
    wish = os.environ.get(VISIBLE)
    if wish is None or "MIG-" in wish:  # a part of a card, which nvidia-smi lists elsewhere
        return list(cards)
    selected = []
    for entry in map(str.strip, wish.split(",")):
        named = [card for card in cards if str(card.index) == entry or _is_start(entry, card.uuid)]
        if not named:
            break
        selected += named
    return selected


def _is_start(entry: str, uuid: str) -> bool:
    return entry.startswith("GPU-") and uuid.startswith(entry)


def query(query: str) -> list[list[str]]:
    """Asks nvidia-smi for a table, by an option such as --query-gpu=name; no rows if it is missing, fails or hangs."""
    program = shutil.which(PROGRAM)
    if not program:
        return []
    # A file, for the end of a pipe would wait for a process that hangs in the driver and that no signal ends.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [program, query, "--format=csv,noheader,nounits"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return []
        try:
            status = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return []
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines] if status == 0 else []


def _to_number(cell: str) -> int | None:
    """Reads a number of MiB; None for [N/A], [Not Supported] and the like."""
    return int(cell) if cell.isdecimal() else None
