"""The connection to Kubeflow Pipelines: kfp's client, but silent, in bounded time, and with errors of one line.

Where the server is and who asks is kfp's own configuration; none of it is ever printed:
    --host, KF_PIPELINES_ENDPOINT       the address; without, kfp takes the cluster it runs in, or the one of kubectl
    KF_PIPELINES_SA_TOKEN_PATH          a file with a token; kfp itself reads it only without an address
    KF_PIPELINES_IAP_OAUTH2_CLIENT_ID   Google's Identity-Aware Proxy
    ~/.config/kfp/context.json          a cookie or a header, and the namespace
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import kfp
import kfp_server_api
import urllib3
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from schema.errors import GraftError, UsageError
from serving.client.addresses import without_password

TIMEOUT = (5.0, 60.0)  # seconds to connect, and for an answer: the server compiles a run before it answers
_TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
_PORT_FORWARD = "kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"
_CREDENTIALS = f"{_TOKEN_FILE}=FILE with a token, or a cookie in ~/.config/kfp/context.json"

Transport = Callable[..., Any]


class ServerError(GraftError):
    """A server that does not answer, or that refuses.

    Attributes:
        status: of HTTP; 0 if there was no answer.
    """

    def __init__(self, *lines: str, status: int = 0):
        """Takes what is to be said, with the status."""
        super().__init__(*lines)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that has answered.

    Attributes:
        client: kfp's; each of its calls may raise ServerError.
        ui: address of the pages for people.
        namespace: of experiments and pipelines; None where the server is for one user.
    """

    client: Any
    ui: str
    namespace: str | None


class _Client(kfp.Client):
    """kfp's client, which asks once: its own makes five attempts, five seconds apart, each with a traceback."""

    def __init__(self, make_transport: Callable[[Any], Transport], **settings: Any):
        """Takes what makes a transport of the generated code's RESTClientObject."""
        self._make_transport = make_transport
        self._rest: Any = None
        super().__init__(**settings)

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """What the server says of itself. The constructor asks as soon as it can, hence the transport is set here."""
        rest = self._healthz_api.api_client.rest_client
        if rest is not self._rest:
            rest.request, self._rest = self._make_transport(rest), rest
        return super().get_kfp_healthz(sleep_duration)

    def set_user_namespace(self, namespace: str) -> None:
        """For this process; kfp would write it into ~/.config, which a pod need not have."""
        self._context_setting["namespace"] = namespace


def connect(host: str | None, namespace: str | None) -> Server:
    """Connects to a server, and looks whether it answers.

    Args:
        host: its address, such as http://localhost:8080; None for the one in kfp's configuration.
        namespace: of the user; None for the one in kfp's configuration.
    Raises:
        UsageError: if the address is none, or the server is for many users and no namespace is named.
        ServerError: if it does not answer, or refuses.
    """
    if host and not re.fullmatch(r"https?://[^\s/]+?(:\d{1,5})?(/\S*)?", host):
        raise UsageError(f"--host: expected http://HOST:PORT or https://HOST, got {without_password(host)}.")
    return make_server(_send, namespace, host=host, credentials=_find_token())


def make_server(make_transport: Callable[[Any], Transport], namespace: str | None, **settings: Any) -> Server:
    """A server behind any transport; `settings` are those of kfp.Client."""
    try:
        with muted():
            client = _Client(make_transport, **settings)
    except GraftError:
        raise
    except Exception as error:  # context.json, kubectl's configuration, Google's: each fails in its own way
        message = " ".join(str(error).split())[:200]
        raise GraftError(
            f"kfp's configuration cannot be used: {type(error).__name__}: {message}. Look at "
            "~/.config/kfp/context.json and the variables that begin with KF_PIPELINES_."
        ) from None
    for_many = client.get_kfp_healthz().multi_user
    namespace = namespace or client.get_user_namespace() or None
    if for_many and not namespace:
        raise UsageError("this Kubeflow is for many users: name your namespace with --namespace.")
    url = client._healthz_api.api_client.configuration.host
    return Server(client, os.environ.get("KF_PIPELINES_UI_ENDPOINT") or without_password(url), namespace)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drops what kfp prints: links, and a warning with each client."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def find_method(api: Any, name: str) -> Callable[..., Any]:
    """A method of the generated API; newer ones have the name of the service before it."""
    names = (known for known in dir(api) if known == name or known.endswith(f"_service_{name}"))
    return getattr(api, next(names))


def list_all(list_page: Callable[..., Any], items: str, **arguments: Any) -> list[Any]:
    """Returns all of a list; as `iterate`."""
    return list(iterate(list_page, items, **arguments))


def iterate(list_page: Callable[..., Any], items: str, **arguments: Any) -> Iterator[Any]:
    """Goes through the pages of a list; asks for a page when the one before is used up.

    Args:
        list_page: a method of kfp.Client.
        items: which field of the answer holds them.
        arguments: of the method.
    """
    token = ""
    while True:
        page = list_page(page_size=100, page_token=token, **arguments)
        yield from getattr(page, items) or []
        token = page.next_page_token
        if not token:
            return


def _find_token() -> ServiceAccountTokenVolumeCredentials | None:
    path = os.environ.get(_TOKEN_FILE)
    if not path:
        return None
    try:
        with open(path):
            return ServiceAccountTokenVolumeCredentials(path)
    except OSError as error:
        raise UsageError(f"{_TOKEN_FILE}: {path} cannot be read: {error.strerror}.") from None


def _send(rest: Any) -> Transport:
    """A transport that sends each request once, with a time-out, and says in one line what went wrong."""
    send = rest.request
    rest.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(connect=0, read=0, status=0, other=0)

    def request(method: str, url: str, **arguments: Any) -> Any:
        arguments["_request_timeout"] = TIMEOUT
        server = f"the Kubeflow Pipelines API at {without_password(url).partition('/apis/')[0]}"
        try:
            response = send(method, url, **arguments)
        except kfp_server_api.ApiException as error:
            raise _explain_refusal(server, url, error) from None
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{server} {_explain_silence(error)}") from None
        if "text/html" in response.urllib3_response.headers.get("Content-Type", ""):
            raise ServerError(f"{server} answers with a web page, as if to log in. Set {_CREDENTIALS}.", status=401)
        return response

    return request


def _explain_silence(error: urllib3.exceptions.HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        return f"does not answer within {TIMEOUT[1]:g} s. It may have done what it was asked; look before asking again."
    # What the operating system says is said in the middle of what urllib3 makes of it, differently in each release.
    causes = (reason.__cause__, reason.__context__, *reason.args)
    said = (cause.strerror or str(cause) for cause in causes if isinstance(cause, OSError))
    why = next((text[:1].lower() + text[1:] for text in said), type(reason).__name__)
    return (
        f"does not answer ({why}). Start a port-forward, such as `{_PORT_FORWARD}`, "
        "or name another address with --host."
    )


def _explain_refusal(server: str, url: str, error: kfp_server_api.ApiException) -> ServerError:
    message = _find_message(error)
    if error.status == 401:
        text = f"{server} wants to know who asks (401). Set {_CREDENTIALS}."
    elif error.status == 403:
        text = f"{server} does not allow this (403): {message}. Name a namespace of yours, or set {_CREDENTIALS}."
    elif error.status == 404 and url.endswith("/healthz"):
        text = f"{server} is none: 404 for /apis/v2beta1/healthz. Kubeflow Pipelines 2.0 or newer is expected there."
    elif error.status == 409:
        text = f"{server} has it already (409): {message}. If that was another just now, give the same command again."
    else:
        text = f"{server} refuses ({error.status}): {message}."
    return ServerError(text, status=error.status)


def _find_message(error: kfp_server_api.ApiException) -> str:
    """What the server says; its own uploads say it in another field than the rest. Headers may hold a cookie."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    fields = answer if isinstance(answer, dict) else {}
    text = fields.get("error_message") or fields.get("message") or fields.get("error") or error.reason or ""
    return " ".join(str(text).split())[:400].rstrip(".") or "no reason given"
