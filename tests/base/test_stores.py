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
from faceops.base.stores import ChangedError, ObjectStore, ObjectStoreError, place, shown, split
from faceops.dataset.data_folder import local_copy
from tests.object_store import CREDENTIALS, PAGE, ObjectStoreServer

S3 = tuple[ObjectStoreServer, ObjectStore]


@pytest.fixture
def bucket(s3: tuple[ObjectStoreServer, Any]) -> S3:
    """The server, and an empty store below a bucket of its own."""
    s3[1].mkdir(name := f"bucket-{uuid4()}")
    return s3[0], ObjectStore.at(f"s3://{name}/below")


@pytest.fixture(params=["s3", "memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "s3":
        return request.getfixturevalue("bucket")[1]
    return ObjectStore.at(f"memory://{uuid4()}/below" if request.param == "memory" else tmp_path)


def test_a_local_copy_follows_the_store_and_reads_what_changed(bucket, tmp_path):
    server, store = bucket
    for name in ("photos/ann/1.jpg", "photos/ann/2.jpg", "photos/ben/1.jpg"):
        store.write(name, name.encode())
    folder = local_copy(store.url, tmp_path)
    assert (folder / "photos/ann/2.jpg").read_bytes() == b"photos/ann/2.jpg"
    store.write("photos/ben/1.jpg", b"another")
    store.delete("photos/ann/1.jpg")
    before = len(server.requests("GET .*jpg"))
    assert local_copy(store.url, tmp_path) == folder
    assert len(server.requests("GET .*jpg")) == before + 1
    found = {path.name: path.read_bytes() for path in folder.rglob("*.jpg")}
    assert found == {"1.jpg": b"another", "2.jpg": b"photos/ann/2.jpg"}
    (folder / ".versions.json").write_text("{")
    assert local_copy(store.url, tmp_path) == folder
    assert len(server.requests("GET .*jpg")) == before + 3  # all, where the versions are lost
    assert local_copy(tmp_path, tmp_path / "work") == tmp_path
    with pytest.raises(UsageError, match="holds no objects"):
        local_copy(f"{store.url}/none", tmp_path)


def test_what_is_written_is_listed_read_and_deleted(store):
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


def test_a_version_that_somebody_has_written_since_is_not_replaced(store):
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


def test_a_changed_version_is_known_by_the_code_of_the_answer(monkeypatch):
    store = ObjectStore.at("memory://answers")
    answer = {"Error": {"Code": "PreconditionFailed", "Message": "other words"}}
    error = translate_boto_error(ClientError(answer, "PutObject"))
    monkeypatch.setattr(store, "_request", Mock(side_effect=error))
    with pytest.raises(ChangedError):
        store.delete("a.xmp")


def test_an_object_is_read_by_one_request_of_its_range(bucket):
    server, store = bucket
    store.write("photo.jpg", b"x" * 6_000_000)
    assert len(store.read("photo.jpg", 50_000_000)) == 6_000_000
    path = f"{store.url.removeprefix('s3:/')}/photo.jpg"
    assert server.requests(f"(GET|HEAD) {path}") == [f"GET {path}"]


def test_requests_wait_for_a_stopped_server(bucket, caplog, monkeypatch):
    server, store = bucket
    store.write("a", b"1")
    server.tell("stop")
    Timer(1.0, server.tell, ["start"]).start()
    with caplog.at_level(logging.WARNING):
        assert store.read("a", 10) == b"1"
    place = f"{server.address}/{store.url.removeprefix('s3://')}/a"
    assert [record.message for record in caplog.records] == [
        f'{store.url} does not answer (Could not connect to the endpoint URL: "{place}"): '
        "trying again for up to 120 s"
    ]
    monkeypatch.setattr(stores, "PATIENCE_S", 0.3)
    server.tell("stop")
    try:
        with pytest.raises(ObjectStoreError, match=r"s3://.* has not answered for 0.3 seconds "):
            list(store.folder())
    finally:
        server.tell("start")


def test_a_refusal_also_of_the_second_page_of_a_list_is_an_error_without_credentials(
    bucket, caplog
):
    server, store = bucket
    for number in range(2 * PAGE):
        store.write(str(number), b"")
    server.tell("refuse GET /bucket-.*continuation-token")
    try:
        with pytest.raises(ObjectStoreError, match=r"s3://.* cannot be listed \(Access Denied"):
            list(store.folder())
        server.tell("refuse bucket-")
        with caplog.at_level(logging.INFO), pytest.raises(ObjectStoreError) as caught:
            store.write("a", b"1")
    finally:
        server.tell("refuse")
    secrets = [value for name, value in CREDENTIALS.items() if "KEY" in name]
    assert not [one for one in secrets if one in caplog.text + str(caught.value)]


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
def test_a_wrong_url_is_one_sentence(bucket, url, sentence):
    with pytest.raises((UsageError, ObjectStoreError)) as caught:
        list(ObjectStore.at(url).folder())
    assert sentence in str(caught.value)


def test_the_paths_of_the_engine_lead_to_objects():
    assert shown(place("s3://bucket/a/b.jpg")) == "s3://bucket/a/b.jpg"
    assert place("file:///a/b") == Path("/a/b")
    assert place("hdfs://host:9000/a@b") == Path("hdfs://host:9000/a@b")
    assert shown(Path("/a/b")) == "/a/b"
    store, name = split(place("memory://bucket/a/b.jpg"))
    assert (store.url, name) == ("memory://bucket", "a/b.jpg")
