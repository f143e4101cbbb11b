"""Downloads resume after an interruption, and are bounded."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from faceops.base.download import download
from faceops.base.errors import FaceOpsError

CONTENT = np.random.default_rng(4).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; cuts the first answer short; records the requested ranges."""

    tag = '"one"'
    cut_after = 0
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        if self.path != "/a.tgz":
            self.send_error(404)
            return
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        start = 0
        if asked and self.headers["If-Range"] == self.server.tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = self.server.cut_after or len(CONTENT)
        self.server.cut_after = 0
        with suppress(BrokenPipeError, ConnectionResetError):  # the client closed the connection
            self.wfile.write(CONTENT[start:end])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.ranges = []
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: Server, path: str = "/a.tgz") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def test_a_whole_download_is_kept(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert download(address(server), tmp_path / "a.tgz").read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


def test_an_interrupted_download_resumes(server: Server, tmp_path: Path) -> None:
    server.cut_after = 2_500_000
    with pytest.raises(FaceOpsError, match="run it again to resume"):
        download(address(server), tmp_path / "a.tgz")
    have = (tmp_path / "a.tgz.part").stat().st_size
    assert 0 < have <= 2_500_000
    assert download(address(server), tmp_path / "a.tgz").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={have}-"]


def test_another_version_starts_anew(server: Server, tmp_path: Path) -> None:
    server.cut_after = 2_500_000
    with pytest.raises(FaceOpsError):
        download(address(server), tmp_path / "a.tgz")
    server.tag = '"two"'
    assert download(address(server), tmp_path / "a.tgz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "max_bytes", "message"),
    [("/b.tgz", 10**9, "404"), ("/a.tgz", 1000, "more than the limit of 1,000 bytes")],
)
def test_a_refused_download_leaves_no_file(
    server: Server, path: str, max_bytes: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FaceOpsError, match=message):
        download(address(server, path), tmp_path / "a.tgz", max_bytes)
    assert not (tmp_path / "a.tgz").exists()


@pytest.mark.parametrize("url", ["ftp://example.org/a", "http://127.0.0.1:9/a"])
def test_a_url_that_cannot_be_opened_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(FaceOpsError, match=f"^{url} (is not an http|could not be downloaded)"):
        download(url, tmp_path / "a.tgz")
