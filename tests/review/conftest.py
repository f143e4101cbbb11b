"""A small real album that was identified, and the album that the page opens of it."""

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.registry.published import load_published
from faceops.release.bundle import Bundle
from faceops.review.album import Album
from faceops.review.pages import create_app
from faceops.review.server import Access, Server, listen
from tests.conftest import copy_album


@pytest.fixture(scope="session")
def identified(
    synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with photos, a gallery of six people, and found/, the results of identify."""
    folder = tmp_path_factory.mktemp("identified")
    ignored = shutil.ignore_patterns("outputs.jsonl", ".lock")
    shutil.copytree(gallery_dir, folder / "gallery", ignore=ignored)
    photos = copy_album(synthetic_set, folder / "photos")
    identify(photos, Gallery.open(folder / "gallery"), bundle, folder / "found")
    return folder


@pytest.fixture
def work(identified: Path, tmp_path: Path) -> Path:
    """A copy of gallery and results for one test; the photos are shared."""
    for name in ("gallery", "found"):
        ignored = shutil.ignore_patterns("outputs.jsonl")  # people are forgotten there too
        shutil.copytree(identified / name, tmp_path / name, symlinks=True, ignore=ignored)
    return tmp_path


@pytest.fixture
def opened(work: Path, bundle: Bundle) -> Iterator[Album]:
    """The album, decided."""
    with contextlib.closing(Album(work / "found", work / "gallery", bundle, by="Ada")) as album:
        assert album.wait()
        yield album


IMAGE = "<img src=x onerror=document.title='owned'>"
SCRIPT = "</script><script>document.title='owned'</script>"
PEOPLE = (IMAGE, "\"'><svg onload=document.title='owned'>", "Ann Lee", "Zoë %2f Ω", "{{7*7}}")


@pytest.fixture(scope="session")
def hostile(synthetic_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `identified` of people and photos with hostile names, many of them unsure.

    The published release was not calibrated on such people: it leaves piles to confirm.
    """
    folder = tmp_path_factory.mktemp("hostile")
    for number, person in enumerate(sorted((synthetic_set / "photos").iterdir())[:12]):
        photos = sorted(person.iterdir())
        if number < len(PEOPLE):
            own = folder / "people" / PEOPLE[number]
            own.mkdir(parents=True)
            shutil.copy2(photos.pop(), own / "enrolled.jpg")
        album = folder / "photos" / IMAGE
        album.mkdir(parents=True, exist_ok=True)
        for photo in photos:
            shutil.copy2(photo, album / f"{number} \"'> {IMAGE} {photo.name}")
    bundle = load_published()
    enrol(folder / "people", folder / "gallery", bundle)
    gallery = Gallery.open(folder / "gallery")
    identify(folder / "photos", gallery, bundle, folder / "found")
    return folder


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds: decisions are sent after the page shows them."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not hold in time"
        time.sleep(0.05)


@dataclass
class Served:
    """A server in a thread, on a port of its own."""

    album: Album
    access: Access
    found: Path

    def request(self, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
        """Send a request as the page does, with the cookie; `headers` change or add headers."""
        return self.send(path, method, b"", headers)

    def post(self, path: str, content: Any, **headers: str) -> HTTPResponse:
        """Send JSON as the page does."""
        return self.send(path, "POST", json.dumps(content).encode(), headers)

    def send(self, path: str, method: str, body: Any, headers: dict[str, str]) -> HTTPResponse:
        """Send a request; a header that is "" is left out."""
        host = f"127.0.0.1:{self.access.port}"
        sent = {"Host": host, "Cookie": f"{self.access.cookie}={self.access.session}"}
        if method == "POST":
            sent |= {"Origin": f"http://{host}", "X-FaceOps": "1"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self.access.port, timeout=20)
        connection.request(method, path, body, {k: v for k, v in sent.items() if v})
        return connection.getresponse()


@contextlib.contextmanager
def serve(
    album: Album, found: Path, password: str = "", host: str = "127.0.0.1"
) -> Iterator[Served]:
    """Serve the album of the results `found`; `host` is what the server takes itself to be on."""
    listener = listen("127.0.0.1", 0)
    access = Access(host, listener.getsockname()[1], password)
    server = Server(create_app(album, access), listener)
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    yield Served(album, access, found)
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def served(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page over a copy of `hostile`, for the tests of one module."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("gallery", "found"):
        ignored = shutil.ignore_patterns("outputs.jsonl")
        shutil.copytree(hostile / name, folder / name, symlinks=True, ignore=ignored)
    with contextlib.closing(
        Album(folder / "found", folder / "gallery", load_published(), "Ada")
    ) as album:
        assert album.wait()
        with serve(album, folder / "found") as server:
            yield server
