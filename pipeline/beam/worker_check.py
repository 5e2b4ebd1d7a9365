"""Asks a worker of Beam, before a run, whether it has our code and sees our folders.

Without these a run would fail in its first step, with a traceback from another machine; or not fail at all: images that
a worker does not see are images that cannot be read, and go to quarantine.
"""

import contextlib
import json
import os
import platform
import re
import uuid
from collections.abc import Mapping

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.runners.runner import PipelineState

from pipeline.beam.engines import beam_pipeline_args
from pipeline.config.config import Beam
from schema.errors import UsageError

_SECONDS = 180  # for a worker to answer; a pod may have to be started for it
_DETAILS = re.compile(r'details = "(.*?)\.?"$', re.MULTILINE)
_SHARED = "Workers on other machines need the same folders at the same paths, or a bucket"


def check_workers(config: Beam, places: Mapping[str, str], seconds: float = _SECONDS) -> None:
    """Runs a job of one element; takes some seconds.

    Nothing is asked of the direct runner, which is this process, and of Dataflow, which takes minutes to answer.

    Args:
        config: what the user asked for, checked by `check_engine`.
        places: files and folders that workers need, by what the user calls them; "out" is the one that they write to.
        seconds: how long to wait.
    Raises:
        UsageError: if no worker starts, or the one that does lacks something.
    """
    if config.runner in ("direct", "dataflow"):
        return
    answer = os.path.join(places["out"], f".worker-{uuid.uuid4().hex}.json")
    try:
        _ask(beam_pipeline_args(config, places["out"]), dict(places), answer, seconds)
        found = _read_answer(answer)
    finally:
        with contextlib.suppress(OSError):
            FileSystems.delete([answer])
    if found is None:
        raise UsageError(
            f"out: expected a folder that the workers of Beam see; they do not write to {places['out']}. {_SHARED}."
        )
    if found["missing"]:
        key = found["missing"][0]
        raise UsageError(
            f"{key}: expected what the workers of Beam see; one on {found['host']} does not find {places[key]}. "
            f"{_SHARED}."
        )
    here = describe_code()
    if found["code"] != here:
        raise UsageError(
            f"beam: the workers run other code than this machine: {_describe(found['code'])}; expected "
            f"{_describe(here)}. Give them the same Graft and the same libraries: docs/beam.md."
        )


def _ask(args: list[str], places: dict[str, str], answer: str, seconds: float) -> None:
    pipeline = beam.Pipeline(argv=args)
    _ = pipeline | beam.Create([places]) | "AskWorker" >> beam.Map(write_answer, answer)
    try:
        result = pipeline.run()
        state = result.wait_until_finish(duration=int(seconds * 1000))
    except Exception as error:
        raise UsageError(
            f"beam: no worker runs Graft's code: {_find_reason(error)}. docs/beam.md says what one needs."
        ) from error
    if state != PipelineState.DONE:
        with contextlib.suppress(Exception):
            result.cancel()
        raise UsageError(
            f"beam: no worker has answered within {seconds:g} s. Look whether what beam.environment names is running, "
            "and at the log of the job server."
        )


def write_answer(places: dict[str, str], answer: str) -> None:
    """What a worker says of itself."""
    found = {
        "host": platform.node(),
        "missing": [key for key, place in places.items() if "://" not in place and not os.path.exists(place)],
        "code": describe_code(),
    }
    if "out" not in found["missing"]:
        with FileSystems.create(answer) as file:
            file.write(json.dumps(found).encode())


def describe_code() -> dict[str, str]:
    """What must be equal on both sides: our code with its libraries, and what objects are pickled with."""
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
    """What gRPC says of an address, or the end of a traceback without what Beam puts behind it."""
    if details := _DETAILS.search(str(error)):
        return details[1]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(" [while running")[0].rstrip(".") if lines else type(error).__name__
