"""Peak memory of a component."""

import pathlib
import subprocess
import sys

from pipeline.local import memory
from pipeline.local.memory import measure_memory

ROOT = pathlib.Path(__file__).parents[3]

ABOVE_ALL = """
from pipeline.local import memory
memory._INTERVAL = 60
with memory.measure_memory() as before:
    pass
with memory.measure_memory() as peak:
    held = b"x" * 300_000_000
    del held
print(peak.megabytes - before.megabytes)
"""
BELOW = """
import time
from pipeline.local import memory
memory._INTERVAL = 0.01
held = b"x" * 240_000_000
del held
with memory.measure_memory() as low:
    pass
with memory.measure_memory() as middle:
    before = middle._sampled
    held = b"x" * 60_000_000
    while middle._sampled < before + 48_000:
        time.sleep(0.01)
    del held
print(middle.megabytes - low.megabytes)
"""


def test_the_peak_has_what_was_freed_before_the_end():
    """Even if no sample falls into that moment, where the memory is the highest of the process: here a new one."""
    ended = subprocess.run([sys.executable, "-c", ABOVE_ALL], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(ended.stdout) > 250


def test_a_component_below_an_earlier_peak_has_its_own():
    """The kernel's mark is that of the whole process, so samples decide; a new process gives no other memory back."""
    ended = subprocess.run([sys.executable, "-c", BELOW], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 48 < float(ended.stdout) < 120


def test_a_system_without_the_file_has_no_figure(monkeypatch):
    monkeypatch.setattr(memory, "_STATUS", "/no such file")
    with measure_memory() as peak:
        pass
    assert peak.megabytes is None
