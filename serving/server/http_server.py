"""uvicorn in a thread, with a bound on how long a client may take to send the head of a request."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from schema.errors import UsageError
from serving.server.json_responses import format_error

_MOST_CONNECTIONS = 1000  # further ones are answered 503
_GRACE = 5  # seconds that requests have to be finished when the server is stopped


class LimitedHttpProtocol(H11Protocol):
    """Closes a connection on which no whole head of a request comes in time.

    uvicorn bounds the time between two requests until a byte of the next one comes, and not that before the first:
    clients that send a byte now and then would fill the table of connections.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stops the clock when a head is complete, and starts it with the first byte of another one."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Starts the clock for the next head, of which a part may have come."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops it."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _stop(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None


def _refuse_two_lengths(app: Starlette) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Answers 400 to a request with Content-Length and Transfer-Encoding, and closes the connection.

    A proxy that goes by the other header would take part of the body for a request (RFC 9112, 6.1 and 6.3). h11 reads
    the chunks and goes on; what else is ambiguous it refuses itself.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            content = format_error("Malformed request: Content-Length and Transfer-Encoding at once")
            refusal = Response(content, 400, {"Connection": "close"}, media_type="application/json")
            await refusal(scope, receive, send)
        else:
            await app(scope, receive, send)

    return answer


@contextlib.contextmanager
def serve_http(app: Starlette, host: str, port: int, timeout_seconds: float) -> Iterator[None]:
    """Serves an application until the context ends; then what has begun is finished.

    Args:
        app: what to serve.
        host: where to listen.
        port: where to listen.
        timeout_seconds: for the head of a request, and between two requests.
    Raises:
        UsageError: if something else listens there.
    """
    config = uvicorn.Config(
        _refuse_two_lengths(app),
        interface="asgi3",
        http=LimitedHttpProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=max(int(timeout_seconds), 1),
        timeout_graceful_shutdown=_GRACE,
    )
    listening = _listen(host, port)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True, name="rest")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(2 * _GRACE)


def _listen(host: str, port: int) -> socket.socket:
    """Binds a socket that says it is TCP: asyncio sets TCP_NODELAY for no other, and then an answer waits for 40 ms.

    uvicorn's own, when it is bound before the start, does not say so.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise UsageError(
            f"{host}:{port}: cannot listen there: {error.strerror}. Another server may; name another port."
        ) from None
    return listening
