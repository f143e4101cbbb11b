"""Objects in stores: a real S3 server, memory and local folders, through one class."""

import logging
from pathlib import Path
from threading import Timer
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from faceops.base import stores
from faceops.base.errors import UsageError
from faceops.base.stores import (
    ChangedError,
    ObjectStore,
    ObjectStoreError,
    local_copy,
    place,
    shown,
    split,
)
from tests.object_store import CREDENTIALS, PAGE, ObjectStoreServer

S3 = tuple[ObjectStoreServer, Any]


@pytest.fixture(params=["s3", "memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "s3":
        _, files = request.getfixturevalue("s3")
        bucket = f"bucket-{uuid4()}"
        files.mkdir(bucket)
        return ObjectStore.at(f"s3://{bucket}/below")
    return ObjectStore.at(f"memory://{uuid4()}/below" if request.param == "memory" else tmp_path)


def test_a_local_copy_follows_the_store_and_reads_what_changed(s3: S3, tmp_path: Path) -> None:
    server, files = s3
    files.mkdir(bucket := f"bucket-{uuid4()}")
    store = ObjectStore.at(url := f"s3://{bucket}/data")
    for name in ("photos/ann/1.jpg", "photos/ann/2.jpg", "photos/ben/1.jpg"):
        store.write(name, name.encode())
    folder = local_copy(url, tmp_path)
    assert (folder / "photos/ann/2.jpg").read_bytes() == b"photos/ann/2.jpg"
    store.write("photos/ben/1.jpg", b"another")
    store.delete("photos/ann/1.jpg")
    before = len(server.requests("GET .*jpg"))
    assert local_copy(url, tmp_path) == folder
    assert len(server.requests("GET .*jpg")) == before + 1
    found = {path.name: path.read_bytes() for path in folder.rglob("*.jpg")}
    assert found == {"1.jpg": b"another", "2.jpg": b"photos/ann/2.jpg"}
    assert local_copy(tmp_path, tmp_path / "work") == tmp_path
    with pytest.raises(UsageError, match="holds no objects"):
        local_copy(f"s3://{bucket}/none", tmp_path)


def test_what_is_written_is_listed_read_and_deleted(store: ObjectStore) -> None:
    names = [f"2019/{number}.jpg" for number in range(2 * PAGE + 1)] + ["top ü#%41?.txt"]
    for name in names:
        store.write(name, name.encode())
    assert sorted(entry.name for entry in store.objects()) == sorted(names)
    assert {(entry.name, entry.is_folder) for entry in store.folder()} == {
        ("2019", True),
        ("top ü#%41?.txt", False),
    }
    assert len(list(store.folder("2019"))) == 2 * PAGE + 1
    assert list(store.folder("none")) == []
    assert store.read(names[-1]) == names[-1].encode()
    assert store.read("2019/1.jpg", 7, start=5) == b"1."
    before = store.entry("2019/1.jpg")
    store.write("2019/1.jpg", b"other")
    assert before and store.entry("2019/1.jpg") != before
    store.delete("2019/1.jpg")
    store.delete("2019/1.jpg")
    assert not store.exists("2019/1.jpg")
    with pytest.raises(FileNotFoundError):
        store.read("2019/1.jpg", 9)


def test_a_version_that_somebody_has_written_since_is_not_replaced(store: ObjectStore) -> None:
    store.write("a.xmp", b"1", replaces="")
    seen = store.entry("a.xmp")
    assert seen is not None
    for wrong in ("", '"0123"'):
        with pytest.raises(ChangedError, match="was changed meanwhile"):
            store.write("a.xmp", b"22", replaces=wrong)
    store.write("a.xmp", b"22", replaces=seen.version)
    with pytest.raises(ChangedError):
        store.write("a.xmp", b"333", replaces=seen.version)
    with pytest.raises(ChangedError):
        store.write("b.xmp", b"1", replaces=seen.version)
    with pytest.raises(ChangedError):
        store.delete("a.xmp", replaces=seen.version)
    assert store.read("a.xmp") == b"22"
    now = store.entry("a.xmp")
    store.delete("a.xmp", replaces=now.version if now else "")
    assert not store.exists("a.xmp")


def test_a_changed_version_is_known_by_the_code_of_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = ObjectStore.at("memory://answers")
    answer = {"Error": {"Code": "PreconditionFailed", "Message": "other words"}}
    error = translate_boto_error(ClientError(answer, "PutObject"))
    monkeypatch.setattr(store, "_request", Mock(side_effect=error))
    with pytest.raises(ChangedError):
        store.delete("a.xmp")


def test_an_object_is_read_by_one_request_of_its_range(s3: S3) -> None:
    server, files = s3
    files.mkdir("one-request")
    store = ObjectStore.at("s3://one-request")
    store.write("photo.jpg", b"x" * 6_000_000)
    assert len(store.read("photo.jpg", 50_000_000)) == 6_000_000
    assert server.requests("(GET|HEAD) /one-request/photo") == ["GET /one-request/photo.jpg"]


def test_requests_wait_for_a_stopped_server(s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    server, files = s3
    files.mkdir("stopped")
    store = ObjectStore.at("s3://stopped/folder")
    store.write("a", b"1")
    server.tell("stop")
    Timer(1.0, server.tell, ["start"]).start()
    with caplog.at_level(logging.WARNING):
        assert store.read("a", 10) == b"1"
    assert [record.message for record in caplog.records] == [
        's3://stopped/folder does not answer (Could not connect to the endpoint URL: "'
        f'{server.address}/stopped/folder/a"): trying again for up to 120 s'
    ]


def test_a_server_that_stays_stopped_is_one_sentence(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, files = s3
    files.mkdir("gone")
    monkeypatch.setattr(stores, "PATIENCE_S", 0.3)
    server.tell("stop")
    try:
        with pytest.raises(ObjectStoreError, match=r"s3://gone has not answered for 0.3 seconds "):
            list(ObjectStore.at("s3://gone").folder())
    finally:
        server.tell("start")


def test_a_listing_that_fails_at_its_second_page_raises(s3: S3) -> None:
    server, files = s3
    files.mkdir("pages")
    store = ObjectStore.at("s3://pages")
    for number in range(2 * PAGE):
        store.write(str(number), b"")
    server.tell("refuse GET /pages.*continuation-token")
    try:
        with pytest.raises(ObjectStoreError, match=r"s3://pages cannot be listed \(Access Denied"):
            list(store.folder())
    finally:
        server.tell("refuse")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://no-such-bucket/x", "cannot be listed (The specified bucket does not exist)"),
        ("nonsense://x", "nonsense://x cannot be used (Protocol not known: nonsense)"),
        ("sftp://host/x", "sftp://host/x needs a package that is not installed; install it"),
        ("s3://key:password@bucket/x", "s3://***@bucket/x holds credentials or a query"),
        ("s3://key:pass/word@bucket/x", "s3://***@bucket/x holds credentials or a query"),
        ("s3://bucket/x?token=secret", "s3://bucket/x?*** holds credentials or a query"),
    ],
)
def test_a_wrong_url_is_one_sentence(s3: S3, url: str, sentence: str) -> None:
    with pytest.raises((UsageError, ObjectStoreError)) as caught:
        list(ObjectStore.at(url).folder())
    assert sentence in str(caught.value)


def test_credentials_are_never_shown(s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    server, files = s3
    files.mkdir(bucket := f"bucket-{uuid4()}")
    server.tell(f"refuse {bucket}")
    with caplog.at_level(logging.INFO), pytest.raises(ObjectStoreError) as caught:
        ObjectStore.at(f"s3://{bucket}").write("a", b"1")
    server.tell("refuse")
    shown_to_all = caplog.text + str(caught.value)
    assert not [
        value for name, value in CREDENTIALS.items() if "KEY" in name and value in shown_to_all
    ]


def test_the_paths_of_the_engine_lead_to_objects() -> None:
    assert shown(place("s3://bucket/a/b.jpg")) == "s3://bucket/a/b.jpg"
    assert place("file:///a/b") == Path("/a/b")
    assert place("hdfs://host:9000/a@b") == Path("hdfs://host:9000/a@b")
    assert shown(Path("/a/b")) == "/a/b"
    store, name = split(place("memory://bucket/a/b.jpg"))
    assert (store.url, name) == ("memory://bucket", "a/b.jpg")
