"""Pipelines of the direct runner stay in this process."""

import apache_beam as beam
import pytest
from apache_beam.runners.direct.direct_runner import SwitchingDirectRunner
from apache_beam.runners.portability import prism_runner

from pipeline.beam.in_process import stay_in_process


@pytest.fixture
def tried(monkeypatch):
    """The pipelines that Beam tried to run on Prism, in a process in which nothing has kept it from that yet."""
    pipelines = []
    monkeypatch.setattr(SwitchingDirectRunner, "_is_interactive", False)
    monkeypatch.setattr(prism_runner.PrismRunner, "run_pipeline", lambda *a: pipelines.append(a) or 1 / 0)
    return pipelines


def run_pipeline():
    with beam.Pipeline() as pipeline:
        pipeline | beam.Create([1]) | beam.Map(str)


def test_beam_tries_no_program_from_elsewhere(tried):
    """By itself Beam does, and falls back where there is no network."""
    run_pipeline()
    assert len(tried) == 1
    stay_in_process()
    run_pipeline()
    assert len(tried) == 1
