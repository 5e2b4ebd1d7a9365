"""Checks before a run that a Beam worker has the same code and sees the same folders as this machine.

A worker without the code fails in the first step, with a traceback from another machine. A worker that does not see the
images does not fail: it puts them into quarantine as unreadable.
"""

import contextlib
import json
import logging
import os
import platform
import re
import uuid
from collections.abc import Mapping

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.runners.runner import PipelineState

from pipeline.beam import jobs
from pipeline.beam.causes import find_first_cause
from pipeline.beam.engines import beam_pipeline_args, prepare_code
from pipeline.beam.faults import explain_engine_error
from pipeline.config.config import Beam
from schema.errors import UsageError

_SECONDS = 180  # limit for a worker to answer; a pod may have to start first
_DETAILS = re.compile(r'details = "(.*?)\.?"$', re.MULTILINE)
_ENDED = ("stopped before the first component: nothing was done.", "The whole error is in graft.log.")
_SHARED = "Workers on other machines need the same folders at the same paths, or a bucket"


def check_workers(config: Beam, paths: Mapping[str, str], seconds: float = _SECONDS) -> None:
    """Checks a worker by a job of one element; takes some seconds.

    Skips the direct runner, which is this process, and Dataflow, which takes minutes to answer.

    Args:
        config: configuration that `check_engine` has checked.
        paths: files and folders that workers need, by key; they write to "out".
        seconds: time limit in seconds.
    Raises:
        UsageError: if no worker starts, or the worker lacks a folder or has other code.
        GraftError: if a part of the engine does not answer.
    """
    if config.runner in ("direct", "dataflow"):
        return
    prepare_code(config, paths["out"])
    answer = os.path.join(paths["out"], f".worker-{uuid.uuid4().hex}.json")
    try:
        _run_check(beam_pipeline_args(config, paths["out"]), dict(paths), answer, seconds)
        found = _read_answer(answer)
    finally:
        with contextlib.suppress(OSError):
            FileSystems.delete([answer])
    if found is None:
        raise UsageError(
            f"out: expected a folder that the workers of Beam see; they do not write to {paths['out']}. {_SHARED}."
        )
    if found["missing"]:
        key = found["missing"][0]
        raise UsageError(
            f"{key}: expected a path that the workers of Beam see; one on {found['host']} does not find {paths[key]}. "
            f"{_SHARED}."
        )
    here = describe_code()
    if found["code"] != here:
        raise UsageError(
            f"beam: the workers run other code than this machine: {_describe(found['code'])}; expected "
            f"{_describe(here)}. Give them the same Graft and the same libraries: docs/beam.md."
        )


def _run_check(args: list[str], paths: dict[str, str], answer: str, seconds: float) -> None:
    pipeline = beam.Pipeline(argv=args)
    _ = pipeline | beam.Create([paths]) | "AskWorker" >> beam.Map(write_answer, answer)
    try:
        result = pipeline.run()
        state = result.wait_until_finish(duration=int(seconds * 1000))
    except Exception as error:
        logging.exception("the check of Beam's workers failed")
        raise explain_engine_error(error, *_ENDED) or UsageError(
            f"beam: no worker runs Graft's code: {_find_reason(error)}. docs/beam.md says what one needs."
        ) from error
    if state != PipelineState.DONE:
        with contextlib.suppress(Exception):
            result.cancel()
        raise UsageError(
            f"beam: no worker has answered within {seconds:g} s. Look whether the workers of beam.environment run, and "
            "at the log of the engine's part that starts them: with Flink the TaskManager's, and not the job server's.",
            *(job.describe_cancel() for job in jobs.list_running()),
        )


def write_answer(paths: dict[str, str], answer: str) -> None:
    """Writes the host, missing paths and code of this worker to a file, as JSON; runs on the worker."""
    found = {
        "host": platform.node(),
        "missing": [key for key, path in paths.items() if "://" not in path and not os.path.exists(path)],
        "code": describe_code(),
    }
    if "out" not in found["missing"]:
        with FileSystems.create(answer) as file:
            file.write(json.dumps(found).encode())


def describe_code() -> dict[str, str]:
    """Returns the versions that must be equal on both sides: Python and Beam, which pickle objects, and the code."""
    from pipeline.code_digests import read_code_digests

    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, "beam": beam.__version__, "code": read_code_digests().workers[:12]}


def _describe(code: dict[str, str]) -> str:
    return f"Python {code['python']}, Beam {code['beam']}, code and libraries {code['code']}"


def _read_answer(answer: str) -> dict | None:
    if not FileSystems.exists(answer):
        return None
    with FileSystems.open(answer) as file:
        return dict(json.loads(file.read()))


def _find_reason(error: Exception) -> str:
    """Returns gRPC's details of an error, or the first cause in its chain."""
    if details := _DETAILS.search(str(error)):
        return details[1]
    told = str(error).partition(" failed in state FAILED: ")[2] or str(error)
    return find_first_cause(told).rstrip(".") or type(error).__name__
