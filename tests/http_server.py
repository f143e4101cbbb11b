"""A server on the loopback, whose answers a test writes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Answer GET requests by `answer`, which may call `send`; yield the address of the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def send(request: BaseHTTPRequestHandler, content: bytes | None, **headers: str) -> None:
    """Send `content`, or the status 404 for None; a client may close the connection meanwhile."""
    if content is None:
        request.send_error(404)
        return
    request.send_response(206 if request.headers["Range"] else 200)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    with suppress(BrokenPipeError, ConnectionResetError):
        request.wfile.write(content)
