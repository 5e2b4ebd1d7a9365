"""Tries a model in a model server of its own, as clients will meet it: by gRPC and by REST."""

import contextlib
import dataclasses
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf
from absl import logging

from components import progress
from components.records.serving_verdict import ServingVerdict
from components.serving_validator.checks import (
    TOLERANCE,
    TOLERANCE_OF_ANOTHER_BUILD,
    Outputs,
    check_agreement,
    check_metadata,
    check_outputs,
)
from components.transform.samples import get_image
from schema.errors import GraftError
from serving.client import launch
from serving.client.client import BATCH, ServerError, connect
from serving.export import signatures
from serving.releases import versions

_ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1"}  # this process has the memory of the GPUs, and they round otherwise
_LARGEST_REQUEST = 1 << 30  # bytes; how much a server takes is for whoever runs it
_TIMEOUT = 30.0  # seconds, or what the ceiling allows a batch
_TOO_BUSY = {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "408", "429", "503", "504"}
_WAYS = {"one by one": 1, "in batches": BATCH}  # images a request
_OUTPUTS = "probabilities", "label", "classes"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Ceilings against the absurd: of a request with one image, and of the server's resident memory."""

    max_latency_ms: float
    max_serving_mb: float

    @property
    def timeout(self) -> float:
        """Seconds for any request; a server that takes longer need not be waited for."""
        return max(_TIMEOUT, 2 * BATCH * self.max_latency_ms / 1000)


@dataclasses.dataclass(frozen=True)
class _Answers:
    """What somebody says to all images, each way of `_WAYS`, and how long one image took (median)."""

    outputs: dict[str, Outputs]
    milliseconds: float


class _RefusedError(Exception):
    """What is wrong with a model, in words, each an argument."""


def try_model(
    path: str, model_name: str, examples: Sequence[bytes], classes: Sequence[str], limits: Limits
) -> ServingVerdict:
    """Serves a model and asks it.

    Args:
        path: of the SavedModel.
        model_name: what the server is to call it.
        examples: serialized tf.Examples with an image, which are asked one by one and in batches.
        classes: the names in the order of the outputs.
        limits: on time and memory.
    Returns:
        The verdict. Only what is certainly the model's fault is a refusal, for it is cached.
    Raises:
        GraftError: if the server cannot be started, does not come up in time, or is killed, for reasons of the machine:
            no free port, a broken binary, no memory. The same run can then be tried again.
    """
    try:
        server, answers, memory_mb = _try(path, model_name, examples, classes, limits)
    except _RefusedError as refusal:
        return ServingVerdict(
            blessed=False,
            reasons=list(refusal.args),
            server=launch.find_binary() or launch.BUILT_IN,
            images=len(examples),
        )
    by_grpc, by_rest = (answer.milliseconds for answer in answers)
    reasons = _check_limits(by_grpc, memory_mb, limits)
    return ServingVerdict(
        blessed=not reasons,
        reasons=reasons,
        server=server,
        images=len(examples),
        median_ms_grpc=by_grpc,
        median_ms_rest=by_rest,
        memory_mb=memory_mb,
    )


def _try(
    path: str, model_name: str, examples: Sequence[bytes], classes: Sequence[str], limits: Limits
) -> tuple[str, list[_Answers], float]:
    """Serves a model and asks it; returns the server's name, its answers by gRPC and REST, and its memory in MB.

    Raises:
        _RefusedError: if the model is not served, or answers otherwise than it should.
    """
    images = [get_image(example) for example in examples]
    with futures.ThreadPoolExecutor(1) as pool:
        asked_here = pool.submit(_ask_here, path, examples, classes)  # while the server starts
        progress.report("starting the model server")
        with _serve(path, model_name, limits) as server:
            progress.report("asking the model without a server")
            expected = asked_here.result()
            answers = _ask_server(server, model_name, images, expected, classes, limits)
            memory_mb = server.memory_bytes / 1e6
            progress.report("stopping the model server")
    return server.name, answers, memory_mb


def _ask_here(path: str, examples: Sequence[bytes], classes: Sequence[str]) -> _Answers:
    """Asks as the Evaluator does: the SavedModel in this process, by its signature `examples`."""
    try:
        with tf.device("/CPU:0"):
            loaded = tf.saved_model.load(path)
            answers = _ask_all_ways(lambda batch: _ask_signature(loaded, batch), examples)
        listed = signatures.read_classes(path)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise  # the machine's fault
    except Exception as error:  # a torn or foreign file can make any part of the loader fail
        logging.warning("The model cannot be loaded and asked.", exc_info=error)
        raise _RefusedError(f"cannot be loaded and asked here: {_first_line(error)}") from error
    if listed != list(classes):
        raise _RefusedError(f"{signatures.CLASSES} is not the class list of this run")
    for outputs in answers.outputs.values():
        _refuse_if("the signature examples", check_outputs(outputs, outputs, classes))
    return answers


def _ask_signature(loaded: tf.Module, batch: Sequence[bytes]) -> Outputs:
    answer = loaded.signatures[signatures.EXAMPLES](examples=tf.constant(batch))
    return {name: value.numpy() for name, value in answer.items()}


def _ask_all_ways(ask: Callable[[Sequence[bytes]], Outputs], values: Sequence[bytes], step: str = "") -> _Answers:
    """Asks one by one and in batches: what is computed differently, and differs in the last bits.

    Args:
        ask: returns the answers to some values.
        values: what to ask with.
        step: what to report each answer as; "" reports nothing.
    """
    answers: dict[str, Outputs] = {}
    milliseconds = []
    for way, size in _WAYS.items():
        parts = []
        for first in range(0, len(values), size):
            start = time.perf_counter()
            parts.append(ask(values[first : first + size]))
            if step:
                progress.report(step, len(values[first : first + size]), len(_WAYS) * len(values))
            if size == 1:
                milliseconds.append((time.perf_counter() - start) * 1000)
        answers[way] = {name: np.concatenate([part[name] for part in parts]) for name in _OUTPUTS}
    return _Answers(answers, statistics.median(milliseconds))


@contextlib.contextmanager
def _serve(path: str, model_name: str, limits: Limits) -> Iterator[launch.RunningServer]:
    """Starts a server that sees the model as version 1."""
    binary = launch.find_binary()
    flags = [f"--rest_api_timeout_in_ms={round(limits.timeout * 1000)}"]
    # TensorFlow Serving tries a torn model again each minute; the built-in server bounds requests.
    flags.append("--max_num_load_retries=0" if binary else f"--max_request_bytes={_LARGEST_REQUEST}")
    with tempfile.TemporaryDirectory(prefix="graft-candidate-") as folder:
        _lay_out(path, os.path.join(folder, model_name, "1"))
        try:
            with launch.start_server(
                model_name, os.path.join(folder, model_name), binary, flags, environment=_ON_CPU
            ) as server:
                yield server
                server.process.kill()  # it has nothing to finish, and would take seconds for it
        except launch.LoadError as error:
            raise _RefusedError(f"the model server does not load it: {error.reason}") from error


def _lay_out(path: str, target: str) -> None:
    """Puts a SavedModel where a server looks for it, without a copy if it is on this machine."""
    os.makedirs(os.path.dirname(target))
    if "://" in path:
        versions.copy_tree(path, target)
    else:
        os.symlink(os.path.abspath(path), target)


def _ask_server(
    server: launch.RunningServer,
    model_name: str,
    images: Sequence[bytes],
    expected: _Answers,
    classes: Sequence[str],
    limits: Limits,
) -> list[_Answers]:
    """Asks by gRPC and by REST, and compares with what is expected and with each other."""
    tolerance = TOLERANCE if server.name == launch.BUILT_IN else TOLERANCE_OF_ANOTHER_BUILD
    both = []
    for face, address in (("gRPC", f"grpc://{server.grpc_address}"), ("REST", server.rest_address)):
        try:
            with connect(address, model_name, timeout=limits.timeout) as client:
                if problems := check_metadata(client.metadata()):
                    raise _RefusedError(*(f"by {face}: {problem}" for problem in problems))
                both.append(_ask_all_ways(client.predict_on_batch, images, f"answers by {face}"))
        except (ServerError, KeyError, ValueError) as error:  # an answer of another form than the metadata says
            logging.warning("The model server says:\n%s", server.describe_end(), exc_info=error)
            raise _RefusedError(f"by {face}: {_explain(server, error)}") from error
        for way, outputs in both[-1].outputs.items():
            _refuse_if(f"by {face}, {way}", check_outputs(outputs, expected.outputs[way], classes, tolerance))
    for way in _WAYS:
        _refuse_if(f"gRPC and REST, {way}", check_agreement(*(answers.outputs[way] for answers in both)))
    return both


def _explain(server: launch.RunningServer, error: Exception) -> str:
    """Why a server did not answer.

    Raises:
        GraftError: if it was too busy, or if somebody killed it, which is mostly Linux for lack of memory; next time
            there may be enough of either.
    """
    ended = server.process.poll()
    if ended is None and isinstance(error, ServerError) and error.code in _TOO_BUSY:
        raise GraftError(
            f"{server.name} was too busy to answer: {error}. Run again when this machine has less to do: what is "
            "finished is kept."
        ) from error
    if ended == -signal.SIGKILL:
        raise GraftError(
            f"{server.name} was killed while it was asked; perhaps the memory of this machine did not suffice. "
            "Run again: what is finished is kept."
        ) from error
    return _first_line(error) if ended is None else f"the server ended with {ended} when it was asked"


def _check_limits(milliseconds: float, memory_mb: float, limits: Limits) -> list[str]:
    reasons = []
    if milliseconds > limits.max_latency_ms:
        reasons.append(
            f"an image took {milliseconds:.3g} ms (median, by gRPC); max_latency_ms allows {limits.max_latency_ms:g}"
        )
    if memory_mb > limits.max_serving_mb:
        reasons.append(f"the server holds {memory_mb:.0f} MB; max_serving_mb allows {limits.max_serving_mb:g}")
    return reasons


def _refuse_if(where: str, problem: str) -> None:
    if problem:
        raise _RefusedError(f"{where}: {problem}")


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):  # which says no more than the name
        return f"there is no {error}"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
