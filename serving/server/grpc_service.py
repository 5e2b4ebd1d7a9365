"""gRPC endpoint: PredictionService and ModelService."""

import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

import grpc
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from schema.errors import UsageError
from serving.server import inference
from serving.server.configs import check_model_config
from serving.server.errors import ServingError, invalid_argument, read_message, unimplemented
from serving.server.memory import MemoryBudget, Size
from serving.server.metrics import Metrics
from serving.server.models import ModelStore
from serving.server.wire_size import measure_message

logger = logging.getLogger(__name__)

# Request type by method. model_service_pb2 lists the types too, but cannot be imported beside protobuf 6.
_REQUESTS = {
    "/tensorflow.serving.PredictionService/Predict": predict_pb2.PredictRequest.DESCRIPTOR,
    "/tensorflow.serving.PredictionService/Classify": classification_pb2.ClassificationRequest.DESCRIPTOR,
    "/tensorflow.serving.PredictionService/Regress": regression_pb2.RegressionRequest.DESCRIPTOR,
    "/tensorflow.serving.PredictionService/MultiInference": inference_pb2.MultiInferenceRequest.DESCRIPTOR,
    "/tensorflow.serving.PredictionService/GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest.DESCRIPTOR,
    "/tensorflow.serving.ModelService/GetModelStatus": get_model_status_pb2.GetModelStatusRequest.DESCRIPTOR,
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest.DESCRIPTOR,
}
_COPIES = 3  # of a value that is repeated to fill a shape: in the array, in the padded array, and in TensorFlow
_CONNECTION_AGE_MS, _CONNECTION_GRACE_MS = 120_000, 60_000


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Servicer of Predict and GetModelMetadata; Classify, Regress and MultiInference are refused."""

    def __init__(self, store: ModelStore, metrics: Metrics, budget: MemoryBudget):
        """Takes the store of the models, the request metrics and the memory budget."""
        self._store = store
        self._metrics = metrics
        self._budget = budget

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature of a model on tensors by name, and returns its outputs by name."""
        with _aborting(context):
            _check_spec(request)
            with (
                self._store.use(request.model_spec) as model,
                self._metrics.record_request(model.name, "Predict", "GRPC"),
            ):
                # `_Admission` has taken memory for the message; one value that fills a large shape needs more.
                repeated = _COPIES * (inference.check_inputs(model, request) - request.ByteSize())
                with self._budget.take(Size(repeated, "Send fewer or smaller tensors in a request"), wait=False):
                    response = inference.predict(model, request)
                self._budget.trim_after(response.ByteSize())
                return response

    def _refuse(self, request: Message, context: grpc.ServicerContext) -> Message:
        """Refuses a method and names Predict as its replacement."""
        with _aborting(context):
            raise unimplemented(inference.ONLY_PREDICT)

    Classify = Regress = MultiInference = _refuse

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of a model."""
        with _aborting(context):
            _check_spec(request)
            inference.check_metadata_fields(request)
            with self._store.use(request.model_spec) as model:
                return inference.get_metadata(model)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Servicer of GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, store: ModelStore):
        """Takes the store of the models."""
        self._store = store

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of each version of a model."""
        with _aborting(context):
            _check_spec(request)
            versions = self._store.get_status(request.model_spec)
            return get_model_status_pb2.GetModelStatusResponse(model_version_status=versions)

    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the configuration; the answer holds an error if one of its models cannot be loaded."""
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


class _Admission(grpc.ServerInterceptor):
    """Interceptor that parses a request once enough memory is free, and refuses oversized requests."""

    def __init__(self, budget: MemoryBudget):
        self._budget = budget

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Wraps a method in a handler that reserves memory for a request before parsing it."""
        handler = continuation(handler_call_details)
        if handler is None:
            return handler
        request_type = _REQUESTS[handler_call_details.method]

        def answer(data: bytes, context: grpc.ServicerContext) -> Message:
            try:
                with _aborting(context), self._budget.take(measure_message(data, request_type)):
                    return handler.unary_unary(_parse(handler, data), context)
            finally:
                self._budget.trim_after(len(data))

        return grpc.unary_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _parse(handler: grpc.RpcMethodHandler, data: bytes) -> Message:
    try:
        return handler.request_deserializer(data)
    except DecodeError:
        raise ServingError(grpc.StatusCode.INTERNAL, "Exception deserializing request!") from None


def start_grpc_server(
    store: ModelStore,
    metrics: Metrics,
    addresses: Sequence[str],
    threads: int,
    max_request_bytes: int,
    channel_arguments: Sequence[tuple[str, str | int]] = (),
    *,
    budget: MemoryBudget,
) -> grpc.Server:
    """Starts a gRPC server.

    Args:
        store: models to serve.
        metrics: counters of the requests.
        addresses: such as "127.0.0.1:8500" or "unix:/tmp/graft.sock".
        threads: number of requests in work at once; more wait.
        max_request_bytes: maximum bytes of a request; a larger one is refused with RESOURCE_EXHAUSTED.
        channel_arguments: further channel arguments of gRPC.
        budget: memory of the requests, shared with REST.
    Raises:
        UsageError: if the server cannot listen on an address.
    """
    options = [
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else two servers on one port would share the requests
        # A call whose message does not arrive holds a thread until its connection is closed. Clients reconnect by
        # themselves, and calls in work are finished.
        ("grpc.max_connection_age_ms", _CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", _CONNECTION_GRACE_MS),
        ("grpc.max_concurrent_streams", 2 * threads),
        *channel_arguments,
    ]
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(threads, "grpc"), interceptors=[_Admission(budget)], options=options
    )
    service = PredictionService(store, metrics, budget)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(store), server)
    for address in addresses:
        _listen(server, address)
    server.start()
    return server


def _listen(server: grpc.Server, address: str) -> None:
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise UsageError(f"{address}: cannot listen there. If another server does, name another --port.")


@contextlib.contextmanager
def _aborting(context: grpc.ServicerContext) -> Iterator[None]:
    """Aborts a call with the code and message of a ServingError; logs any other error and aborts with INTERNAL."""
    try:
        yield
    except ServingError as error:
        context.abort(error.code, error.message)
    except Exception as error:
        if not context.code():  # `context.abort` raises an exception, too
            logger.exception("A request failed")
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {read_message(error)}")
        raise


def _check_spec(request: Message) -> None:
    """Refuses a request without ModelSpec; the message is that of predict_impl.cc and get_model_status_impl.cc."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
