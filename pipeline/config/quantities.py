"""Quantities of Kubernetes: cores such as 2 or "500m", and sizes such as "4Gi"."""

import re
from typing import Any

_CORES = re.compile(r"(\d+)m|(\d+(?:\.\d+)?)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(k|[MGT]|[KMGT]i)")
_GIGA = 10**9
_UNITS = {"k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def parse_cores(value: Any) -> float:
    """Parses a number of cores: 2, 0.5, "2" or "500m".

    Raises:
        ValueError: if it is none, or not above 0.
    """
    match = None if isinstance(value, bool) else _CORES.fullmatch(str(value))
    cores = (int(match[1]) / 1000 if match[1] else float(match[2])) if match else 0.0
    if not cores:
        raise ValueError("not a number of cores")
    return cores


def parse_size(value: Any) -> int:
    """Parses a size with its unit, "4Gi" or "500M"; returns bytes.

    Raises:
        ValueError: if it is none, or below 1 MB.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 10**6:
        raise ValueError("not a size")
    return size


def to_gigabytes(size: int) -> float:
    """Returns bytes in units of 10^9 bytes, the unit of the pipeline spec."""
    return size / _GIGA


def render_size(size: int) -> str:
    """Renders bytes with the largest unit of which they are a multiple: 4Gi, 4G, 512Mi."""
    for unit in ("Ti", "T", "Gi", "G", "Mi", "M", "Ki", "k"):
        if size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def render_cores(cores: float) -> str:
    """Renders cores as Kubernetes does: 2, 500m."""
    return f"{cores:g}" if cores == int(cores) else f"{round(cores * 1000)}m"
