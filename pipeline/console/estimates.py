"""Renders estimates as text, with no more digits than an estimate has."""

import math


def write_estimate(size: float) -> str:
    """Renders an estimated size in bytes with two significant digits, rounded up: "410 MB", "1.3 GB"."""
    step = 10.0 ** (math.floor(math.log10(size)) - 1) if size >= 1 else 1.0
    rounded = math.ceil(size / step) * step
    power = next((power for power in (4, 3, 2, 1) if rounded >= 1000**power), 0)
    return f"{rounded / 1000**power:g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
