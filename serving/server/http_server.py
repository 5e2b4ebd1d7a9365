"""HTTP server: uvicorn in a thread, with a time limit for the head of a request. Imports no TensorFlow."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from schema.errors import UsageError

_MAX_CONNECTIONS = 1000  # more are answered 503
_GRACE = 5  # seconds for requests in work when the server is stopped


class LimitedHttpProtocol(H11Protocol):
    """HTTP protocol that closes a connection when the head of a request is not complete in time.

    uvicorn limits the idle time between two requests only. Clients that send a byte now and then would fill the table
    of connections.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stops the timer when a head is complete, and starts the timer with the first byte of the next head."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Starts the timer for the next head, part of which may have arrived."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
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

    A proxy that trusts the other header would read part of the body as a further request (RFC 9112, 6.1 and 6.3). h11
    accepts this combination; it refuses other ambiguous requests itself.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            content = {"error": "Malformed request: Content-Length and Transfer-Encoding at once"}
            refusal = JSONResponse(content, 400, {"Connection": "close"})
            await refusal(scope, receive, send)
        else:
            await app(scope, receive, send)

    return answer


@contextlib.contextmanager
def serve_http(
    app: Starlette, host: str, port: int, timeout_seconds: float, grace_seconds: int = _GRACE
) -> Iterator[int]:
    """Serves an application until the context ends; then finishes the requests in work.

    Args:
        app: application to serve.
        host: address to listen on.
        port: port to listen on; 0 for a free one.
        timeout_seconds: limit for the head of a request, and for the pause between two requests.
        grace_seconds: limit for the requests in work at the end.
    Yields:
        The port.
    Raises:
        UsageError: if the server cannot listen on the port.
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
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=max(int(timeout_seconds), 1),
        timeout_graceful_shutdown=grace_seconds,
    )
    listening = _listen(host, port)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True, name="rest")
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(2 * grace_seconds)


def _listen(host: str, port: int) -> socket.socket:
    """Makes a listening socket with the protocol number of TCP.

    asyncio sets TCP_NODELAY only on such a socket; without it, an answer is delayed by 40 ms. A socket that uvicorn
    binds itself has protocol number 0.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # at once: a client that comes before uvicorn accepts is not refused
    except OSError as error:
        raise UsageError(
            f"{host}:{port}: cannot listen there: {error.strerror}. If another server does, name another port."
        ) from None
    return listening
