"""Explains an NVIDIA card that TensorFlow does not use, and one whose memory is full."""

import importlib.metadata
import os
import re
from collections.abc import Iterator

import psutil

from schema.errors import GraftError
from schema.text import list_some
from serving.process import cards
from serving.process.cards import Card, Holder

RUN_REMEDY = "GRAFT_CUDA=1 ./graft run installs them, once"
IMAGE_REMEDY = "an image that is built with --build-arg CUDA=1 has them"
# Of CUDA 12, which both stacks use: docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
LEAST_DRIVER = "525.60.13"
_RUNTIME = "nvidia-cuda-runtime-cu12"  # package of requirements-cuda.lock
# As TensorFlow's allocator, XLA, CUDA's driver and runtime, cuDNN and cuBLAS say it.
_FULL = re.compile(
    r"OOM when allocating .*\b(?:GPU:\d|GPU_\d+_bfc)"
    r"|Out of memory while trying to allocate"
    r"|CUDA_ERROR_OUT_OF_MEMORY"
    r"|Status: out of memory"
    r"|CU(?:DNN|BLAS)_STATUS_ALLOC_FAILED",
    re.DOTALL,
)
# As cuDNN and cuBLAS say it where they find no memory at their start, among other causes.
_PERHAPS_FULL = re.compile(r"CU(?:DNN|BLAS)_STATUS_NOT_INITIALIZED|DNN library (?:initialization failed|is not found)")
_KEPT = "run the same command again: finished components are kept, and the live version stays live."


def describe_unused_card(remedy: str) -> str | None:
    """Describes in one line that TensorFlow does not use a card of this machine, and why.

    Args:
        remedy: clause that says how the CUDA libraries, "them", are installed.
    Returns:
        The line; None if TensorFlow uses a card, if there is none, or if CUDA_VISIBLE_DEVICES hides it.
    """
    if cards.hides_all() or not cards.may_have_cards():
        return None
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return None
    found = cards.list_cards()
    visible = cards.select_visible(found)
    if not visible and (found or not cards.has_device()):
        return None
    names = list_some([card.name for card in visible]) or "a card of NVIDIA"
    driver = visible[0].driver if visible else ""
    return f"{names} is here, and TensorFlow computes on the processor: {_explain_unused(driver, remedy)}."


def _explain_unused(driver: str, remedy: str) -> str:
    """Returns the reason and the remedy, for a version of the driver; "" if that is unknown."""
    installed = _has_cuda()
    missing = "" if installed else f"the environment has no CUDA libraries; {remedy}"
    if driver and _to_version(driver) < _to_version(LEAST_DRIVER):
        update = f"the driver {driver} is too old for CUDA 12, which needs {LEAST_DRIVER} or later; update it"
        return f"{update}. Besides, {missing}" if missing else update
    return missing or "its CUDA libraries are installed; with TF_CPP_MIN_LOG_LEVEL=0, the log shows TensorFlow's reason"


def _has_cuda() -> bool:
    try:
        importlib.metadata.version(_RUNTIME)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _to_version(text: str) -> tuple[int, ...]:
    """Reads a version for comparison.

    >>> _to_version("535.104.05")
    (535, 104, 5)
    """
    return tuple(map(int, re.findall(r"\d+", text)))


def explain_full_card(error: BaseException) -> GraftError | None:
    """Returns an error with advice if the cause of another error is a card without free memory; else None.

    Args:
        error: error of a run or task; None is returned for a GraftError, which has its own advice.
    """
    if isinstance(error, GraftError) or not cards.may_have_cards():
        return None
    texts = list(map(str, _list_causes(error)))
    full = any(map(_FULL.search, texts))
    if not full and not any(map(_PERHAPS_FULL.search, texts)):
        return None
    holders = cards.list_holders()
    others = [holder for holder in holders if holder.process not in _list_own_processes()]
    if not full and not others:
        return None
    visible = cards.select_visible(cards.list_cards())
    return GraftError(_describe_full(visible, holders, others))


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _list_own_processes() -> set[int]:
    return {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}


def _describe_full(visible: list[Card], holders: list[Holder], others: list[Holder]) -> str:
    """Describes the fullest of the cards: the memory that others hold, and the remedy."""
    if not visible:
        return f"the memory of the card is full. End other processes on it, or set a smaller batch_size, and {_KEPT}"
    card = max(visible, key=lambda card: (card.used or 0) / (card.memory or 1))
    others = [holder for holder in others if holder.uuid == card.uuid]
    name = f"{card.name}: the memory of the card is full"
    if others:
        held = sum(holder.used or 0 for holder in others)
        programs = list_some([f"{holder.name} (process {holder.process})" for holder in others])
        return (
            f"{name}: other processes hold {_to_gib(held)} of {_to_gib(card.memory)} GiB: {programs}. "
            f"End them, or choose another card with {cards.VISIBLE}, and {_KEPT}"
        )
    alone = any(holder.uuid == card.uuid for holder in holders)
    owner = "by this run alone" if alone else "and nvidia-smi does not tell by which processes"
    return (
        f"{name}: {_to_gib(card.used)} of {_to_gib(card.memory)} GiB are held, {owner}. "
        f"Set a smaller batch_size, or compute on the processor with {cards.VISIBLE}=-1, and {_KEPT}"
    )


def _to_gib(mib: int | None) -> str:
    return "?" if mib is None else f"{mib / 1024:.1f}"
