"""Page server of `./graft try`, an ASGI application: the files of the page, and three questions to a model server."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pipeline.pictures.heat_colours import COLOURS
from pipeline.try_page.guard import Guard
from pipeline.try_page.model_server import MAX_IMAGE, SECONDS, AnswerError, ModelServer
from schema.version import VERSION

Settings = Callable[[int], dict[str, str]]

_HERE = pathlib.Path(__file__).parent / "page"
_STYLE = pathlib.Path(__file__).parents[1] / "report" / "templates" / "style.css"  # colours and type of a run's page
_SCRIPTS = ("page.js", "queue.js", "server.js", "card.js", "heat.js", "files.js", "wording.js")
_FILES = {
    "/": (_HERE / "index.html", "text/html"),
    "/style.css": (_STYLE, "text/css"),
    "/try.css": (_HERE / "try.css", "text/css"),
    **{f"/{name}": (_HERE / name, "text/javascript") for name in _SCRIPTS},
}
_COLOURS = f"export const COLOURS = {json.dumps(COLOURS)};\n"  # module that heat.js imports
_MOST = 4  # images in memory and on their way to the model server at once; more wait
_BODY_SECONDS = 60.0  # limit for an image to arrive


class PageServer:
    """Handler of the page's questions."""

    def __init__(self, server: ModelServer, find_settings: Settings):
        """Takes the model server to ask.

        Args:
            server: model server.
            find_settings: function from the number of a version to its `resize` and `orientation`, which a model
                server does not tell; an empty dictionary if they are unknown.
        """
        self._server, self._find_settings = server, find_settings
        self._slots = anyio.CapacityLimiter(_MOST)

    async def describe(self, _: Request) -> Response:
        """Answers what the page needs to know of the model."""
        return await self._answer(self._describe)

    async def predict(self, request: Request) -> Response:
        """Answers the class of the image in the body."""
        return await self._answer_image(request, self._server.predict)

    async def explain(self, request: Request) -> Response:
        """Answers the heat map of the image in the body."""
        return await self._answer_image(request, self._server.explain)

    def _describe(self) -> dict[str, Any]:
        known = {"graft": VERSION, "model": self._server.name, "server": self._server.address, "max_bytes": MAX_IMAGE}
        found = self._server.describe()
        return known | vars(found) | {"version": str(found.version)} | self._find_settings(found.version)

    async def _answer_image(self, request: Request, ask: Callable[[bytes], dict[str, Any]]) -> Response:
        async with self._slots:
            try:
                image = await _read_image(request)
            except AnswerError as error:
                return _fail(error, {"Connection": "close"})  # the unread part would be parsed as the next request
            except ClientDisconnect:
                return Response(status_code=499)  # the client is gone
            return await self._answer(lambda: ask(image))

    async def _answer(self, ask: Callable[[], dict[str, Any]]) -> Response:
        """Runs a question in a thread; the thread is left alone at the time limit and at the end of the server."""
        try:
            with anyio.fail_after(SECONDS):
                return JSONResponse(await anyio.to_thread.run_sync(ask, abandon_on_cancel=True))
        except AnswerError as error:
            return _fail(error)
        except TimeoutError:
            return _fail(AnswerError(f"no answer within {SECONDS:g} seconds", kind="late"))


async def _read_image(request: Request) -> bytes:
    """Reads a body within the limits of size and time."""
    too_large = AnswerError(f"larger than the {MAX_IMAGE / 1e6:.0f} MB that an image may have", kind="large")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_IMAGE:
        raise too_large
    image = bytearray()
    try:
        with anyio.fail_after(_BODY_SECONDS):
            async for chunk in request.stream():
                image += chunk
                if len(image) > MAX_IMAGE:
                    raise too_large
    except TimeoutError:
        raise AnswerError(f"the image did not arrive within {_BODY_SECONDS:g} seconds", kind="late") from None
    return bytes(image)


def _fail(error: AnswerError, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"kind": error.kind, "error": str(error)}, error.status, headers)


def create_app(server: ModelServer, find_settings: Settings) -> Starlette:
    """Makes the application; the arguments are those of `PageServer`."""
    page = PageServer(server, find_settings)
    routes = [
        *(Route(path, _serve_file(file, kind), methods=["GET"]) for path, (file, kind) in _FILES.items()),
        Route("/colours.js", _send_colours, methods=["GET"]),
        Route("/model", page.describe, methods=["GET"]),
        Route("/predict", page.predict, methods=["POST"]),
        Route("/explain", page.explain, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard)])


def _serve_file(file: pathlib.Path, kind: str) -> Callable[[Request], Any]:
    async def answer(_: Request) -> Response:
        return FileResponse(file, media_type=kind)

    return answer


async def _send_colours(_: Request) -> Response:
    return Response(_COLOURS, media_type="text/javascript")
