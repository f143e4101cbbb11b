"""The server of the web page: its addresses, and how it listens and ends."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from faceops.base.errors import FaceOpsError
from faceops.review.album import Album
from faceops.review.pages import Pages, environment
from faceops.review.security import Access, Guard

DEFAULT_PORT = 8765  # if it is taken, and none was asked for, a free one
_END_S = 3  # how long answers may take when the server ends
REQUEST_S = 10.0  # a request has to be here after so long
_CONNECTIONS = 100  # more are refused: a browser opens six


def create_app(album: Album, access: Access) -> ASGIApp:
    """Return the ASGI app that shows `album` to those whom `access` lets in."""
    templates = environment()
    pages = Pages(album, templates)

    def door(problem: str, status: int) -> Response:
        asks = bool(access.password)
        page = templates.get_template("door.html.j2").render(problem=problem, asks_password=asks)
        return HTMLResponse(page, status)

    def post(answer: Callable[[Request, bytes], Response]) -> Callable:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(answer, request, await request.body())

        return endpoint

    routes = [
        Route("/", pages.start),
        Route("/confirm", pages.piles),
        Route("/confirm/{name:path}", pages.pile),
        Route("/people", pages.people),
        Route("/people/{name:path}", pages.person),
        Route("/unknown", pages.groups),
        Route("/unknown/{name}", pages.group),
        Route("/photo/{photo_id}", pages.photo),
        Route("/why/{key}", pages.why),
        Route("/history", pages.history),
        Route("/doctor", pages.doctor),
        Route("/search", pages.search),
        Route("/picture/face/{key}", pages.face_picture),
        Route("/picture/photo/{photo_id}", pages.photo_picture),
        Route("/picture/enrolled/{crop_id}", pages.enrolled_picture),
        Route("/api/faces/{kind}", pages.faces),
        Route("/api/photo/{photo_id}", pages.photo_json),
        Route("/api/people", pages.names),
        Route("/api/status", pages.status),
        Route("/api/publish", post(pages.publish), methods=["POST"]),
        Route("/api/{decision}", post(pages.decide), methods=["POST"]),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]
    errors = (KeyError, FaceOpsError, OSError, HTTPException, Exception)
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys(errors, pages.problem))
    app.router.redirect_slashes = False
    return Guard(app, access, door)  # around all of it, so that errors have its headers too


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens; with None on the usual port, or a free one if it is taken.

    Raises:
        FaceOpsError: it cannot.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise FaceOpsError(f"--host {host} is not an address of this machine ({error}).") from None
    tries = [DEFAULT_PORT, 0] if port is None else [port]
    for attempt in tries:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address[0], attempt))
            listener.listen(_CONNECTIONS)
            return listener
        except OSError as error:
            listener.close()
            problem = error.strerror
    raise FaceOpsError(
        f"{host} port {tries[-1]} cannot be used ({problem}); choose another --port."
    )


class _Connection(H11Protocol):
    """A connection that ends if no whole request comes in time: idle ones would take all places."""

    _ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_request()

    def _expect_request(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if self._ending:
                self._ending.cancel()
            self._ending = None
        elif self._ending is None:
            self._ending = self.loop.call_later(REQUEST_S, self.transport.close)


class Server(uvicorn.Server):
    """Serves an app on a socket of `listen`, until Ctrl-C or `should_exit`."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=_END_S,
            )
        )
        self._listener = listener

    def run_until_stopped(self) -> None:
        """Serve; return after Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn when it has ended
            self.run(sockets=[self._listener])
