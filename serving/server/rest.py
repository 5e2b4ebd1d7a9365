"""The REST face, an ASGI application: /v1/models/NAME[/versions/N|/labels/L][:predict|/metadata]."""

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
from serving.server.configs import Monitoring
from serving.server.errors import ServingError, invalid_argument, not_found, read_message, unimplemented
from serving.server.json_documents import cut, measure
from serving.server.memory import Budget
from serving.server.metrics import CONTENT_TYPE, Metrics
from serving.server.models import ModelStore
from serving.server.servable import DEFAULT_SIGNATURE

logger = logging.getLogger(__name__)

# As TensorFlow Serving's http_rest_api_handler.cc and http_rest_api_util.cc have them.
_SERVED = re.compile(r"(?i:/v1/).*", re.DOTALL)
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(rf"(?i:/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict))")
_GET = re.compile(rf"(?i:/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?)")
_MOST_BODIES = 8  # of the largest size, as they came; further bytes are answered 503
_LARGEST_VERSION = (1 << 63) - 1


class RestApi:
    """Answers the requests; Starlette calls `respond`."""

    def __init__(
        self,
        store: ModelStore,
        metrics: Metrics,
        threads: int,
        timeout_seconds: float,
        max_request_bytes: int,
        budget: Budget | None = None,
    ):
        """Describes the limits.

        Args:
            store: what to serve.
            metrics: where to count.
            threads: how many requests are worked on at once; more wait.
            timeout_seconds: for a client to send its body, and again for the answer.
            max_request_bytes: a larger body is refused with 413.
            budget: of memory, shared with gRPC; one of its own without.
        """
        self._store = store
        self._metrics = metrics
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "rest")
        self._timeout = timeout_seconds
        self._most = max_request_bytes
        self._budget = budget or Budget(threads // 2, max_request_bytes)
        self._held = 0  # bytes of bodies, of all requests together

    async def respond(self, request: Request) -> Response:
        """Answers one request; an error has TensorFlow Serving's kind of body and status."""
        body = bytearray()
        try:
            return await self._respond(request, body)
        finally:
            self._held -= len(body)
            self._budget.trim_after(len(body))

    async def _respond(self, request: Request, body: bytearray) -> Response:
        try:
            await self._read_body(request, body)
            # What waits for a thread when its time is over is dropped; what computes keeps its thread to the end.
            work = asyncio.get_running_loop().run_in_executor(
                self._pool, self._answer, request.method, _raw_path(request), body
            )
            content, status = await asyncio.wait_for(work, self._timeout)
        except _RefusedError as refused:
            # What was not read of the body would be taken for the next request.
            return _respond_json(json_responses.format_error(str(refused)), refused.status, {"Connection": "close"})
        except asyncio.TimeoutError:
            error = ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Timed out while the request was computed")
            return _respond_json(json_responses.format_error(error.message), error.http_status)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        return _respond_json(content, status)

    def _answer(self, method: str, path: str, body: bytearray) -> tuple[bytes, int]:
        """Returns the answer and its status, also of an error.

        A future with an error would keep the whole request: the frame that waits for it and the error's traceback
        point at each other.
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
        """Reads the body, as long as it is no larger and comes no slower than is allowed."""
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            message = f"Content-Encoding {cut(encoding)} is not read by this server: send the body uncompressed"
            raise _RefusedError(415, message)
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._most:
            raise _RefusedError(413, f"Request body of {declared} bytes is larger than the maximum of {self._most}")
        try:
            with anyio.fail_after(self._timeout):
                async for chunk in request.stream():
                    self._take(chunk, body)
        except TimeoutError:
            raise _RefusedError(408, f"Request body did not arrive within {self._timeout:g} seconds") from None

    def _take(self, chunk: bytes, body: bytearray) -> None:
        if len(body) + len(chunk) > self._most:
            raise _RefusedError(413, f"Request body is larger than the maximum of {self._most} bytes")
        if self._held + len(chunk) > _MOST_BODIES * self._most:
            raise _RefusedError(503, "The server is busy with other large requests; send this one again later")
        body += chunk
        self._held += len(chunk)

    def _dispatch(self, method: str, path: str, body: bytearray) -> bytes:
        """Finds out what is asked for; in a thread of its own, for this computes."""
        if not _SERVED.fullmatch(path):
            raise not_found(f"Not found: {method} {path}. This server answers below /v1/")
        if method == "POST" and (match := _POST.fullmatch(path)):
            spec = _to_spec(match)
            if match["method"].lower() != "predict":
                raise unimplemented(inference.ONLY_PREDICT)
            with self._store.use(spec) as model, self._metrics.counted(model.name, "Predict", "REST"):
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
    """A body that is not read to its end."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def create_app(api: RestApi, metrics: Metrics, monitoring: Monitoring) -> Starlette:
    """Puts the API behind its paths, and the page for Prometheus, if it is wanted."""

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
        raise _name_text_input(error, request, body) from error
    return json_responses.format_predict(outputs, request.is_row)


def _name_text_input(error: ServingError, request: json_requests.PredictRequestBody, body: bytearray) -> ServingError:
    """Adds to a refusal that a string input came as text: the graph only tells that this is no image."""
    texts = [name for name, value in request.inputs.items() if value.dtype == object and value.size]
    if not texts or b'"b64"' in body or error.code is not grpc.StatusCode.INVALID_ARGUMENT:
        return error
    return invalid_argument(
        f"{error.message}. Input '{texts[0]}' came as text; bytes, such as an image, are sent in base64, as "
        '{"b64": "..."}'
    )


def _raw_path(request: Request) -> str:
    """The path as the client sent it, for a name may hold an escaped slash; with the query, which makes it malformed.

    As uri_path in TensorFlow Serving's evhttp_request.cc.
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


def _unquote(what: str, text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid_argument(f"Failed to decode {what}:{text}") from None


def _to_json(message: Message) -> bytes:
    return json.dumps(to_dict(message), indent=2).encode()


def _respond_json(content: bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")
