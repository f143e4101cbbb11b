"""Downloads resume after an interruption, and are bounded."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from faceops.base.download import download
from faceops.base.errors import FaceOpsError
from tests.http_server import send, serving

CONTENT = np.random.default_rng(4).bytes(3_000_000)


class Source:
    """Serves CONTENT as a.tgz; cuts the first answer short; records the requested ranges."""

    tag, cut_after, address = '"one"', 0, ""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        start, asked = 0, request.headers["Range"]
        self.ranges.append(asked)
        if request.headers["If-Range"] == self.tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        else:
            del request.headers["Range"]
        headers = {"ETag": self.tag, "Content-Length": str(len(CONTENT) - start)}
        end, self.cut_after = self.cut_after or len(CONTENT), 0
        send(request, CONTENT[start:end] if request.path == "/a.tgz" else None, **headers)


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    with serving(source.answer) as source.address:
        yield source


def test_a_whole_download_is_kept(source, tmp_path):
    for _ in range(2):
        assert download(f"{source.address}/a.tgz", tmp_path / "a").read_bytes() == CONTENT
    assert source.ranges == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("tag", ['"one"', '"two"'])
def test_an_interrupted_download_resumes_or_gets_another_version(source, tag, tmp_path):
    source.cut_after = 2_500_000
    with pytest.raises(FaceOpsError, match="run it again to resume"):
        download(f"{source.address}/a.tgz", tmp_path / "a")
    have = (tmp_path / "a.part").stat().st_size
    assert 0 < have <= 2_500_000
    source.tag = tag
    assert download(f"{source.address}/a.tgz", tmp_path / "a").read_bytes() == CONTENT
    assert source.ranges == [None, f"bytes={have}-"]


@pytest.mark.parametrize(
    ("url", "max_bytes", "message"),
    [
        ("{}/b.tgz", 10**9, "404"),
        ("{}/a.tgz", 1000, "more than the limit of 1,000 bytes"),
        ("ftp://example.org/a", 9, "^ftp://example.org/a is not an http"),
        ("http://127.0.0.1:9/a", 9, "^http://127.0.0.1:9/a could not be downloaded"),
    ],
)
def test_a_refused_download_leaves_no_file(source, url, max_bytes, message, tmp_path):
    with pytest.raises(FaceOpsError, match=message):
        download(url.format(source.address), tmp_path / "a", max_bytes)
    assert not (tmp_path / "a").exists()
