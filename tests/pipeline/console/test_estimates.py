"""Estimates as text."""

import pytest

from pipeline.console.estimates import write_estimate


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (7, "7 bytes"), (401_800_000, "410 MB"), (400_000_000, "400 MB"), (24_100_000, "25 MB"),
     (1_230_000_000, "1.3 GB"), (996_000_000, "1 GB"), (12_500, "13 kB"), (123_456_789_000_000, "130 TB")],
)  # fmt: skip
def test_an_estimate_has_two_digits(size, text):
    """More would promise what no estimate keeps; rounded up, for it is what must be free."""
    assert write_estimate(size) == text
