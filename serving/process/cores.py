"""Number of cores that this process may use, by which each thread pool goes. Imports the standard library alone."""

import math
import os
import pathlib
import re
from collections.abc import Iterator

# Variables by which TensorFlow sizes its pools, and by which OpenBLAS, OpenMP and pyarrow size theirs.
_POOLS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_V1, _V2 = "cpu", ""  # controllers as /proc/self/cgroup names them


def count_cores(root: str = "/") -> int:
    """Counts the cores that this process may use, by its affinity and by the CPU limits of its cgroups.

    The affinity holds the limits of cpusets as well. A part of a core counts as a core, as in joblib and in Java: with
    a limit of 1.5 cores, two threads compute.

    Args:
        root: folder with `proc` and `sys`.
    Returns:
        The number of cores, at least 1.
    """
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), find_cpu_limit(root))))


def bound_thread_pools(root: str = "/") -> None:
    """Bounds the thread pools of libraries by the cores of this process; call it before the libraries are imported.

    No library knows the limits of cgroups: on a machine of 64 cores it starts 64 threads, and under a limit of 2 cores
    the kernel halts them for most of the time. pyarrow does not know the affinity either. Where the process may use all
    cores, no variable is set. A variable that the user has set stays.

    Args:
        root: as for `count_cores`.
    """
    cores = count_cores(root)
    if cores < (os.cpu_count() or 1):
        for name in _POOLS:
            os.environ.setdefault(name, str(cores))


def find_cpu_limit(root: str = "/") -> float:
    """Finds the lowest CPU limit of the cgroups of this process and of all cgroups above them.

    The kernel enforces each of these limits. joblib reads the topmost cgroup alone.

    Args:
        root: as for `count_cores`.
    Returns:
        The limit in cores; infinity if there is none, or none that can be read.
    """
    return min((_read_limit(folder) for folder in _list_cgroups(pathlib.Path(root))), default=math.inf)


def _list_cgroups(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the folders of the cgroups of this process that may limit its CPU time, each with those above it."""
    memberships = dict(_parse_memberships(_read(root / "proc/self/cgroup")))
    for controller, top, mount in _parse_mounts(_read(root / "proc/self/mountinfo")):
        if controller in memberships:
            mounted = root / mount.lstrip("/")
            below = _locate(memberships[controller], top)
            yield from (mounted / folder for folder in (below, *below.parents))


def _parse_memberships(text: str) -> Iterator[tuple[str, str]]:
    """Yields controller and path of each cgroup in `/proc/self/cgroup` that may limit CPU time (cgroups(7))."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path and _V1 in controllers.split(","):
            yield _V1, path
        elif path and number == "0" and not controllers:
            yield _V2, path


def _parse_mounts(text: str) -> Iterator[tuple[str, str, str]]:
    """Yields controller, topmost cgroup and folder of the cgroup mounts in `/proc/self/mountinfo` (proc(5))."""
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        fields, [kind, *options] = mount.split(" "), re.split("[ ,]", system)
        if len(fields) > 4 and (kind == "cgroup2" or (kind == "cgroup" and _V1 in options)):
            yield _V2 if kind == "cgroup2" else _V1, _unescape(fields[3]), _unescape(fields[4])


def _locate(path: str, top: str) -> pathlib.PurePosixPath:
    """Returns the path of a cgroup below the topmost one of a mount; "." if the mount does not show the cgroup."""
    cgroup = pathlib.PurePosixPath(path)
    if ".." in cgroup.parts or not cgroup.is_relative_to(top):
        return pathlib.PurePosixPath()
    return cgroup.relative_to(top)


def _read_limit(folder: pathlib.Path) -> float:
    """Reads the limit of a cgroup of either version, in cores; infinity if the cgroup has none."""
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not period:
        quota, period = (_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return math.inf  # "max" in version 2, -1 in version 1
    return int(quota) / int(period)


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return ""


def _unescape(field: str) -> str:
    r"""Decodes the octal escapes of mountinfo, such as \040 for a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
