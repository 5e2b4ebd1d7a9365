"""Verdict of a gate that let the data pass."""

from typing import Literal

from serving.storage.documents import Document


class GateVerdict(Document):
    """Warnings of the DataGate or the DriftGate; a gate that stops the run writes no verdict.

    Attributes:
        warnings: one sentence each.
    """

    FILE = "gate_verdict.json"

    format: Literal[1] = 1
    warnings: list[str]
