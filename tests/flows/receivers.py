"""Receivers of notifications on this machine: one for webhooks, one for e-mail."""

import email
import email.policy
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import send, serving


class Received(list[dict[str, Any]]):
    """The notifications so far."""

    def wait_for(self, value: str, seconds: float, key: str = "title") -> dict[str, Any]:
        """Return the first notification with `value` as `key`; AssertionError after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for one in list(self):
                if one.get(key) == value:
                    return one
            time.sleep(0.2)
        raise AssertionError(f"{value} did not arrive; these did: {list(self)}")


@contextmanager
def webhook_receiver() -> Iterator[tuple[str, Received]]:
    """Yield the address of a server, and the JSON posted to it; /refused is not found."""
    received = Received()

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if "refused" not in request.path:
            received.append(json.loads(body))
        send(request, None if "refused" in request.path else b"")

    with serving(answer) as address:
        yield address, received


@contextmanager
def mail_receiver() -> Iterator[tuple[int, Received]]:
    """Yield a port of 127.0.0.1, and the subject, receiver and text of each mail sent to it."""
    received = Received()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            for line in self.rfile:
                command = line[:4].upper()
                if command == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = []
                    for part in self.rfile:
                        if part == b".\r\n":
                            break
                        lines.append(part.removeprefix(b"."))
                    mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    body = mail.get_body(("plain", "html"))
                    text = body.get_content().replace("\r\n", "\n") if body else ""
                    received.append({"title": mail["Subject"], "to": mail["To"], "text": text})
                self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
                if command == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1], received
        finally:
            server.shutdown()
