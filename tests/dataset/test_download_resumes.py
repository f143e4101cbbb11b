"""Downloads go on where they stopped, and are bounded."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.download import download

CONTENT = np.random.default_rng(4).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; cuts the first answer short; remembers the ranges asked for."""

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
        with suppress(BrokenPipeError, ConnectionResetError):  # a client that has had enough
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


def test_a_cut_download_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut_after = 2_500_000
    with pytest.raises(FaceOpsError, match="run it again to go on"):
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


def test_each_failure_has_its_sentence(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FaceOpsError, match="404"):
        download(address(server, "/b.tgz"), tmp_path / "b.tgz")
    with pytest.raises(FaceOpsError, match="larger than the limit"):
        download(address(server), tmp_path / "a.tgz", max_bytes=1000)
    with pytest.raises(FaceOpsError, match="not an http"):
        download("ftp://example.org/a.tgz", tmp_path / "a.tgz")
    with pytest.raises(FaceOpsError, match="could not be downloaded"):
        download("http://127.0.0.1:9/a.tgz", tmp_path / "a.tgz")
    assert not (tmp_path / "a.tgz").exists()
