"""The server of the page: who may use it, what is checked of each request, how it listens.

Other pages in the same browser are the danger on loopback: one of them may send requests to this
server (CSRF), or have its own name resolved to 127.0.0.1 and read the answers (DNS rebinding). So a
request needs a Host that is ours, no foreign Origin, and a cookie that only the address with the
token, or the password, gives.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from faceops.base.errors import FaceOpsError, UsageError

API_HEADER = "X-FaceOps"  # a page elsewhere cannot send it without asking, and we never agree
MAX_BODY = 2**20  # bytes: a decision about 10,000 faces is 700 kB
REQUEST_S = 10.0  # a request, and its body, has to be here after so long
DEFAULT_PORT = 8765  # if it is taken, and none was asked for, a free one
_END_S = 3  # how long answers may take when the server ends
_CONNECTIONS = 100  # more are refused: a browser opens six
_LEAST_PASSWORD = 12  # characters
_TRIES, _TRIES_S = 10, 60.0  # wrong passwords in so many seconds
_TOKEN_LIMIT = 200  # characters of a token or a cookie that are looked at
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# With no-referrer a browser would send the login form with the Origin "null".
_REFERRER, _REFERRER_OF_LOGIN = "no-referrer", "same-origin"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_password(path: Path) -> str:
    """Return the first line of a password file.

    Raises UsageError: it cannot be read, or the password is too short.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the password file {path} cannot be read: {error}.") from None
    password = text.partition("\n")[0].strip()
    if len(password) < _LEAST_PASSWORD:
        raise UsageError(
            f"the password in {path} is too short: write at least {_LEAST_PASSWORD} characters "
            "into its first line."
        )
    return password


@dataclass
class Access:
    """Who may use a server: whoever knows the password, or without one the token.

    `host` and `port`: where it listens; `now`: seconds, rising.
    """

    host: str
    port: int
    password: str = field(default="", repr=False)
    now: Callable[[], float] = time.monotonic
    token: str = field(default_factory=secrets.token_urlsafe, repr=False)
    session: str = field(default_factory=secrets.token_urlsafe, repr=False)

    def __post_init__(self) -> None:
        self._wrong: deque[float] = deque(maxlen=_TRIES)
        self._once: set[str] = set()

    @property
    def url(self) -> str:
        """The first address to open."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::", "") else self.host
        address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"
        return address if self.password else f"{address}?token={self.token}"

    def url_for_once(self) -> str:
        """Return a first address that works once.

        Other users of this machine see the arguments of a browser that a program starts.
        """
        once = secrets.token_urlsafe()
        self._once.add(once)
        return self.url.replace(f"token={self.token}", f"token={once}")

    @property
    def cookie(self) -> str:
        """The name of the cookie; browsers send cookies to all ports of a host."""
        return f"faceops-{self.port}"

    def is_own_host(self, header: str) -> bool:
        """Return whether the header Host names this server, by a name that cannot be rebound.

        Beyond loopback that is any numeric address, and the name of this machine.
        """
        host, colon, port = header.rpartition(":")
        if self.port == 80 and (not colon or header.endswith("]")):  # browsers leave it out
            host, colon, port = header, ":", "80"
        if not colon or port != str(self.port):
            return False
        host = host.lower()
        if is_loopback(self.host):
            return host in ("127.0.0.1", "localhost", "[::1]", self.host)
        own = socket.gethostname().lower()
        if host in ("localhost", self.host.lower(), own, f"{own.partition('.')[0]}.local"):
            return True
        try:
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def has_session(self, request: Request) -> bool:
        return _same(request.cookies.get(self.cookie, ""), self.session)

    def has_token(self, request: Request) -> bool:
        """Return whether the request has a token; one for once is then spent."""
        given = request.query_params.get("token", "")[:_TOKEN_LIMIT]
        if self.password:
            return False
        for once in self._once:
            if _same(given, once):
                self._once.remove(once)
                return True
        return _same(given, self.token)

    def check_password(self, given: str) -> str:
        """Return "" for the right password, else why it is refused."""
        now = self.now()
        if len(self._wrong) == _TRIES and now - self._wrong[0] < _TRIES_S:
            return f"Too many wrong passwords: wait {_TRIES_S:.0f} seconds."
        if self.password and _same(given, self.password):
            return ""
        self._wrong.append(now)
        return "This is not the password."


def _same(given: str, right: str) -> bool:
    """Compare in a time that does not depend on where the texts differ."""
    return hmac.compare_digest(given[:_TOKEN_LIMIT].encode(), right[:_TOKEN_LIMIT].encode())


class Guard:
    """ASGI middleware: lets requests through that `Access` permits, and adds headers to answers.

    `door` returns the page that asks for the token or the password, with a sentence and a status.
    """

    def __init__(self, app: ASGIApp, access: Access, door: Callable[[str, int], Response]) -> None:
        self._app, self._access, self._door = app, access, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        is_login = scope["path"] == "/login"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers["Referrer-Policy"] = _REFERRER_OF_LOGIN if is_login else _REFERRER
                # A script of an earlier version would not fit the page.
                is_static = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if is_static else "no-store")
                # Browsers heed Clear-Site-Data, when a person is forgotten, on loopback only.
                if not (is_static or is_loopback(self._access.host)):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        answer: ASGIApp | None = self._refusal(request)
        if answer is None and request.method == "POST":
            body = await _read_body(request, receive)
            if isinstance(body, bytes):
                receive = _replay(body, receive)
                answer = self._login(body) if is_login else None
            else:
                answer = body
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that the app must not see; None lets it through."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._access.is_own_host(hosts[0]):
            return _refuse("This is not the address of this server.", 421)
        if request.method not in ("GET", "HEAD", "POST"):
            return _refuse("This method is not allowed.", 405)
        # A browser always sends an Origin with a POST.
        origins = request.headers.getlist("origin") or [""] * (request.method == "POST")
        if any(one != f"http://{hosts[0].lower()}" for one in origins):
            return _refuse("Another page may not send requests to this one.", 403)
        path = request.scope["path"]
        is_first = request.method == "GET" and path in ("/", "/login")
        site = request.headers.get("sec-fetch-site", "none")
        opens_tab = request.headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not (is_first and opens_tab):
            return _refuse("Another page may not send requests to this one.", 403)
        if path == "/login" or path.startswith("/static/"):
            return self._door("", 200) if request.method != "POST" and path == "/login" else None
        if path == "/" and self._access.has_token(request):
            return self._enter()
        if not self._access.has_session(request):
            return self._unknown(request)
        if request.method == "POST" and request.headers.get(API_HEADER) != "1":
            return _refuse(f"The header {API_HEADER} is missing.", 403)
        return None

    def _unknown(self, request: Request) -> Response:
        if request.scope["path"].startswith(("/api/", "/picture/")):
            return _refuse("Open the page again: this browser may not use it.", 401)
        if self._access.password:
            return Response(status_code=303, headers={"Location": "/login"})
        wrong = "The token in this address is wrong." if "token" in request.query_params else ""
        return self._door(wrong, 403)

    def _login(self, body: bytes) -> Response:
        try:
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=4)
        except ValueError:
            return self._door("This is not the form of this page.", 400)
        problem = self._access.check_password(fields.get("password", [""])[0])
        if problem:
            return self._door(problem, 429 if "wait" in problem else 403)
        return self._enter()

    def _enter(self) -> Response:
        """Give the cookie; the page then leads on by itself.

        A redirect that began on another page, as in a terminal in the browser, would not carry a
        cookie with SameSite=Strict.
        """
        page = '<!doctype html><meta http-equiv="refresh" content="0; url=/">'
        page += '<title>FaceOps</title><link rel="icon" href="/static/icon.svg">'
        response = Response(page, media_type="text/html")
        response.set_cookie(
            self._access.cookie, self._access.session, httponly=True, samesite="strict"
        )
        return response


def _refuse(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status, {"Connection": "close"})


async def _read_body(request: Request, receive: Receive) -> bytes | Response:
    """Return the body, or the answer to one that is too large or too slow."""
    length = request.headers.get("content-length", "0")
    chunks: list[bytes] = []
    size = int(length) if length.isdecimal() else MAX_BODY + 1
    try:
        async with asyncio.timeout(REQUEST_S):
            more = size <= MAX_BODY
            size = 0 if more else size
            while more and size <= MAX_BODY:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Response(status_code=400)
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                more = message.get("more_body", False)
    except TimeoutError:
        return _refuse(f"The request took longer than {REQUEST_S:g} seconds.", 408)
    if size > MAX_BODY:
        return _refuse(f"The request is larger than {MAX_BODY:,} bytes.", 413)
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens; with None on the usual port, or a free one if it is taken.

    Raises FaceOpsError: it cannot.
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
