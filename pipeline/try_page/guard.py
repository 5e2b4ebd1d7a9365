"""Protection of the page server: its own page alone may use it, and its page loads nothing from elsewhere.

A page of another site may send requests to a server on this machine, and by DNS rebinding (a name of its own that comes
to mean 127.0.0.1) read the answers. The header Host tells such a name, and Origin such a page; a browser lets no script
set either.
"""

import urllib.parse
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAMES = {"127.0.0.1", "localhost", "::1"}  # with any port: a tunnel may have another one
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # the next Graft may have another page at the same address
}


class Guard:
    """ASGI application that refuses foreign requests, and adds `HEADERS` to each answer of another application."""

    def __init__(self, app: ASGIApp):
        """Takes the application to protect."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        status, reason = refuse(scope["method"], Headers(scope=scope))
        app: ASGIApp = self._app
        if status:  # the unread part of a body would be parsed as the next request
            app = JSONResponse({"kind": "other", "error": reason}, status, {"Connection": "close"})
        await app(scope, receive, send_with_headers)


def refuse(method: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Returns the HTTP status and the reason to refuse a request; (0, "") for a request of the page.

    Args:
        method: method of the request. A POST must have an Origin, which each browser sends.
        headers: headers of the request, by names in lower case.
    """
    host = headers.get("host", "")
    if _parse_name(host) not in _NAMES:
        return 421, "This server is for its own machine: open it as http://127.0.0.1 or http://localhost"
    origin = headers.get("origin")
    if origin is None and method in ("GET", "HEAD"):
        return 0, ""
    if origin is None or origin.lower() != f"http://{host.lower()}":
        return 403, "Only the page of this server may send requests to it"
    return 0, ""


def _parse_name(host: str) -> str:
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
