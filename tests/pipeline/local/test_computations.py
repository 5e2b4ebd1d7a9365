"""Device, precision, XLA and cores of the components of a run."""

import types

import pytest

from components import devices
from components.devices import Device
from components.records.computation import Computation
from components.records.embedding import EmbeddingSummary
from pipeline.local import computations
from pipeline.local.computations import describe_computations
from pipeline.local.report import _device_lines
from pipeline.local.runner import Finished, Output

H200 = Computation(device="NVIDIA H200", precision="bfloat16", xla=True, cores=16)


def finished(name, cached=False, **outputs):
    return Finished(name, 1.0, None, cached, {key: Output(str(uri), {}) for key, uri in outputs.items()})


@pytest.fixture
def card(monkeypatch):
    """A machine with an H200 and 16 cores."""
    monkeypatch.setattr(computations, "find_device", lambda: Device("NVIDIA H200", (9, 0), 1))
    monkeypatch.setattr(devices, "count_cores", lambda: 16)


def test_each_component_names_what_it_computed_with(card, tmp_path):
    """The Embedder by its record; what reads images, and the server that is tried, use the processor beside a card."""
    EmbeddingSummary(kind=None, trunk=None, images=1, computed=1, note="", computation=H200).write(str(tmp_path))
    names = ["ExampleGen", "DataGate", "Evaluator", "ServingValidator", "Pusher"]
    found = describe_computations([*map(finished, names), finished("Embedder", embeddings=tmp_path)])
    assert {name: computation.text for name, computation in found.items()} == {
        "ExampleGen": "CPU, 16 cores",
        "Evaluator": "NVIDIA H200, 16 cores",
        "ServingValidator": "CPU, 16 cores",
        "Embedder": "NVIDIA H200, bfloat16, with XLA, 16 cores",
    }


def test_what_an_earlier_run_computed_is_not_of_this_run(card, tmp_path):
    """Nor is an Embedder that found all images in the store."""
    EmbeddingSummary(kind=None, trunk=None, images=1, computed=0, note="").write(str(tmp_path))
    components = [finished("ExampleGen", cached=True), finished("Embedder", embeddings=tmp_path)]
    assert describe_computations(components) == {}


@pytest.mark.parametrize(
    ("computation", "lines"),
    [
        (H200, [("", "on NVIDIA H200, bfloat16, with XLA, 16 cores")]),
        (Computation(device="CPU", precision="float32", xla=False, cores=2), []),
        (None, []),
    ],
    ids=["card", "processor", "earlier Graft"],
)
def test_the_report_names_a_card_in_one_line(computation, lines):
    assert _device_lines(types.SimpleNamespace(computation=computation)) == lines
