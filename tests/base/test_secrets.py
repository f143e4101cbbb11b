"""Credentials and tokens in URLs reach no message, record or log."""

import base64
import io
import json
import logging
import shutil
import time
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError, without_secrets
from faceops.cli import main
from tests.http_server import send, serving

SECRET = "sekret"


def assert_no_secret(folder: Path, *outputs: str) -> None:
    """Search the texts, and the names and bytes of all files below `folder`."""
    assert not any(SECRET in text for text in outputs)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert [p for p in files if SECRET in str(p) or SECRET.encode() in p.read_bytes()] == []


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
def test_urls_lose_credentials_and_query(text, shown):
    assert without_secrets(text) == shown
    assert str(FaceOpsError(text)) == shown


def test_a_long_text_takes_no_longer_a_character():
    start = time.process_time()
    assert without_secrets("a" * 200_000) == "a" * 200_000
    assert time.process_time() - start < 1


def archive_for_the_user(request: BaseHTTPRequestHandler) -> None:
    """Answer with an archive of one photo, for the user `user` with the password `sekret`."""
    if request.headers["Authorization"] != f"Basic {base64.b64encode(b'user:sekret').decode()}":
        request.send_error(401)
        return
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file, file.open("Ann/1.png", "w") as photo:
        Image.new("RGB", (9, 9)).save(photo, "PNG")
    send(request, archive.getvalue(), **{"Content-Length": str(len(archive.getvalue()))})


def test_an_import_with_credentials_or_those_of_netrc_works_and_records_none(
    tmp_path, monkeypatch, capfd
):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    data = ["--out", str(tmp_path / "work" / "data")]
    with serving(archive_for_the_user) as address:
        place = f"{address.removeprefix('http://')}/photos.zip"
        own = f"http://user:{SECRET}@{place}?token={SECRET}"
        assert main(["data", "import", "tree", own, *data, "--json"]) == 0
        outputs = capfd.readouterr()
        assert json.loads(outputs.out)["photos"] == 1
        assert_no_secret(tmp_path, *outputs)
        # The message names the host and path only, and nothing kept for the resumption does.
        wrong = own.replace("user:", "user:wrong")
        assert main(["data", "import", "tree", wrong, *data]) == 1
        outputs = capfd.readouterr()
        assert f"http://***@{place}?*** was refused by the server (401" in outputs.err
        assert_no_secret(tmp_path, *outputs)
        (home / ".netrc").write_text("machine 127.0.0.1 login user password sekret\n")
        (home / ".netrc").chmod(0o600)
        assert main(["data", "import", "tree", f"http://{place}", *data]) == 0


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
    address, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.chdir(tmp_path)
    assert main(["release", "list"]) == 1
    outputs = capfd.readouterr()
    assert SECRET not in outputs.out + outputs.err
    assert "***@" in outputs.err and "\n" not in outputs.err.strip()


def test_a_run_while_the_store_is_away_records_no_credentials(
    sface_bundle, gallery_dir, album, tmp_path, monkeypatch, capfd, caplog
):
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
    tmp_path, gallery_dir, monkeypatch, capfd
):
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
