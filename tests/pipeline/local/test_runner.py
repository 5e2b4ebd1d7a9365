"""The cache of a local run, and what a component leaves whose job runs on in another engine."""

import pathlib
from typing import ClassVar

import pytest
from apache_beam.runners.direct.direct_runner import SwitchingDirectRunner
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from pipeline.beam import jobs
from pipeline.beam.engines import beam_pipeline_args
from pipeline.config.config import Beam
from pipeline.local.runner import LocalRunner

JOB = jobs.Job("BeamApp-1_uuid", "flink:8099", flink=True)


class NoteExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes Beam's arguments; a setting of "gone" leaves a job behind, "failed" fails without one."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 - as TFX calls it
        uri = artifact_utils.get_single_uri(output_dict["model"])
        pathlib.Path(uri, "args").write_text("\n".join(self._beam_pipeline_args))
        jobs.add(JOB)
        if exec_properties["setting"] == "gone":
            raise RuntimeError("the job server is gone")
        jobs.remove(JOB)
        if exec_properties["setting"] == "failed":
            raise RuntimeError("the job has failed")


class NoteSpec(ComponentSpec):
    """A setting in, a model out."""

    PARAMETERS: ClassVar = {"setting": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {}
    OUTPUTS: ClassVar = {"model": ChannelParameter(type=standard_artifacts.Model)}


class Note(base_beam_component.BaseBeamComponent):
    """Component that uses Beam and needs nothing."""

    SPEC_CLASS = NoteSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(NoteExecutor)

    def __init__(self, setting):
        super().__init__(NoteSpec(setting=setting, model=types.Channel(type=standard_artifacts.Model)))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function that runs the component; gives the URI of its output, and whether it was cached."""
    monkeypatch.setattr(jobs, "_running", {})
    numbers = iter("123456789")

    def run_with(setting, **beam):
        finished = []
        pipeline = Pipeline(
            "graft",
            str(tmp_path / "pipeline"),
            components=[Note(setting)],
            enable_cache=True,
            beam_pipeline_args=beam_pipeline_args(Beam(**beam), str(tmp_path)),
            metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")),
        )
        LocalRunner(next(numbers), lambda name: None, lambda found: finished.append(found) or True).run(pipeline)
        return finished[0].outputs["model"].uri, finished[0].cached

    return run_with


def test_another_engine_or_other_arguments_of_beam_run_nothing_anew(run):
    """Neither the runner's name nor the wheel's path, the number of workers or the limit; a setting does."""
    first, cached = run("one")
    assert not cached
    portable = {"runner": "portable", "job_endpoint": "localhost:8099"}
    for beam in (
        {"args": ["--direct_num_workers=2"]},
        portable,
        portable | {"parallelism": 7, "max_silent_minutes": 3},
        {"runner": "flink", "job_endpoint": "flink:8099", "args": ["--checkpointing_interval=1000"]},
    ):
        assert run("one", **beam) == (first, True)
    again, cached = run("another", **portable)
    assert not cached
    args = pathlib.Path(again, "args").read_text().splitlines()
    assert "--job_endpoint=localhost:8099" in args
    assert run("another") == (again, True)


@pytest.mark.parametrize(("setting", "stays"), [("gone", True), ("failed", False)])
def test_the_output_of_a_failed_component_stays_where_its_job_may_run_on(run, tmp_path, setting, stays):
    """With a note of the job, for the next run."""
    with pytest.raises(RuntimeError, match="the job"):
        run(setting)
    assert (tmp_path / "pipeline/Note/model/1/args").exists() == stays
    notes = list((tmp_path / "pipeline/Note/.system/executor_execution/1").glob("job-*.json"))
    assert [jobs.read_note(str(note)) for note in notes] == [JOB] * stays


def test_a_run_keeps_beam_in_its_process(run, monkeypatch):
    """Else Beam would fetch a program, and run the pipelines on that."""
    monkeypatch.setattr(SwitchingDirectRunner, "_is_interactive", False)
    run("one")
    assert SwitchingDirectRunner._is_interactive


def test_a_component_that_has_finished_leaves_no_note(run, tmp_path):
    """Its job has ended."""
    run("one")
    assert not list(tmp_path.rglob("job-*.json"))
