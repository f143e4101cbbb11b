"""`faceops review`: it serves until Ctrl-C, then publishes what was decided."""

import json
import shutil
import signal
import subprocess
import sys
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import main
from faceops.cli.review import gallery_of
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.review.server import listen
from tests.conftest import copy_album


def ask(port: int | None, path: str, body: Any = None, **headers: str) -> tuple[Any, str]:
    """Send a request; return what it answers, and its cookie."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    headers |= {"Origin": f"http://127.0.0.1:{port}", "X-FaceOps": "1"}
    connection.request("POST" if body else "GET", path, body and json.dumps(body), headers)
    response = connection.getresponse()
    content = response.read()
    assert response.status == 200, content
    return content, (response.headers["Set-Cookie"] or "").partition(";")[0]


def test_it_prints_an_address_that_works_and_publishes_at_the_end(
    synthetic_set, gallery_dir, sface_bundle, bundle, tmp_path
):
    gallery, out = tmp_path / "gallery", tmp_path / "found"
    shutil.copytree(gallery_dir, gallery, ignore=shutil.ignore_patterns("outputs.jsonl", ".lock"))
    photos = copy_album(synthetic_set, tmp_path / "photos")
    identify(photos, Gallery.open(gallery), bundle, out)
    command = [sys.executable, "-m", "faceops.cli", "review", "--out", str(out), "--port", "0"]
    command += ["--gallery", str(gallery), "--bundle", str(sface_bundle), "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stderr is not None
        url = urlsplit(json.loads(b"".join(server.stdout.readline() for _ in range(3)))["url"])
        _, cookie = ask(url.port, f"/?{url.query}")
        listed, _ = ask(url.port, "/api/people", Cookie=cookie)
        person = json.loads(listed)["people"][0]
        name = person.replace(" ", "%20")
        board, _ = ask(url.port, f"/api/faces/person?name={name}", Cookie=cookie)
        key = json.loads(board)["faces"][0]["key"]
        body = {"keys": [key], "person": "Someone New", "trust": True}
        ask(url.port, "/api/confirm", body, Cookie=cookie)
        server.send_signal(signal.SIGINT)
        said = server.stderr.read().decode()
        assert server.wait(60) == 0, said
    assert "published into" in said and "Traceback" not in said
    assert "Someone New" in (out / "faces.csv").read_text("utf-8")
    gallery.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="is not there: add --gallery DIR"):
        gallery_of(out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "protect it by --password-file FILE"),
        (["--password-file", "none.txt"], "the password file none.txt cannot be read"),
        (["--gallery", "none"], "none is not a gallery"),
    ],
)
def test_wrong_arguments_get_a_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "found").mkdir()
    assert main(["review", "--out", "found", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_port_in_use_is_refused_if_it_was_asked_for():
    with listen("127.0.0.1", None) as first:
        port = first.getsockname()[1]
        with pytest.raises(FaceOpsError, match=f"port {port} cannot be used"):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", None) as second:  # the usual one may be taken by now
            assert second.getsockname()[1] != port
