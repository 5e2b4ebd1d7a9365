"""The number of cores that a process may use: affinity, and the CPU limits of cgroups of both versions."""

import math
import os
import pathlib
import re
import runpy
import signal
import subprocess
import sys
import types

import pytest

from serving.process import cores
from serving.process.cores import bound_thread_pools, count_cores, find_cpu_limit

ROOT = pathlib.Path(__file__).parents[3]
V1 = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 {top} {mount} rw,relatime shared:9 - cgroup cgroup rw,{names}
"""
V2 = "30 23 0:27 {top} {mount} rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n"
POOLS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


@pytest.fixture
def machine(tmp_path):
    """Returns a function that writes the files of a machine, and returns its root folder."""

    def write(cgroup, mountinfo, **limits):
        files = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo}
        for name, content in (files | limits).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return str(tmp_path)

    return write


def of_v1(mount="/sys/fs/cgroup/cpu,cpuacct", top="/", names="cpu,cpuacct"):
    """Returns the mounts of version 1's controller."""
    return V1.format(mount=mount, top=top, names=names)


def of_v2(mount="/sys/fs/cgroup", top="/"):
    """Returns the mount of version 2."""
    return V2.format(mount=mount, top=top)


def quota(folder, microseconds, period=100000):
    """Returns the two files of version 1."""
    return {f"{folder}/cpu.cfs_quota_us": f"{microseconds}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("150000 100000\n", 1.5),
        ("25000 50000\n", 0.5),
        ("6400000 100000", 64),
        ("max 100000\n", math.inf),
        ("max", math.inf),
        ("", math.inf),
        ("0 100000", math.inf),
        ("100000 0", math.inf),
        ("-1 100000", math.inf),
        ("a b c", math.inf),
    ],
)
def test_limit_of_version_2(machine, limit, expected):
    """A container sees its own cgroup at the top of the mount."""
    assert find_cpu_limit(machine("0::/\n", of_v2(), **{"sys/fs/cgroup/cpu.max": limit})) == expected


@pytest.mark.parametrize(
    ("microseconds", "period", "expected"),
    [(150000, 100000, 1.5), (-1, 100000, math.inf), (0, 100000, math.inf), (100000, "", math.inf), ("x", 1, math.inf)],
)
def test_limit_of_version_1(machine, microseconds, period, expected):
    """The controller is mounted beside `cpuacct`; the cgroups of other controllers do not count."""
    cgroup = "9:name=systemd:/\n4:memory:/small\n3:cpuset:/small\n1:cpu,cpuacct:/\n"
    here = quota("sys/fs/cgroup/cpu,cpuacct", microseconds, period)
    others = quota("sys/fs/cgroup/cpu,cpuacct/small", 1000)
    assert find_cpu_limit(machine(cgroup, of_v1(), **here, **others)) == expected


@pytest.mark.parametrize("lowest", ["kubepods", "kubepods/pod1", "kubepods/pod1/box"])
def test_each_cgroup_above_limits_as_well(machine, lowest):
    """The kernel enforces all of them: a pod's limit holds for its containers; a cgroup beside the path does not."""
    limits = {f"sys/fs/cgroup/{path}/cpu.max": "800000 100000" for path in ("kubepods", "kubepods/pod1/box")}
    limits |= {f"sys/fs/cgroup/{lowest}/cpu.max": "300000 100000", "sys/fs/cgroup/kubepods/pod2/cpu.max": "1 100000"}
    assert find_cpu_limit(machine("0::/kubepods/pod1/box\n", of_v2(), **limits)) == 3


def test_cgroup_is_found_below_the_top_of_its_mount(machine):
    """Docker without a cgroup namespace: the path is the machine's, and the mount shows the container's part of it."""
    cgroup, mounts = "1:cpu,cpuacct:/docker/a1/inner\n", of_v1(top="/docker/a1")
    root = machine(cgroup, mounts, **quota("sys/fs/cgroup/cpu,cpuacct", 400000))
    assert find_cpu_limit(root) == 4
    machine(cgroup, mounts, **quota("sys/fs/cgroup/cpu,cpuacct/inner", 200000))
    assert find_cpu_limit(root) == 2
    machine(cgroup, "")  # nothing is mounted
    assert find_cpu_limit(root) == math.inf


@pytest.mark.parametrize("path", ["/../elsewhere", "/another/part"])
def test_cgroup_that_no_mount_shows_has_the_limit_of_the_top(machine, path):
    """The folder above the mount is none of the process' cgroups, whatever lies there."""
    limits = {"sys/fs/cgroup/cpu.max": "500000 100000", "sys/fs/elsewhere/cpu.max": "100000 100000"}
    assert find_cpu_limit(machine(f"0::{path}\n", of_v2(top="/part"), **limits)) == 5


def test_both_versions_at_once(machine):
    """The hybrid of systemd: the CPU limit is in version 1, with names to escape; version 2 has no controller."""
    mounts = of_v2("/sys/fs/cgroup/unified") + of_v1(r"/sys/fs/cpu\040time", names="cpu")
    limits = quota("sys/fs/cpu time/a b", 700000) | {"sys/fs/cgroup/unified/cpu.max": "900000 100000"}
    assert find_cpu_limit(machine("1:cpu:/a b\n0::/\n", mounts, **limits)) == 7


@pytest.mark.parametrize(
    "text", ["", "\n\n", "::::\n0\n:cpu\n", "a b c - cgroup2\n", "1 2 3 / /x -\n - cgroup a cpu\n"]
)
def test_files_of_another_form_are_no_limit(machine, text, tmp_path):
    """Nor is a machine without the files."""
    assert find_cpu_limit(str(tmp_path / "none")) == math.inf
    assert find_cpu_limit(machine(text, text)) == math.inf
    assert find_cpu_limit(machine("0::/\n", text)) == math.inf
    assert find_cpu_limit(machine(text, of_v2(), **{"sys/fs/cgroup/cpu.max": "1 1"})) == math.inf


@pytest.mark.parametrize(
    ("affinity", "limit", "expected"), [(64, "150000", 2), (64, "1000", 1), (4, "max", 4), (4, "800000", 4)]
)
def test_the_lower_of_affinity_and_limit_counts(machine, monkeypatch, affinity, limit, expected):
    """A part of a core is a core, as joblib has it, and there is always one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
    assert count_cores(machine("0::/\n", of_v2(), **{"sys/fs/cgroup/cpu.max": f"{limit} 100000"})) == expected


def test_affinity_of_a_real_process_counts():
    """A process that `taskset` or a cpuset binds to one core may use one."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from serving.process.cores import *; print(count_cores())"
    )
    printed = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert printed.stdout == "1\n"


@pytest.fixture
def no_pools(monkeypatch):
    """Removes the variables; returns a function that reads them."""
    for name in POOLS:
        monkeypatch.setenv(name, "")  # so that the test's end removes what is set meanwhile
        monkeypatch.delenv(name)
    return lambda: [os.environ.get(name) for name in POOLS]


def test_pools_of_libraries_are_bounded_by_a_limit(machine, no_pools, monkeypatch):
    """On Kubernetes a limit of 2 on a machine of 64 makes 2 threads; the user's own number stays."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    root = machine("0::/\n", of_v2(), **{"sys/fs/cgroup/cpu.max": "max 100000"})
    bound_thread_pools(root)
    assert no_pools() == [None, None, None]
    machine("0::/\n", of_v2(), **{"sys/fs/cgroup/cpu.max": "200000 100000"})
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "5")
    bound_thread_pools(root)
    assert no_pools() == ["5", "2", "2"]


def test_pools_are_bounded_by_the_affinity_of_a_whole_machine(machine, no_pools, monkeypatch):
    """Otherwise pyarrow goes by the machine's cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    bound_thread_pools(machine("0::/\n", of_v2()))
    assert no_pools() == ["1", "1", "1"]


def test_server_bounds_its_pools_before_it_imports_tensorflow(monkeypatch):
    """The module that imports TensorFlow is a stand-in here, which notes what was done before."""
    done = []
    monkeypatch.setattr(cores, "bound_thread_pools", lambda: done.append("bounded"))
    monkeypatch.setitem(sys.modules, "serving.server.main", types.SimpleNamespace(main=done.append))
    monkeypatch.setattr(sys, "argv", ["serving.server", "--port=0"])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    runpy.run_module("serving.server.__main__", run_name="__main__")
    assert done == ["bounded", ["--port=0"]]


def test_nothing_else_counts_cores():
    """Each pool goes by the one number; the benchmark of cores reads the affinity to bind its processes."""
    asks = re.compile(r"cpu_count|sched_getaffinity|multiprocessing\.cpu|len\(.*affinity")
    folders = ("schema", "serving", "components", "pipeline", "kubeflow", "benchmarks", "tests")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in sources if asks.search(path.read_text(encoding="utf-8"))}
    assert found == {"serving/process/cores.py", "benchmarks/cores.py", "tests/serving/process/test_cores.py"}
