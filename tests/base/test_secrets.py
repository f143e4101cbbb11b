"""Credentials and tokens in URLs reach no message, record or log."""

import base64
import io
import json
import logging
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError, without_secrets
from faceops.cli import main

Capture = pytest.CaptureFixture[str]
SECRET = "sekret"


def assert_no_secret(folder: Path, *outputs: str) -> None:
    """Search the texts, and the names and bytes of all files below `folder`."""
    assert not any(SECRET in text for text in outputs)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    found = [p for p in files if SECRET in str(p) or SECRET.encode() in p.read_bytes()]
    assert found == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:sekret@host:5000/a", "http://***@host:5000/a"),
        ("at https://sekret@host (refused)", "at https://***@host (refused)"),
        ("postgresql+psycopg2://u:se/kre@t@h/db.", "postgresql+psycopg2://***@h/db."),
        ("postgresql://u:se?kre@h/db", "postgresql://***@h/db"),
        ("http://host:80/a?email=me@home", "http://host:80/a?***"),
        ("'s3://key:sekret@bucket/a' and http://a:b@c", "'s3://***@bucket/a' and http://***@c"),
        ("(https://host/a.zip?token=sekret&b=1) failed", "(https://host/a.zip?***) failed"),
        ("http://u:sekret@h/a?sig=x@y run", "http://***@h/a?*** run"),
        ("postgresql://u:sekret@h:5/db?gallery=a'", "postgresql://***@h:5/db?gallery=a'"),
        ("postgresql://ann@h/db?host=/tmp/x&gallery=b.", "postgresql://ann@h/db?host=/tmp/x&gallery=b."),
        ("postgresql://h/db?gallery=a&password=sekret", "postgresql://h/db?***"),
        ("postgresql://h/db?sslpassword=sekret&gallery=a", "postgresql://h/db?***"),
        ("postgres://u:sekret@h/db", "postgres://***@h/db"),
        ("s3://AKIA:se/kret@bucket/x", "s3://***@bucket/x"),
        ("s3:/AKIA:sekret@bucket/x is no folder", "s3:/***@bucket/x is no folder"),
        ("s3:/AKIA:se/kret@bucket/x is no folder", "s3:/***@bucket/x is no folder"),
        ("s3:/bucket/x?token=sekret", "s3:/bucket/x?***"),
        ("S3://bucket/x?X-Amz-Signature=sekret", "S3://bucket/x?***"),
        ("at HTTPS://host/x?sig=sekret", "at HTTPS://host/x?***"),
        ("s3://bucket/a?versionId=sekret", "s3://bucket/a?***"),
        ("https://b.s3.amazonaws.com/a?X-Amz-Signature=sekret", "https://b.s3.amazonaws.com/a?***"),
        ("s3://bucket/a@b:c/d of me@home.jpg", "s3://bucket/a@b:c/d of me@home.jpg"),
        ("sqlite:////home/ann@home/mlflow.db", "sqlite:////home/ann@home/mlflow.db"),
        ("models:/faceops@champion by ann@host", "models:/faceops@champion by ann@host"),
    ],
)  # fmt: skip
def test_urls_lose_credentials_and_query(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert str(FaceOpsError(text)) == shown


def test_a_long_text_takes_no_longer_a_character() -> None:
    start = time.process_time()
    assert without_secrets("a" * 200_000) == "a" * 200_000
    assert time.process_time() - start < 1


class Handler(BaseHTTPRequestHandler):
    """An archive of one photo for the user `user` with the password `sekret`."""

    def log_message(self, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        expected = f"Basic {base64.b64encode(b'user:sekret').decode()}"
        if self.headers["Authorization"] != expected:
            self.send_error(401)
            return
        photo, archive = io.BytesIO(), io.BytesIO()
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photo, "PNG")
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("Ann/1.png")
            member.size = len(photo.getvalue())
            tar.addfile(member, io.BytesIO(photo.getvalue()))
        self.send_response(200)
        self.send_header("Content-Length", str(len(archive.getvalue())))
        self.end_headers()
        self.wfile.write(archive.getvalue())


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_an_import_with_credentials_works_and_records_none(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = f"127.0.0.1:{port}/photos.tar?token={SECRET}"
    data = ["--out", str(tmp_path / "work" / "data")]
    assert main(["data", "import", "tree", f"http://user:{SECRET}@{place}", *data, "--json"]) == 0
    outputs = capfd.readouterr()
    assert json.loads(outputs.out)["photos"] == 1
    assert_no_secret(tmp_path, *outputs)
    # The message names the host and path only, and nothing that is kept for the resumption does.
    assert main(["data", "import", "tree", f"http://user:wrong{SECRET}@{place}", *data]) == 1
    outputs = capfd.readouterr()
    assert (
        f"http://***@127.0.0.1:{port}/photos.tar?*** was refused by the server (401" in outputs.err
    )
    assert_no_secret(tmp_path, *outputs)


def test_credentials_may_stand_in_netrc(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password sekret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = f"http://127.0.0.1:{port}/photos.tar"
    assert main(["data", "import", "tree", place, "--out", str(tmp_path / "data")]) == 0


@pytest.mark.parametrize(
    "address",
    [
        "http://user:sekret@127.0.0.1:9",
        "ftp://user:sekret@host",
        "sqlite://user:sekret@/x.db",
        "mssql://user:sekret@127.0.0.1/db",  # its driver is not installed
    ],
)
def test_the_address_of_the_store_is_shown_without_credentials(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.chdir(tmp_path)
    assert main(["release", "list"]) == 1
    outputs = capfd.readouterr()
    assert SECRET not in outputs.out + outputs.err
    assert "***@" in outputs.err and "\n" not in outputs.err.strip()


def test_a_run_while_the_store_is_away_records_no_credentials(
    sface_bundle: Path,
    gallery_dir: Path,
    album: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from faceops.registry.store import store_cache

    address = f"http://user:{SECRET}@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    cache = store_cache(address)
    shutil.copytree(sface_bundle, cache / "faceops-1-0")
    note = {"version": 1, "folder": "faceops-1-0"}
    (cache / "last-faceops-champion.json").write_text(json.dumps(note))
    out = tmp_path / "found"
    caplog.set_level(logging.DEBUG, "faceops")
    arguments = ["identify", str(album), "--gallery", str(gallery_dir), "--out", str(out)]
    assert main([*arguments, "--detail", "0"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert "http://***@127.0.0.1:9" in summary["release_note"]
    assert_no_secret(tmp_path, *capfd.readouterr(), caplog.text)


def test_urls_of_stores_and_databases_with_credentials_reach_no_message_or_file(
    tmp_path: Path, gallery_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    gallery = shutil.copytree(gallery_dir, tmp_path / "gallery")
    monkeypatch.chdir(tmp_path)
    url, own = f"s3://AKIA:ab/{SECRET}@bucket/x", ["--gallery", str(gallery)]
    for command in (
        ["identify", url, *own, "--out", "found"],
        ["identify", str(gallery), *own, "--out", url],
        ["identify", f"S3://bucket/x?X-Amz-Signature={SECRET}", *own, "--out", "found"],
        ["enrol", url, *own],
        ["people", "forget", "Nobody", *own, "--gone", url],
        ["people", "forget", "Nobody", *own, "--out", url],
        ["evaluate", "--data", url, "--bundle", str(gallery)],
        ["people", "list", "--gallery", f"postgresql://u:{SECRET}@127.0.0.1:9/db?gallery=a"],
        ["people", "list", "--gallery", f"postgresql://127.0.0.1:9/db?gallery=a&password={SECRET}"],
    ):
        assert main(command) != 0
        outputs = capfd.readouterr()
        assert outputs.err
        assert_no_secret(tmp_path, *outputs)
