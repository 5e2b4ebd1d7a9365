"""Connection to Kubeflow Pipelines: kfp's client with time-outs, without output, and with errors of one line.

kfp's own configuration holds the address and the credentials. Nothing prints the credentials (`credentials.py`):
    --host, KF_PIPELINES_ENDPOINT       the address; by default kfp takes its own cluster, or that of kubectl
    KF_PIPELINES_SA_TOKEN_PATH          a file with a token; kfp itself reads it only without an address
    KF_PIPELINES_IAP_OAUTH2_CLIENT_ID   Google's Identity-Aware Proxy
    ~/.config/kfp/context.json          a cookie or a header, and the namespace
"""

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import kfp
import kfp_server_api
import urllib3

from kubeflow.credentials import CONTEXT, TOKEN_FILE, find_secrets, find_token, hide, read_context
from pipeline.console.printing import echo
from schema.errors import GraftError, UsageError
from serving.client.addresses import without_password

TIMEOUT = (5.0, 60.0)  # seconds to connect, and to answer; the server compiles a run before it answers
_PORT_FORWARD = "kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"
_LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"  # newer APIs have no logs
_LOG_BYTES = 1 << 18  # of the end of a log
_LONG = 400  # characters of a server's reason to show
_MOST_HIDDEN = 4000  # characters of a server's reason to search for credentials
_CREDENTIALS = f"{TOKEN_FILE}=FILE with a token, or a cookie in ~/.config/kfp/context.json"

Transport = Callable[..., Any]


class ServerError(GraftError):
    """Error of a server that does not answer, or that refuses a request.

    Attributes:
        status: HTTP status; 0 if there was no answer.
    """

    def __init__(self, *lines: str, status: int = 0):
        """Takes the lines of the message and the HTTP status."""
        super().__init__(*lines)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Server:
    """Connection to a server that has answered.

    Attributes:
        client: kfp's client; each of its calls may raise ServerError.
        ui: address of the web pages.
        namespace: namespace of experiments and pipelines; None where the server has a single user.
        for_many: whether the server has many users, and so knows namespaces.
    """

    client: Any
    ui: str
    namespace: str | None
    for_many: bool = False


class _Client(kfp.Client):
    """kfp's client with one attempt per request.

    kfp's own makes five attempts, five seconds apart, and prints a traceback for each.
    """

    def __init__(self, make_transport: Callable[[Any], Transport], **settings: Any):
        """Connects to the server.

        Args:
            make_transport: returns a transport for a RESTClientObject of the generated code.
            settings: arguments of kfp.Client.
        """
        self._make_transport = make_transport
        self._rest: Any = None
        super().__init__(**settings)

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Returns the server's description of itself.

        Sets the transport before the first request, which the constructor of kfp.Client sends from here.
        """
        api_client = self._healthz_api.api_client
        rest = api_client.rest_client
        if rest is not self._rest:
            rest.request, self._rest = self._make_transport(rest), rest
            api_client.update_params_for_auth = _without_content(api_client.update_params_for_auth)
        return super().get_kfp_healthz(sleep_duration)

    def _load_context_setting_or_default(self) -> None:
        """Reads kfp's `context.json`, checked."""
        self._context_setting = read_context(self._LOCAL_KFP_CONTEXT)

    def set_user_namespace(self, namespace: str) -> None:
        """Sets the namespace for this process.

        kfp would write it into ~/.config, and a pod may have no such folder.
        """
        self._context_setting["namespace"] = namespace


def connect(host: str | None, namespace: str | None) -> Server:
    """Connects to a server, and sends a first request.

    Args:
        host: address such as http://localhost:8080; None for the one in kfp's configuration.
        namespace: the user's namespace; None for the one in kfp's configuration.
    Raises:
        UsageError: if the address is malformed, or the server has many users and no namespace is given.
        ServerError: if the server does not answer, or refuses.
    """
    if host and not re.fullmatch(r"https?://[^\s/]+?(:\d{1,5})?(/\S*)?", host):
        raise UsageError(f"--host: expected http://HOST:PORT or https://HOST, got {without_password(host)}.")
    server = make_server(_send, namespace, host=host, credentials=find_token())
    if server.for_many or not namespace:
        return server
    echo(f"graft: --namespace {namespace}: passed over, because this Kubeflow has a single user.", err=True)
    return dataclasses.replace(server, namespace=None)


def make_server(make_transport: Callable[[Any], Transport], namespace: str | None, **settings: Any) -> Server:
    """Connects to a server by the given transport; `settings` are arguments of kfp.Client."""
    try:
        with muted():
            client = _Client(make_transport, **settings)
    except GraftError:
        raise
    except Exception as error:  # kubectl's and Google's configuration each raise errors of their own
        raise _refuse_configuration(error) from None
    for_many = bool(client.get_kfp_healthz().multi_user)
    namespace = namespace or client.get_user_namespace() or None
    if for_many and not namespace:
        raise UsageError("this Kubeflow has many users: name your namespace with --namespace.")
    url = client._healthz_api.api_client.configuration.host
    return Server(client, without_password(os.environ.get("KF_PIPELINES_UI_ENDPOINT") or url), namespace, for_many)


def _without_content(call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function whose errors hold nothing of the credentials that it reads."""

    def call_it(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except GraftError:
            raise
        except Exception as error:
            raise _refuse_configuration(error) from None

    return call_it


def _refuse_configuration(error: Exception) -> GraftError:
    """Describes an error by its type and number alone, because its text may hold a credential."""
    reason = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else ""
    return GraftError(
        f"kfp's configuration cannot be used ({type(error).__name__}{reason}). Look at "
        f"{CONTEXT}, kubectl's configuration and the variables that begin with KF_PIPELINES_."
    )


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drops the output of kfp: links, records of the log, and a warning for each client."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def read_log(server: Server, run_id: str, pod: str) -> str:
    """Returns the end of a pod's log: up to 256 kB.

    Args:
        server: the server.
        run_id: id of the pod's run.
        pod: name of the pod.
    Raises:
        ServerError: if the server does not hand the log out.
    """
    api_client = server.client._healthz_api.api_client
    where = {"run_id": run_id, "node_id": pod}
    response = api_client.call_api(_LOG, "GET", where, auth_settings=["Bearer"], _preload_content=False)
    end = b""
    try:
        for part in response.stream(1 << 16):
            end = (end + part)[-_LOG_BYTES:]
    except urllib3.exceptions.HTTPError as error:
        raise ServerError(f"the log of {pod} ends early: {type(error).__name__}.") from None
    finally:
        response.release_conn()
    return end.decode("utf-8", "replace")


def find_method(api: Any, name: str) -> Callable[..., Any]:
    """Returns a method of the generated API; newer releases prefix its name with that of the service."""
    names = (known for known in dir(api) if known == name or known.endswith(f"_service_{name}"))
    return getattr(api, next(names))


def list_all(list_page: Callable[..., Any], items: str, **arguments: Any) -> list[Any]:
    """Returns all items of a paged list; arguments as for `iterate`."""
    return list(iterate(list_page, items, **arguments))


def iterate(list_page: Callable[..., Any], items: str, **arguments: Any) -> Iterator[Any]:
    """Yields the items of a paged list; fetches a page when the items of the page before are used up.

    Args:
        list_page: a method of kfp.Client.
        items: field of the answer that holds the items.
        arguments: arguments of the method.
    """
    token = ""
    while True:
        page = list_page(page_size=100, page_token=token, **arguments)
        yield from getattr(page, items) or []
        token = page.next_page_token
        if not token:
            return


def _send(rest: Any) -> Transport:
    """Returns a transport that sends each request once, with a time-out, and raises errors of one line."""
    send = rest.request
    rest.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(connect=0, read=0, status=0, other=0)

    def request(method: str, url: str, **arguments: Any) -> Any:
        arguments["_request_timeout"] = TIMEOUT
        server = f"the Kubeflow Pipelines API at {without_password(url).partition('/apis/')[0]}"
        secrets = find_secrets(url, arguments.get("headers") or {})
        try:
            response = send(method, url, **arguments)
        except kfp_server_api.ApiException as error:
            raise _explain_refusal(server, url, error, secrets) from None
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{server} {hide(_explain_silence(error), secrets)}") from None
        except Exception as error:  # http.client's hold the header that it refuses
            raise ServerError(
                f"{server} cannot be asked ({type(error).__name__}): the address, a token, a cookie or a header is "
                f"none that a request can carry. Set {_CREDENTIALS}."
            ) from None
        if "text/html" in getattr(response, "urllib3_response", response).headers.get("Content-Type", ""):
            raise ServerError(f"{server} answers with a web page, perhaps a login. Set {_CREDENTIALS}.", status=401)
        return response

    return request


def _explain_silence(error: urllib3.exceptions.HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        return f"does not answer within {TIMEOUT[1]:g} s. The request may have been carried out: look before a repeat."
    # urllib3 wraps the OSError, in another way in each release.
    causes = (reason.__cause__, reason.__context__, *reason.args)
    texts = (cause.strerror or str(cause) for cause in causes if isinstance(cause, OSError))
    why = next((text[:1].lower() + text[1:] for text in texts), type(reason).__name__)
    return (
        f"does not answer ({why}). Start a port-forward, such as `{_PORT_FORWARD}`, "
        "or name another address with --host."
    )


def _explain_refusal(server: str, url: str, error: kfp_server_api.ApiException, secrets: Iterable[str]) -> ServerError:
    message = hide(_find_message(error), secrets)[:_LONG].rstrip(".") or "no reason given"
    if error.status == 401:
        text = f"{server} asks for credentials (401). Set {_CREDENTIALS}."
    elif error.status == 403:
        text = f"{server} does not allow this (403): {message}. Name a namespace of yours, or set {_CREDENTIALS}."
    elif error.status == 404 and url.endswith("/healthz"):
        text = f"{server} is missing: 404 for /apis/v2beta1/healthz. Expected Kubeflow Pipelines 2.0 or newer."
    elif error.status == 409:
        text = f"{server} has this name already (409): {message}. If it is new, give the same command again."
    else:
        text = f"{server} refuses ({error.status}): {message}."
    return ServerError(text, status=error.status)


def _find_message(error: kfp_server_api.ApiException) -> str:
    """Returns the server's reason, from the body alone: the headers may hold a cookie.

    Uploads have the reason in another field than other requests.
    """
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    fields = answer if isinstance(answer, dict) else {}
    text = fields.get("error_message") or fields.get("message") or fields.get("error") or error.reason or ""
    return " ".join(str(text).split())[:_MOST_HIDDEN]
