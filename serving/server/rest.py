"""REST endpoint, an ASGI application: /v1/models/NAME[/versions/N|/labels/L][:predict|/metadata]."""

import asyncio
import concurrent.futures
import json
import logging
import re
import urllib.parse

import anyio
import grpc
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from serving.protobuf_json import to_dict
from serving.server import inference, json_requests, json_responses
from serving.server.configs import MonitoringConfig
from serving.server.errors import ServingError, invalid_argument, not_found, read_message, unimplemented
from serving.server.json_documents import measure, truncate
from serving.server.memory import MemoryBudget
from serving.server.metrics import CONTENT_TYPE, Metrics
from serving.server.models import ModelStore
from serving.server.servable import DEFAULT_SIGNATURE

logger = logging.getLogger(__name__)

# Paths of TensorFlow Serving's http_rest_api_handler.cc and http_rest_api_util.cc.
_SERVED = re.compile(r"(?i:/v1/).*", re.DOTALL)
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(rf"(?i:/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict))")
_GET = re.compile(rf"(?i:/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?)")
_MAX_BODIES = 8  # bodies of the maximum size in memory at once; further bytes are answered 503
_LARGEST_VERSION = (1 << 63) - 1


class RestApi:
    """Handler of REST requests; Starlette calls `respond`."""

    def __init__(
        self,
        store: ModelStore,
        metrics: Metrics,
        threads: int,
        timeout_seconds: float,
        max_request_bytes: int,
        budget: MemoryBudget,
    ):
        """Takes the models and the limits.

        Args:
            store: models to serve.
            metrics: counters of the requests.
            threads: number of requests in work at once; more wait.
            timeout_seconds: time limit for a client to send its body, and again for the answer.
            max_request_bytes: maximum bytes of a body; a larger one is refused with 413.
            budget: memory of the requests, shared with gRPC.
        """
        self._store = store
        self._metrics = metrics
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "rest")
        self._timeout = timeout_seconds
        self._max_bytes = max_request_bytes
        self._budget = budget
        self._held = 0  # bytes of the bodies of all requests together

    async def respond(self, request: Request) -> Response:
        """Answers a request; an error has the body and status of TensorFlow Serving."""
        body = bytearray()
        try:
            return await self._respond(request, body)
        finally:
            self._held -= len(body)
            self._budget.trim_after(len(body))

    async def _respond(self, request: Request, body: bytearray) -> Response:
        try:
            await self._read_body(request, body)
            # At the timeout, a request that waits for a thread is dropped; one in work keeps its thread.
            work = asyncio.get_running_loop().run_in_executor(
                self._pool, self._answer, request.method, _raw_path(request), body
            )
            content, status = await asyncio.wait_for(work, self._timeout)
        except _RefusedError as refused:
            # The unread part of the body would be parsed as the next request.
            return _respond_json(json_responses.format_error(str(refused)), refused.status, {"Connection": "close"})
        except asyncio.TimeoutError:
            error = ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Timed out while the request was computed")
            return _respond_json(json_responses.format_error(error.message), error.http_status)
        except ClientDisconnect:
            return Response(status_code=499)  # the client is gone
        return _respond_json(content, status)

    def _answer(self, method: str, path: str, body: bytearray) -> tuple[bytes, int]:
        """Returns the content and status of the answer; an error is an answer, too.

        An exception in the future would keep the request in memory: the waiting frame and the traceback of the
        exception refer to each other.
        """
        try:
            return self._dispatch(method, path, body), 200
        except ServingError as error:
            return json_responses.format_error(error.message), error.http_status
        except Exception as error:
            logger.exception("A request failed")
            return json_responses.format_error(f"{type(error).__name__}: {read_message(error)}"), 500
        finally:
            self._budget.trim_after(len(body))

    async def _read_body(self, request: Request, body: bytearray) -> None:
        """Reads a body into `body`, within the limits of size and time."""
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            message = f"Content-Encoding {truncate(encoding)} is not read by this server: send the body uncompressed"
            raise _RefusedError(415, message)
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise _RefusedError(
                413, f"Request body of {declared} bytes is larger than the maximum of {self._max_bytes}"
            )
        try:
            with anyio.fail_after(self._timeout):
                async for chunk in request.stream():
                    self._take(chunk, body)
        except TimeoutError:
            raise _RefusedError(408, f"Request body did not arrive within {self._timeout:g} seconds") from None

    def _take(self, chunk: bytes, body: bytearray) -> None:
        if len(body) + len(chunk) > self._max_bytes:
            raise _RefusedError(413, f"Request body is larger than the maximum of {self._max_bytes} bytes")
        if self._held + len(chunk) > _MAX_BODIES * self._max_bytes:
            raise _RefusedError(503, "The server is busy with other large requests; send this one again later")
        body += chunk
        self._held += len(chunk)

    def _dispatch(self, method: str, path: str, body: bytearray) -> bytes:
        """Returns the answer to a request by method and path; runs in a thread of the pool."""
        if not _SERVED.fullmatch(path):
            raise not_found(f"Not found: {method} {path}. This server answers below /v1/")
        if method == "POST" and (match := _POST.fullmatch(path)):
            spec = _to_spec(match)
            if match["method"].lower() != "predict":
                raise unimplemented(inference.ONLY_PREDICT)
            with self._store.use(spec) as model, self._metrics.record_request(model.name, "Predict", "REST"):
                with self._budget.take(measure(body)):
                    content = _predict(model, body)
                self._budget.trim_after(len(content))
                return content
        if method == "GET" and (match := _GET.fullmatch(path)):
            spec = _to_spec(match)
            if not spec.name:
                raise invalid_argument("Missing model name in request.")
            return self._get_metadata(spec) if match["metadata"] else self._get_status(spec)
        raise invalid_argument(f"Malformed request: {method} {path}")

    def _get_status(self, spec: model_pb2.ModelSpec) -> bytes:
        versions = self._store.get_status(spec)
        return _to_json(get_model_status_pb2.GetModelStatusResponse(model_version_status=versions))

    def _get_metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        with self._store.use(spec) as model:
            response = inference.get_metadata(model)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        metadata = b'{"signature_def": ' + _to_json(signatures) + b"}"
        return b'{\n"model_spec": ' + _to_json(response.model_spec) + b',\n"metadata": ' + metadata + b"\n}\n"


class _RefusedError(Exception):
    """Refusal of a body that is not read to its end."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def create_app(api: RestApi, metrics: Metrics, monitoring: MonitoringConfig) -> Starlette:
    """Makes the application: the API and, if enabled, the metrics page."""

    async def show_metrics(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics.render), media_type=CONTENT_TYPE)

    every = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    routes = [Route("/{rest:path}", api.respond, methods=every)]
    if monitoring.enable:
        routes.insert(0, Route(monitoring.path, show_metrics))
    return Starlette(routes=routes)


def _predict(model: inference.Model, body: bytearray) -> bytes:
    def find_signature(signature_name: str) -> SignatureDef:
        name = signature_name or DEFAULT_SIGNATURE
        if name not in model.signatures:
            raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        return model.signatures[name]

    request = json_requests.parse_predict(body, find_signature, model.max_batch)
    try:
        outputs = inference.predict_arrays(model, request.signature_name or DEFAULT_SIGNATURE, request.inputs)
    except ServingError as error:
        raise _mention_text_input(error, request, body) from error
    return json_responses.format_predict(outputs, request.is_row)


def _mention_text_input(
    error: ServingError, request: json_requests.PredictRequestBody, body: bytearray
) -> ServingError:
    """Adds a hint about base64 to an INVALID_ARGUMENT error, if a string input came as text.

    The message of the graph only says that the input is no image.
    """
    texts = [name for name, value in request.inputs.items() if value.dtype == object and value.size]
    if not texts or b'"b64"' in body or error.code is not grpc.StatusCode.INVALID_ARGUMENT:
        return error
    return invalid_argument(
        f"{error.message}. Input '{texts[0]}' came as text; bytes, such as an image, are sent in base64, as "
        '{"b64": "..."}'
    )


def _raw_path(request: Request) -> str:
    """Returns the path as sent by the client, with the query, as uri_path in TensorFlow Serving's evhttp_request.cc.

    The path stays escaped, because a name may hold an escaped slash. A query makes the path malformed.
    """
    raw = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope.get("query_string")
    return (raw.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def _to_spec(match: "re.Match[str]") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=_unquote("model name", match["name"] or ""))
    if match["version"]:
        if len(match["version"]) > 19 or int(match["version"]) > _LARGEST_VERSION:
            raise invalid_argument(f"Failed to convert version: {match['version'][:40]} to numeric.")
        spec.version.value = int(match["version"])
    if match["label"]:
        spec.version_label = _unquote("model version label", match["label"])
    return spec


def _unquote(part: str, text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid_argument(f"Failed to decode {part}:{text}") from None


def _to_json(message: Message) -> bytes:
    return json.dumps(to_dict(message), indent=2).encode()


def _respond_json(content: bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")
