"""Questions to a model server by TensorFlow Serving's REST API, with answers as the page needs them.

Address, paths and body are fixed here; of the browser's request, the bytes of the image alone reach the server.
"""

import base64
import contextlib
import dataclasses
import json
import math
import urllib.parse
from typing import Any

import requests
import requests.auth

from schema.errors import UsageError
from serving.client.addresses import split_address, without_password
from serving.client.refusals import ONE_CELL, describe_coarse, explain_refusal
from serving.client.sessions import make_session

SERVING, EXPLAIN = "serving_default", "explain"  # of serving/export/signatures.py, which imports TensorFlow
SECONDS = 60.0  # limit for the answer to an image
STATUS_SECONDS = 5.0  # limit for the answer about the model
MAX_REQUEST = 32 << 20  # bytes of a body that the built-in server takes
MAX_IMAGE = (MAX_REQUEST - 1024) // 4 * 3  # bytes; base64 makes four of three, beside the JSON around the image
_MAX_ANSWER = 16 << 20  # bytes
_MAX_CHARACTERS = 500  # of a server's message
_OUTPUTS = {"label", "classes", "probabilities"}


class AnswerError(Exception):
    """Reason why there is no answer, in words for the page.

    Attributes:
        kind: "refused" for the image, "large" for its size, "busy" to try again, "late", "gone" if no image would be
            answered now, "other".
        status: HTTP status for the page.
    """

    def __init__(self, text: str, *, kind: str):
        """Takes the text and the kind."""
        super().__init__(text)
        self.kind = kind

    @property
    def status(self) -> int:
        """HTTP status of the page server's answer."""
        return {"refused": 400, "large": 413, "busy": 503, "late": 504}.get(self.kind, 502)


@dataclasses.dataclass(frozen=True)
class Model:
    """Model that a server has.

    Attributes:
        version: number of the version that answers.
        explains: whether there is a signature that returns heat maps.
        image_size: side of the network's input in pixels; None if unknown.
        problem: reason why the page cannot ask the model; "" if it can.
    """

    version: int
    explains: bool
    image_size: int | None
    problem: str


class ModelServer:
    """Model on a server.

    Attributes:
        address: base URL of the REST endpoint, without user name and password.
        name: name of the model.
    """

    def __init__(self, server: str, name: str):
        """Makes a session without sending a request.

        Args:
            server: address, such as "http://localhost:8501"; "https://name:password@host" uses basic authentication.
            name: name of the model.
        Raises:
            UsageError: if the address is invalid.
        """
        try:
            scheme, host, port, login = split_address(server)
        except UsageError:
            raise UsageError(
                f"{without_password(server)}: expected the REST address of a model server, without a path, such as "
                "http://localhost:8501."
            ) from None
        if scheme == "grpc":
            raise UsageError(f"{without_password(server)}: speaks gRPC. Name the REST port: http://{host}:8501.")
        self.address, self.name = f"{scheme}://{host}:{port or 8501}", name
        self._url = f"{self.address}/v1/models/{urllib.parse.quote(name, safe='')}"
        self._session = make_session(self.address)
        if login:
            self._session.auth = requests.auth.HTTPBasicAuth(login[0].encode(), login[1].encode())

    def describe(self) -> Model:
        """Asks for the signatures of the model.

        Raises:
            AnswerError: if the server does not answer, or does not have the model.
        """
        document = self._ask("GET", "/metadata", None, STATUS_SECONDS)
        try:
            signatures = document["metadata"]["signature_def"]["signature_def"]
            version = int(document["model_spec"]["version"])
            serving = signatures.get(SERVING, {})
            return Model(version, EXPLAIN in signatures, _read_size(signatures), _find_problem(serving))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AnswerError(f"{self.address} answers, but not as a model server does", kind="gone") from None

    def predict(self, image: bytes) -> dict[str, Any]:
        """Asks for the class of an encoded image.

        Returns:
            `label`; `accepted`, true where the model has no such output; `probabilities`, pairs of class name and
            probability, the highest first.
        Raises:
            AnswerError: if there is no answer.
        """
        row = self._ask_signature(SERVING, image)
        try:
            label, pairs = str(row["label"]), zip(row["classes"], row["probabilities"], strict=True)
            probabilities = [(str(name), float(value)) for name, value in pairs]
            accepted = bool(row.get("accepted", True))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AnswerError("the answer has no label, classes and probabilities", kind="other") from None
        if not all(math.isfinite(value) for _, value in probabilities):
            raise AnswerError("the model's probabilities are no numbers", kind="other")
        ranked = sorted(probabilities, key=lambda pair: (-pair[1], pair[0] != label))
        return {"label": label, "accepted": accepted, "probabilities": ranked}

    def explain(self, image: bytes) -> dict[str, Any]:
        """Asks for the heat map of an encoded image.

        Returns:
            `heatmap`: rows of numbers from 0 to 1, of the square that the network sees; `coarse`, a sentence for a map
            of few cells, or ""; and `resize`, how that square is made of the image, if the model has that output.
        Raises:
            AnswerError: if there is no answer.
        """
        found = self._ask_signature(EXPLAIN, image)
        rows = found.get("heatmap") if isinstance(found, dict) else found  # a single output comes without its name
        try:
            heatmap = [[min(max(float(value), 0.0), 1.0) for value in row] for row in rows]  # type: ignore[union-attr]
        except (TypeError, ValueError):
            heatmap = []
        if not heatmap or not heatmap[0] or len({len(row) for row in heatmap}) != 1:
            raise AnswerError("the answer has no heat map", kind="other")
        if len(heatmap) == len(heatmap[0]) == 1:
            raise AnswerError(ONE_CELL, kind="other")
        resize = found.get("resize") if isinstance(found, dict) else None
        told = {"heatmap": heatmap, "coarse": describe_coarse(len(heatmap), len(heatmap[0]))}
        return told | ({"resize": resize} if isinstance(resize, str) else {})

    def _ask_signature(self, signature: str, image: bytes) -> Any:
        """Sends one image; returns the only row of the answer."""
        encoded = base64.b64encode(image).decode("ascii")
        body = f'{{"signature_name": "{signature}", "instances": [{{"b64": "{encoded}"}}]}}'
        document = self._ask("POST", ":predict", body.encode("ascii"), SECONDS)
        try:
            [row] = document["predictions"]
        except (KeyError, TypeError, ValueError):
            raise AnswerError("the answer has no prediction", kind="other") from None
        return row

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        headers = {"Content-Type": "application/json"}
        try:
            with self._session.request(
                method,
                self._url + path,
                data=body,
                headers=headers,
                timeout=seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = response.raw.read(_MAX_ANSWER + 1, decode_content=True)
                status = response.status_code
        except requests.Timeout:
            raise AnswerError(f"no answer within {seconds:g} seconds", kind="late") from None
        except Exception as error:  # of requests, urllib3 or the system
            raise AnswerError(f"the model server at {self.address} does not answer", kind="gone") from error
        return self._read(status, content)

    def _read(self, status: int, content: bytes) -> Any:
        """Returns the document of an answer; raises AnswerError for an error of the server."""
        document = None
        if len(content) <= _MAX_ANSWER:
            with contextlib.suppress(ValueError, RecursionError):
                document = json.loads(content)
        if status == 200:
            if document is None:
                raise AnswerError(f"{self.address} answers, but not as a model server does", kind="gone")
            return document
        text = str(document.get("error", "")) if isinstance(document, dict) else ""
        raise self._explain(status, text[:_MAX_CHARACTERS])

    def _explain(self, status: int, text: str) -> AnswerError:
        if status == 400:
            return AnswerError(explain_refusal(text), kind="refused")
        if status in (413, 429):
            return AnswerError("larger than the model server takes", kind="large")
        if status == 503:
            return AnswerError("the model server is busy", kind="busy")
        if status in (408, 504):
            return AnswerError(f"the model server gave no answer in its own time limit: {text}", kind="late")
        if status == 404:
            if not text:
                return AnswerError(f"{self.address} answers, but not as a model server does", kind="gone")
            return AnswerError(f"the server at {self.address} has no model {self.name}: {text}", kind="gone")
        return AnswerError(f"the model server says: {text or 'nothing'} ({status})", kind="other")


def _read_size(signatures: dict[str, Any]) -> int | None:
    """Returns the side of the network's input, from the signature `pixels`; None without it."""
    with contextlib.suppress(KeyError, TypeError, ValueError, IndexError):
        return int(signatures["pixels"]["inputs"]["pixels"]["tensor_shape"]["dim"][1]["size"])
    return None


def _find_problem(serving: dict[str, Any]) -> str:
    """Returns the reason why a signature takes no images, or answers no classes; "" if the page can ask it."""
    inputs = [f"{name} ({value['dtype']})" for name, value in serving.get("inputs", {}).items()]
    if len(inputs) != 1 or not inputs[0].endswith("(DT_STRING)"):
        taken = ", ".join(inputs) or "nothing"
        return f"This model takes no image files: its signature {SERVING} takes {taken}. Name one of Graft's."
    if missing := _OUTPUTS - serving.get("outputs", {}).keys():
        return f"This model answers no {' and no '.join(sorted(missing))}: it is none of Graft's."
    return ""
