"""Clients of a model server: TensorFlow Serving or the built-in server.

with connect("grpc://127.0.0.1:8500") as client:
    for prediction in client.predict(["cat.jpg", image_bytes]):
        print(prediction.label, prediction.probabilities)
"""

import base64
import contextlib
import json
import pathlib
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import grpc
import numpy as np
import requests
import requests.adapters
import requests.auth
import tensorflow as tf
import urllib3
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from schema.errors import GraftError, UsageError
from serving.client.addresses import is_this_machine, split_address, without_password
from serving.client.heat_maps import NO_HEAT_MAPS, check_cells, read_heat_map
from serving.client.predict import Prediction, explain_file, is_accepted
from serving.client.refusals import explain_refusal
from serving.client.sessions import AUTHORITIES, make_session
from serving.export import signatures
from serving.export.explanation import HEATMAP
from serving.protobuf_json import to_dict
from serving.storage.regular import read_regular

BATCH = 8  # images per request
_TIMEOUT = 30.0  # seconds
_ATTEMPTS = 4
_UNLIMITED = -1
_MAX_CHARACTERS = 2000  # of a server's answer in an error message
_MAX_BYTES = 16 << 20  # of a request before base64, which adds a third; the built-in server takes 32 MB
_REFUSED = {"INVALID_ARGUMENT", "400"}
_TOO_LARGE = {"RESOURCE_EXHAUSTED", "413"}

Image = str | pathlib.Path | bytes


class ServerError(GraftError):
    """Error of a server that cannot be reached, or that refuses a request.

    Attributes:
        code: name of the gRPC status code, such as "NOT_FOUND"; by REST the HTTP status as text, such as "404".
    """

    def __init__(self, message: str, code: str):
        """Takes the message and status code of the server; cuts a long message."""
        super().__init__(message if len(message) <= _MAX_CHARACTERS else f"{message[:_MAX_CHARACTERS]}...")
        self.code = code


class Client(contextlib.AbstractContextManager["Client"], Protocol):
    """Client of a model server, by gRPC or by REST; the connection is closed when the context ends."""

    def predict(self, images: Sequence[Image], explain: bool = False) -> Iterator[Prediction]:
        """Predicts images in batches, and yields the predictions in the same order.

        A damaged image gets a prediction with a `problem` and does not affect the other images.

        Args:
            images: paths of JPEG, PNG, GIF or BMP files, or the bytes of such files.
            explain: True to ask for a heat map of each image as well.
        Raises:
            ServerError: if the server cannot be reached, or does not have the model, version or label.
            UsageError: if `explain` is set, and the model gives no heat maps, or those of one cell.
        """
        ...

    def predict_on_batch(self, images: Sequence[bytes], signature: str = signatures.SERVING) -> dict[str, np.ndarray]:
        """Asks a signature for encoded images with one request, and returns the server's outputs by name.

        Raises:
            ServerError: if the server cannot be reached, or refuses the request.
        """
        ...

    def metadata(self) -> dict[str, Any]:
        """Returns the signatures of the model, in the JSON form of REST: {"model_spec": ..., "metadata": ...}."""
        ...


def connect(server: str, model_name: str = "graft", label: str = "", timeout: float = _TIMEOUT) -> Client:
    """Makes a client without sending a request.

    Args:
        server: address, such as "grpc://localhost:8500" or "http://localhost:8501"; "https://name:password@host" uses
            basic authentication, as in curl.
        model_name: name of the model on the server.
        label: label of the version, such as "stable" or "canary"; "" for the newest version of the server.
        timeout: seconds for each request.
    Raises:
        UsageError: if the address is invalid.
    """
    scheme, host, port, login = split_address(server)
    spec = model_pb2.ModelSpec(name=model_name)
    if label:
        spec.version_label = label
    if scheme == "grpc":
        if login:
            raise UsageError(
                f"{without_password(server)}: gRPC has no name and password in an address. Leave them out, or use "
                "REST: http://name:password@host:8501."
            )
        return GrpcClient(f"{host}:{port or 8500}", spec, timeout)
    return RestClient(f"{scheme}://{host}:{port or 8501}", spec, timeout, login)


class GrpcClient(contextlib.AbstractContextManager["GrpcClient"]):
    """Client by gRPC; gRPC itself repeats a request a few times when the answer is UNAVAILABLE."""

    def __init__(self, address: str, spec: model_pb2.ModelSpec, timeout: float = _TIMEOUT):
        """Makes a channel to `address`, which is host:port; the channel connects on first use."""
        retries = {
            "maxAttempts": _ATTEMPTS,
            "initialBackoff": "0.2s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config = {"methodConfig": [{"name": [{}], "retryPolicy": retries}]}
        options = [
            ("grpc.service_config", json.dumps(config)),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.max_receive_message_length", _UNLIMITED),
        ]
        if is_this_machine(urllib.parse.urlsplit(f"grpc://{address}").hostname or ""):
            options.append(("grpc.enable_http_proxy", 0))  # by default, gRPC uses https_proxy of the environment
        self._address, self._spec, self._timeout = address, spec, timeout
        self._channel = grpc.insecure_channel(address, options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(self, images: Sequence[Image], explain: bool = False) -> Iterator[Prediction]:
        """See `Client`."""
        return _predict_all(self, images, explain)

    def metadata(self) -> dict[str, Any]:
        """See `Client`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        response = self._call(self._prediction.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return {"model_spec": to_dict(response.model_spec), "metadata": {"signature_def": to_dict(found)}}

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        self.close()

    def predict_on_batch(self, images: Sequence[bytes], signature: str = signatures.SERVING) -> dict[str, np.ndarray]:
        """See `Client`."""
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature
        request.inputs[signatures.IMAGE_BYTES].CopyFrom(tf.make_tensor_proto(list(images), tf.string))
        response = self._call(self._prediction.Predict, request)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code, reason = error.code().name, error.details()
            if "HTTP/2" in reason:  # such as "Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, ...)"
                reason = f"this port does not speak gRPC; write http://{self._address} for a REST port"
            raise ServerError(f"grpc://{self._address}: {reason} ({code})", code) from error


class RestClient(contextlib.AbstractContextManager["RestClient"]):
    """Client by REST; urllib3 repeats a request a few times when it cannot be sent or the answer is 503."""

    def __init__(
        self,
        address: str,
        spec: model_pb2.ModelSpec,
        timeout: float = _TIMEOUT,
        login: tuple[str, str] | None = None,
    ):
        """Makes a session for `address`, such as http://localhost:8501, with an optional name and password."""
        retries = urllib3.Retry(
            total=_ATTEMPTS - 1,
            read=0,
            backoff_factor=0.2,
            status_forcelist=[503],
            allowed_methods=None,
            raise_on_status=False,
        )
        self._address, self._timeout = address, timeout
        self._url = f"{address}/v1/models/{urllib.parse.quote(spec.name, safe='')}"
        if spec.version_label:
            self._url += f"/labels/{urllib.parse.quote(spec.version_label, safe='')}"
        self._session = make_session(address)
        if login:  # in UTF-8, as curl sends it on most machines; `requests` would take Latin-1
            self._session.auth = requests.auth.HTTPBasicAuth(login[0].encode(), login[1].encode())
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))

    def predict(self, images: Sequence[Image], explain: bool = False) -> Iterator[Prediction]:
        """See `Client`."""
        return _predict_all(self, images, explain)

    def metadata(self) -> dict[str, Any]:
        """See `Client`."""
        return self._call("GET", "/metadata")

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        self.close()

    def predict_on_batch(self, images: Sequence[bytes], signature: str = signatures.SERVING) -> dict[str, np.ndarray]:
        """See `Client`."""
        instances = [{"b64": base64.b64encode(image).decode("ascii")} for image in images]
        body = {"signature_name": signature, "instances": instances}
        rows = self._call("POST", ":predict", body)["predictions"]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            response = self._session.request(method, self._url + path, json=body, timeout=self._timeout)
            answer = response.json()
        except requests.exceptions.JSONDecodeError as error:
            message = f"{self._address}: the answer is no JSON (status {response.status_code})"
            raise ServerError(message, str(response.status_code)) from error
        except OSError as error:
            raise ServerError(f"{self._address}: {self._explain(error)}", "UNAVAILABLE") from error
        if response.status_code != 200:
            reason = answer.get("error", response.reason) if isinstance(answer, dict) else response.reason
            raise ServerError(f"{self._address}: {reason} ({response.status_code})", str(response.status_code))
        return dict(answer)

    def _explain(self, error: OSError) -> str:
        """Returns the reason for a missing answer: of the network, of TLS, or of the file of certificates."""
        reason = _shorten(error)
        host = self._address.partition("://")[2]
        if "BadStatusLine" in reason:
            return f"this port does not speak HTTP; write grpc://{host} for a gRPC port"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return f"the certificate is refused: {reason}. Name the file of a private authority in {AUTHORITIES[0]}."
        if isinstance(error, requests.exceptions.SSLError):
            return f"this port does not speak TLS ({reason}); write http://{host} for a server without TLS"
        return f"cannot be reached: {reason}"


def _predict_all(
    client: GrpcClient | RestClient, images: Sequence[Image], explain: bool = False
) -> Iterator[Prediction]:
    signature = signatures.EXPLAIN if explain else signatures.SERVING
    if explain:
        _check_heat_maps(client)
    batch: list[Image] = []
    size = 0
    for image in images:
        more = _measure(image)
        if batch and (len(batch) == BATCH or size + more > _MAX_BYTES):
            yield from _predict_batch(client, batch, signature)
            batch, size = [], 0
        batch.append(image)
        size += more
    if batch:
        yield from _predict_batch(client, batch, signature)


def _check_heat_maps(client: GrpcClient | RestClient) -> None:
    found = client.metadata()["metadata"]["signature_def"]["signature_def"].get(signatures.EXPLAIN)
    if found is None:
        raise UsageError(f"the server's model: {NO_HEAT_MAPS}")
    dimensions = found["outputs"].get(HEATMAP, {}).get("tensor_shape", {}).get("dim", [])
    check_cells("the server's model", [int(dimension["size"]) for dimension in dimensions])


def _predict_batch(client: GrpcClient | RestClient, images: Sequence[Image], signature: str) -> Iterator[Prediction]:
    try:
        outputs = client.predict_on_batch([_read(image) for image in images], signature)
    except (OSError, ServerError) as error:
        if isinstance(error, ServerError) and error.code not in _REFUSED | _TOO_LARGE:
            raise
        if len(images) == 1:
            client.metadata()  # raises if the server refuses the model, version or label and not the image
            yield Prediction(_name(images[0]), problem=_explain(error))
            return
        for image in images:  # one image is damaged: send each image alone
            yield from _predict_batch(client, [image], signature)
        return
    for row, image in enumerate(images):
        classes = [_text(name) for name in outputs["classes"][row]]
        probabilities = dict(zip(classes, map(float, outputs["probabilities"][row]), strict=True))
        label, accepted = _text(outputs["label"][row]), is_accepted(outputs, row)
        yield Prediction(_name(image), label, probabilities, accepted=accepted, heat_map=read_heat_map(outputs, row))


def ask_version(client: Client) -> str:
    """Asks a server for the number of the version that answers; "unknown" if the server does not say.

    Raises:
        ServerError: if the server cannot be reached, or does not have the model, version or label.
    """
    try:
        return str(client.metadata()["model_spec"]["version"])
    except (KeyError, TypeError):
        return "unknown"


def _measure(image: Image) -> int:
    """Returns the size of an image in bytes; 0 for an unreadable file, whose error `_read` raises later."""
    try:
        return len(image) if isinstance(image, bytes) else pathlib.Path(image).stat().st_size
    except OSError:
        return 0


def _read(image: Image) -> bytes:
    return image if isinstance(image, bytes) else read_regular(image)


def _name(image: Image) -> str:
    return f"{len(image)} bytes" if isinstance(image, bytes) else str(image)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _explain(error: OSError | ServerError) -> str:
    if isinstance(error, OSError):
        return explain_file(error)
    return str(error) if error.code in _TOO_LARGE else explain_refusal(str(error))


def _shorten(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return str(reason).partition(": ")[2] or str(reason)
