"""A server on the loopback, whose answers a test writes; waiting for one in another process."""

import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server `process`, which writes to `log`, answers at `address`."""
    end = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Answer requests by `answer`, which may call `send`; yield the address of the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET

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
