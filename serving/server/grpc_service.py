"""The gRPC face: PredictionService and ModelService."""

import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from schema.errors import UsageError
from serving.server import inference
from serving.server.configs import check_model_config
from serving.server.errors import ServingError, invalid_argument
from serving.server.metrics import Metrics
from serving.server.models import ModelStore

logger = logging.getLogger(__name__)

_CONNECTION_AGE_MS, _CONNECTION_GRACE_MS = 120_000, 60_000

Request = TypeVar("Request")
Response = TypeVar("Response")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference, GetModelMetadata."""

    def __init__(self, store: ModelStore, metrics: Metrics):
        """Answers from the models of a store."""
        self._store = store
        self._metrics = metrics

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Tensors by name to tensors by name."""
        return self._answer("Predict", inference.predict, request, request.model_spec, context)

    def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Examples to classes and scores."""
        return self._answer("Classify", inference.classify, request, request.model_spec, context)

    def Regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Examples to values."""
        return self._answer("Regress", inference.regress, request, request.model_spec, context)

    def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Several of the two above, on the same examples."""
        with _aborting(context):
            spec = _find_common_spec(request)
        return self._answer("MultiInference", inference.multi_inference, request, spec, context)

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a model."""
        with _aborting(context):
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            with self._store.use(request.model_spec) as model:
                return inference.get_metadata(model, request)

    def _answer(
        self,
        api: str,
        compute: Callable[[inference.Model, Request], Response],
        request: Request,
        spec: model_pb2.ModelSpec,
        context: grpc.ServicerContext,
    ) -> Response:
        with (
            _aborting(context),
            self._store.use(spec) as model,
            self._metrics.counted(model.name, api, "GRPC"),
        ):
            return compute(model, request)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus, HandleReloadConfigRequest."""

    def __init__(self, store: ModelStore):
        """Answers of the models of a store."""
        self._store = store

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """What became of each version."""
        with _aborting(context):
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            versions = self._store.get_status(request.model_spec)
            return get_model_status_pb2.GetModelStatusResponse(model_version_status=versions)

    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Takes another configuration; the answer says whether all of its models can be had."""
        response = model_management_pb2.ReloadConfigResponse()
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid_argument("ServerConfig type not supported by HandleReloadConfigRequest.")
            check_model_config(request.config)
            self._store.configure(request.config)
        except UsageError as error:
            response.status.error_code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            response.status.error_message = str(error)
        except ServingError as error:
            response.status.error_code = error.code.value[0]
            response.status.error_message = error.message
        return response


def start_grpc_server(
    store: ModelStore,
    metrics: Metrics,
    addresses: Sequence[str],
    threads: int,
    max_request_bytes: int,
    channel_arguments: Sequence[tuple[str, str | int]] = (),
) -> grpc.Server:
    """Starts to listen.

    Args:
        store: what to serve.
        metrics: where to count.
        addresses: such as "127.0.0.1:8500", or "unix:/tmp/graft.sock".
        threads: how many requests are worked on at once; more wait.
        max_request_bytes: a larger one is refused with RESOURCE_EXHAUSTED.
        channel_arguments: gRPC's own.
    Raises:
        UsageError: if an address is taken.
    """
    options = [
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else two servers on one port would share the requests
        # A call whose message does not come holds a thread until its connection is closed; clients connect again
        # by themselves, and what is being answered is finished.
        ("grpc.max_connection_age_ms", _CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", _CONNECTION_GRACE_MS),
        ("grpc.max_concurrent_streams", 2 * threads),
        *channel_arguments,
    ]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(threads, "grpc"), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(store, metrics), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(store), server)
    for address in addresses:
        try:
            bound = server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            raise UsageError(f"{address}: cannot listen there. Another server may; name another --port.")
    server.start()
    return server


@contextlib.contextmanager
def _aborting(context: grpc.ServicerContext) -> Iterator[None]:
    """Ends a call with the code and the words of an error; what nobody thought of is logged, and ends as INTERNAL."""
    try:
        yield
    except ServingError as error:
        context.abort(error.code, error.message)
    except Exception as error:
        if not context.code():  # an abort within is an exception, too
            logger.exception("A request failed")
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        raise


def _find_common_spec(request: inference_pb2.MultiInferenceRequest) -> model_pb2.ModelSpec:
    """The model that all tasks of a request mean."""
    if not request.tasks:
        raise invalid_argument("Inference request has no tasks.")
    if any(not task.model_spec.name for task in request.tasks):
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if len({task.model_spec.name for task in request.tasks}) > 1:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    return request.tasks[0].model_spec
