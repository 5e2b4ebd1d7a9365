"""Trial of a model in a model server: predictions by gRPC and REST, compared with those in this process."""

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
    SCORE,
    TOLERANCE,
    TOLERANCE_OF_ANOTHER_BUILD,
    Outputs,
    check_agreement,
    check_heat_maps,
    check_metadata,
    check_outputs,
    read_image_size,
)
from components.transform.samples import get_image
from schema.errors import GraftError
from serving.client import launch
from serving.client.client import BATCH, Client, ServerError, connect
from serving.export import explanation, signatures
from serving.export.calibration import read_calibration
from serving.releases import versions

_LARGEST_REQUEST = 1 << 30  # bytes; the limit of a server in production is not the model's fault
_TIMEOUT = 30.0  # seconds; more if `max_latency_ms` allows a batch more
_TOO_BUSY = {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "408", "429", "503", "504"}
_BATCH_SIZES = {"one by one": 1, "in batches": BATCH}  # images a request, by the name in a message
EXPLAINED = BATCH  # images, in one request to each endpoint; 0 for none
_OUTPUTS = "probabilities", "label", "classes", "accepted"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Upper bounds on the latency of a request with one image, and on the server's resident memory."""

    max_latency_ms: float
    max_serving_mb: float

    @property
    def timeout(self) -> float:
        """Timeout of a request, in seconds."""
        return max(_TIMEOUT, 2 * BATCH * self.max_latency_ms / 1000)


@dataclasses.dataclass(frozen=True)
class _Predictions:
    """Predictions for all images.

    Attributes:
        outputs: outputs by the names of `_BATCH_SIZES`.
        milliseconds: median time of a request with one image.
        threshold: threshold of the model, see `checks.check_outputs`.
    """

    outputs: dict[str, Outputs]
    milliseconds: float
    threshold: float | None = None


class _RejectedError(Exception):
    """Rejection of a model; each argument is a reason."""


def try_model(
    path: str, model_name: str, examples: Sequence[bytes], classes: Sequence[str], limits: Limits
) -> ServingVerdict:
    """Serves a model, sends test images, and checks predictions, latency and memory.

    Args:
        path: folder of the SavedModel.
        model_name: name of the model in the server.
        examples: serialized tf.Examples with an image, which are sent one by one and in batches.
        classes: class names, in the order of the outputs.
        limits: upper bounds on latency and memory.
    Returns:
        The verdict. A model is rejected only for its own faults, because TFX caches the verdict.
    Raises:
        GraftError: if the server cannot be started, does not come up in time, or is killed, for reasons of the machine:
            no free port, a broken binary, no memory. The same run can then be tried again.
    """
    try:
        server, answers, memory_mb = _serve_and_predict(path, model_name, examples, classes, limits)
    except _RejectedError as rejection:
        return ServingVerdict(
            blessed=False,
            reasons=list(rejection.args),
            server=launch.find_binary() or launch.BUILT_IN,
            images=len(examples),
        )
    by_grpc, by_rest = (predictions.milliseconds for predictions in answers)
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


def _serve_and_predict(
    path: str, model_name: str, examples: Sequence[bytes], classes: Sequence[str], limits: Limits
) -> tuple[str, list[_Predictions], float]:
    """Serves a model and checks its predictions.

    Returns:
        Name of the server, predictions by gRPC and by REST, and resident memory of the server in MB.
    Raises:
        _RejectedError: if the server does not load the model, or a prediction is wrong.
    """
    images = [get_image(example) for example in examples]
    with futures.ThreadPoolExecutor(1) as pool:
        in_process = pool.submit(_predict_in_process, path, examples, classes)  # while the server starts
        progress.report("starting the model server")
        with _serve(path, model_name, limits) as server:
            progress.report("predicting without a server")
            expected = in_process.result()
            answers = _predict_by_server(server, model_name, images, expected, classes, limits)
            memory_mb = server.memory_bytes / 1e6
            progress.report("stopping the model server")
    return server.name, answers, memory_mb


def _predict_in_process(path: str, examples: Sequence[bytes], classes: Sequence[str]) -> _Predictions:
    """Predicts serialized examples with the SavedModel in this process.

    Raises:
        _RejectedError: if the model cannot be loaded, has another class list, or its outputs are not consistent.
    """
    threshold = read_calibration(path).threshold
    try:
        with tf.device("/CPU:0"):
            loaded = tf.saved_model.load(path)
            predict = _call_signature if threshold is None else _call_with_score
            names = _OUTPUTS if threshold is None else (*_OUTPUTS, SCORE)
            answers = _predict_all(lambda batch: predict(loaded, tf.constant(batch)), examples, names=names)
        listed = signatures.read_classes(path)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise  # the machine's fault
    except Exception as error:  # a torn or foreign file can make any part of the loader fail
        logging.warning("The model cannot be loaded, or cannot predict.", exc_info=error)
        raise _RejectedError(f"cannot be loaded, or cannot predict, in this process: {_first_line(error)}") from error
    if listed != list(classes):
        raise _RejectedError(f"{signatures.CLASSES} is not the class list of this run")
    for outputs in answers.outputs.values():
        _reject_if("the signature examples", check_outputs(outputs, outputs, classes, threshold=threshold))
    return dataclasses.replace(answers, threshold=threshold)


def _call_signature(loaded: tf.Module, examples: tf.Tensor) -> Outputs:
    """Returns the outputs of the signature `examples`, as the Evaluator reads them."""
    outputs = loaded.signatures[signatures.EXAMPLES](examples=examples)
    return {name: value.numpy() for name, value in outputs.items()}


def _call_with_score(loaded: tf.Module, examples: tf.Tensor) -> Outputs:
    """Returns the outputs of the signature `examples` with the score of each image, by the function that it calls."""
    outputs, score = loaded.score_examples(examples)
    return {name: value.numpy() for name, value in {**outputs, SCORE: score}.items()}


def _predict_all(
    predict: Callable[[Sequence[bytes]], Outputs],
    values: Sequence[bytes],
    step: str = "",
    names: Sequence[str] = _OUTPUTS,
) -> _Predictions:
    """Predicts one by one and in batches, because the two differ in the last bits.

    Args:
        predict: returns the outputs for a batch of values.
        values: encoded images or serialized examples.
        step: name of the step in the progress; "" reports no progress.
        names: outputs to keep.
    """
    outputs: dict[str, Outputs] = {}
    milliseconds = []
    for way, size in _BATCH_SIZES.items():
        parts = []
        for first in range(0, len(values), size):
            start = time.perf_counter()
            parts.append(predict(values[first : first + size]))
            if step:
                progress.report(step, len(values[first : first + size]), len(_BATCH_SIZES) * len(values))
            if size == 1:
                milliseconds.append((time.perf_counter() - start) * 1000)
        outputs[way] = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return _Predictions(outputs, statistics.median(milliseconds))


@contextlib.contextmanager
def _serve(path: str, model_name: str, limits: Limits) -> Iterator[launch.RunningServer]:
    """Starts a server with the model as version 1, and kills that server at the end.

    Raises:
        _RejectedError: if the server does not load the model.
    """
    binary = launch.find_binary()
    flags = [f"--rest_api_timeout_in_ms={round(limits.timeout * 1000)}"]
    # TensorFlow Serving tries a torn model again each minute; the built-in server bounds requests.
    flags.append("--max_num_load_retries=0" if binary else f"--max_request_bytes={_LARGEST_REQUEST}")
    with tempfile.TemporaryDirectory(prefix="graft-candidate-") as folder:
        _place_model(path, os.path.join(folder, model_name, "1"))
        try:
            with launch.start_server(
                model_name, os.path.join(folder, model_name), binary, flags, environment=launch.ON_CPU
            ) as server:
                yield server
                server.process.kill()  # a clean end takes seconds, and the server has no request to finish
        except launch.LoadError as error:
            raise _RejectedError(f"the model server does not load it: {error.reason}") from error


def _place_model(path: str, target: str) -> None:
    """Links a SavedModel on this machine to the server's folder; copies one from a store."""
    os.makedirs(os.path.dirname(target))
    if "://" in path:
        versions.copy_tree(path, target)
    else:
        os.symlink(os.path.abspath(path), target)


def _predict_by_server(
    server: launch.RunningServer,
    model_name: str,
    images: Sequence[bytes],
    expected: _Predictions,
    classes: Sequence[str],
    limits: Limits,
) -> list[_Predictions]:
    """Predicts by gRPC and by REST, and compares both with the expected predictions and with each other.

    Raises:
        _RejectedError: if metadata or predictions are wrong.
        GraftError: if the server was too busy, or was killed.
    """
    tolerance = TOLERANCE if server.name == launch.BUILT_IN else TOLERANCE_OF_ANOTHER_BUILD
    both = []
    for endpoint, address in (("gRPC", f"grpc://{server.grpc_address}"), ("REST", server.rest_address)):
        try:
            with connect(address, model_name, timeout=limits.timeout) as client:
                metadata = client.metadata()
                if problems := check_metadata(metadata):
                    raise _RejectedError(*(f"by {endpoint}: {problem}" for problem in problems))
                both.append(_predict_all(client.predict_on_batch, images, f"answers by {endpoint}"))
                problem = _try_heat_maps(client, images[:EXPLAINED], read_image_size(metadata)) if EXPLAINED else ""
        except (ServerError, KeyError, ValueError) as error:  # an answer of another form than the metadata says
            logging.warning("The model server says:\n%s", server.describe_end(), exc_info=error)
            raise _RejectedError(f"by {endpoint}: {_explain(server, error)}") from error
        _reject_if(f"{signatures.EXPLAIN} by {endpoint}", problem)
        for way, outputs in both[-1].outputs.items():
            problem = check_outputs(outputs, expected.outputs[way], classes, tolerance, expected.threshold)
            _reject_if(f"by {endpoint}, {way}", problem)
    for way in _BATCH_SIZES:
        _reject_if(f"gRPC and REST, {way}", check_agreement(*(answers.outputs[way] for answers in both)))
    return both


def _try_heat_maps(client: Client, images: Sequence[bytes], image_size: int) -> str:
    """Asks for heat maps of images, and returns the first problem, or ""."""
    heat_maps = client.predict_on_batch(images, signatures.EXPLAIN)[explanation.HEATMAP]
    return check_heat_maps(heat_maps, len(images), image_size)


def _explain(server: launch.RunningServer, error: Exception) -> str:
    """Returns the reason why a server did not answer, if the model may be at fault.

    Raises:
        GraftError: if the server was too busy, or was killed, which Linux does for lack of memory. Another try may
            succeed.
    """
    ended = server.process.poll()
    if ended is None and isinstance(error, ServerError) and error.code in _TOO_BUSY:
        raise GraftError(
            f"{server.name} was too busy to answer: {error}. Run again when this machine has less to do: what is "
            "finished is kept."
        ) from error
    if ended == -signal.SIGKILL:
        raise GraftError(
            f"{server.name} was killed during a request; perhaps the memory of this machine did not suffice. "
            "Run again: what is finished is kept."
        ) from error
    return _first_line(error) if ended is None else f"the server ended with {ended} during a request"


def _check_limits(milliseconds: float, memory_mb: float, limits: Limits) -> list[str]:
    reasons = []
    if milliseconds > limits.max_latency_ms:
        reasons.append(
            f"an image took {milliseconds:.3g} ms (median, by gRPC); max_latency_ms allows {limits.max_latency_ms:g}"
        )
    if memory_mb > limits.max_serving_mb:
        reasons.append(f"the server holds {memory_mb:.0f} MB; max_serving_mb allows {limits.max_serving_mb:g}")
    return reasons


def _reject_if(where: str, problem: str) -> None:
    if problem:
        raise _RejectedError(f"{where}: {problem}")


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):  # the text of a KeyError is the name alone
        return f"there is no {error}"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
