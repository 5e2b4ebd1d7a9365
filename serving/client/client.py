"""Clients for a model server: TensorFlow Serving's, or the built-in one.

with connect("grpc://127.0.0.1:8500") as client:
    for prediction in client.predict(["cat.jpg", image_bytes]):
        print(prediction.label, prediction.probabilities)
"""

import base64
import contextlib
import ipaddress
import json
import os
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
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from schema.errors import GraftError, UsageError
from serving.client.addresses import without_password
from serving.client.predict import Prediction, explain_file, explain_refusal
from serving.export import signatures
from serving.protobuf_json import to_dict
from serving.storage.regular import read_regular

BATCH = 8  # images a request
_TIMEOUT = 30.0  # seconds
_ATTEMPTS = 4
_UNLIMITED = -1
_LONGEST = 2000  # characters of a server's answer in a message
# As `requests` and curl have them, and OpenSSL; the first that is set names a file or folder of authorities.
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_MOST_BYTES = 16 << 20  # a request; the built-in server takes 32 MB, and base64 makes a third more of them
_REFUSED = {"INVALID_ARGUMENT", "400"}
_TOO_LARGE = {"RESOURCE_EXHAUSTED", "413"}

Image = str | pathlib.Path | bytes


class ServerError(GraftError):
    """A server that cannot be reached, or that refuses.

    Attributes:
        code: gRPC's name of it, such as "NOT_FOUND"; for REST the HTTP status.
    """

    def __init__(self, message: str, code: str):
        """Takes what the server says, with its code."""
        super().__init__(message if len(message) <= _LONGEST else f"{message[:_LONGEST]}...")
        self.code = code


class Client(Protocol):
    """What can be asked, by gRPC or REST alike."""

    def predict(self, images: Sequence[Image]) -> Iterator[Prediction]:
        """Predicts images, in batches, in the order given; one that is broken says so, and does not spoil the others.

        Args:
            images: paths of JPEG, PNG, GIF or BMP files, or the bytes of such.
        Raises:
            ServerError: if the server cannot be reached, or has no such model.
        """
        ...

    def ask(self, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Sends encoded images in one request; returns the outputs by name, as the server gives them.

        Raises:
            ServerError: if the server cannot be reached, or refuses.
        """
        ...

    def metadata(self) -> dict[str, Any]:
        """The signatures of the model: {"model_spec": ..., "metadata": ...}, as REST has it."""
        ...

    def status(self) -> list[dict[str, Any]]:
        """What became of each version: {"version": ..., "state": ..., "status": ...}."""
        ...

    def __enter__(self) -> "Client":
        """Itself."""
        ...

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        ...


def connect(
    server: str, model_name: str = "graft", label: str = "", version: int | None = None, timeout: float = _TIMEOUT
) -> Client:
    """Makes a client; nothing is sent yet.

    Args:
        server: such as "grpc://localhost:8500" or "http://localhost:8501"; "https://name:password@host" asks by basic
            authentication, as curl does.
        model_name: what the server calls it.
        label: such as "stable" or "canary"; or
        version: its number; without either, the server's newest.
        timeout: in seconds, for each request.
    Raises:
        UsageError: if the address is not understood.
    """
    scheme, host, port, login = _split_address(server)
    if label and version is not None:
        raise UsageError("a version and a label at once; a request can name one of them.")
    spec = model_pb2.ModelSpec(name=model_name)
    if label:
        spec.version_label = label
    if version is not None:
        spec.version.value = version
    if scheme == "grpc":
        if login:
            raise UsageError(
                f"{without_password(server)}: gRPC has no name and password in an address. Leave them out, or ask by "
                "REST: http://name:password@host:8501."
            )
        return GrpcClient(f"{host}:{port or 8500}", spec, timeout)
    return RestClient(f"{scheme}://{host}:{port or 8501}", spec, timeout, login)


def _split_address(server: str) -> tuple[str, str, int | None, tuple[str, str] | None]:
    """Scheme, host, port, and name and password for a server; an IPv6 address keeps its brackets."""
    try:
        url = urllib.parse.urlsplit(server)
        port = url.port
    except ValueError:
        url, port = urllib.parse.urlsplit(""), None
    host = url.hostname or ""
    if url.scheme not in ("grpc", "http", "https") or not host or url.path.strip("/"):
        raise UsageError(
            f"{without_password(server)}: expected the address of a server, such as grpc://localhost:8500 or "
            "http://localhost:8501."
        )
    login = None
    if "@" in url.netloc:
        login = urllib.parse.unquote(url.username or ""), urllib.parse.unquote(url.password or "")
    return url.scheme, f"[{host}]" if ":" in host else host, port, login


class GrpcClient:
    """Asks by gRPC; what comes back UNAVAILABLE is sent again by gRPC itself, a few times."""

    def __init__(self, address: str, spec: model_pb2.ModelSpec, timeout: float = _TIMEOUT):
        """Prepares a channel to host:port."""
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
        if _is_this_machine(urllib.parse.urlsplit(f"grpc://{address}").hostname or ""):
            options.append(("grpc.enable_http_proxy", 0))  # gRPC takes https_proxy from the environment, too
        self._address, self._spec, self._timeout = address, spec, timeout
        self._channel = grpc.insecure_channel(address, options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, images: Sequence[Image]) -> Iterator[Prediction]:
        """See `Client`."""
        return _predict_all(self, images)

    def metadata(self) -> dict[str, Any]:
        """See `Client`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        response = self._call(self._prediction.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return {"model_spec": to_dict(response.model_spec), "metadata": {"signature_def": to_dict(found)}}

    def status(self) -> list[dict[str, Any]]:
        """See `Client`."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec)
        response = self._call(self._models.GetModelStatus, request)
        return list(to_dict(response)["model_version_status"])

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> "GrpcClient":
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        self.close()

    def ask(self, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """See `Client`."""
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.inputs[signatures.IMAGE_BYTES].CopyFrom(tf.make_tensor_proto(list(images), tf.string))
        response = self._call(self._prediction.Predict, request)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code, reason = error.code().name, error.details()
            if "HTTP/2" in reason:  # such as "Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, ...)"
                reason = f"what answers there does not speak gRPC; a port of REST is named http://{self._address}"
            raise ServerError(f"grpc://{self._address}: {reason} ({code})", code) from error


def _make_session(address: str) -> requests.Session:
    """Makes a session that takes proxies and authorities from the environment, and no passwords.

    A proxy for the web has no way to a server of this machine. To any other, HTTP_PROXY, HTTPS_PROXY and NO_PROXY
    count as in curl. `trust_env` would read ~/.netrc besides.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = next(filter(None, map(os.environ.get, _AUTHORITIES)), True)
    host = urllib.parse.urlsplit(address).hostname or ""
    if not _is_this_machine(host):
        session.proxies = requests.utils.get_environ_proxies(address)
    return session


def _is_this_machine(host: str) -> bool:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


class RestClient:
    """Asks by REST; what comes back 503, and what could not be sent at all, is sent again by urllib3, a few times."""

    def __init__(
        self,
        address: str,
        spec: model_pb2.ModelSpec,
        timeout: float = _TIMEOUT,
        login: tuple[str, str] | None = None,
    ):
        """Prepares a session with a server such as http://localhost:8501, and a name and password for it."""
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
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            self._url += f"/versions/{spec.version.value}"
        elif choice:
            self._url += f"/labels/{urllib.parse.quote(spec.version_label, safe='')}"
        self._session = _make_session(address)
        if login:  # in UTF-8, as curl sends it on most machines; `requests` would take Latin-1
            self._session.auth = requests.auth.HTTPBasicAuth(login[0].encode(), login[1].encode())
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))

    def predict(self, images: Sequence[Image]) -> Iterator[Prediction]:
        """See `Client`."""
        return _predict_all(self, images)

    def metadata(self) -> dict[str, Any]:
        """See `Client`."""
        return self._call("GET", "/metadata")

    def status(self) -> list[dict[str, Any]]:
        """See `Client`."""
        return list(self._call("GET", "")["model_version_status"])

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def __enter__(self) -> "RestClient":
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the connection."""
        self.close()

    def ask(self, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """See `Client`."""
        instances = [{"b64": base64.b64encode(image).decode("ascii")} for image in images]
        rows = self._call("POST", ":predict", {"instances": instances})["predictions"]
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
        """Why there is no answer: `requests` raises an OSError also for a file of authorities that is not there."""
        reason = _shorten(error)
        host = self._address.partition("://")[2]
        if "BadStatusLine" in reason:
            return f"what answers there does not speak HTTP; a port of gRPC is named grpc://{host}"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return f"the certificate is refused: {reason}. Name the file of a private authority in {_AUTHORITIES[0]}."
        if isinstance(error, requests.exceptions.SSLError):
            return f"what answers there does not speak TLS ({reason}); without TLS a server is named http://{host}"
        return f"cannot be reached: {reason}"


def _predict_all(client: GrpcClient | RestClient, images: Sequence[Image]) -> Iterator[Prediction]:
    batch: list[Image] = []
    size = 0
    for image in images:
        more = _measure(image)
        if batch and (len(batch) == BATCH or size + more > _MOST_BYTES):
            yield from _predict_batch(client, batch)
            batch, size = [], 0
        batch.append(image)
        size += more
    if batch:
        yield from _predict_batch(client, batch)


def _predict_batch(client: GrpcClient | RestClient, images: Sequence[Image]) -> Iterator[Prediction]:
    try:
        outputs = client.ask([_read(image) for image in images])
    except (OSError, ServerError) as error:
        if isinstance(error, ServerError) and error.code not in _REFUSED | _TOO_LARGE:
            raise
        if len(images) == 1:
            client.metadata()  # raises if it is not the image that is refused, but the model, the version or the label
            yield Prediction(_name(images[0]), problem=_explain(error))
            return
        for image in images:  # one of them is broken: ask one by one
            yield from _predict_batch(client, [image])
        return
    for row, image in enumerate(images):
        classes = [_text(name) for name in outputs["classes"][row]]
        probabilities = dict(zip(classes, map(float, outputs["probabilities"][row]), strict=True))
        yield Prediction(_name(image), _text(outputs["label"][row]), probabilities)


def _measure(image: Image) -> int:
    """Bytes; 0 of what cannot be read, which will be said later."""
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
