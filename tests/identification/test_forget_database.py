"""A forgotten person is gone from a database: rows, dead rows, indexes, files of the server."""

import threading
from pathlib import Path

import pytest

from faceops.gallery.archive import export_gallery, import_gallery
from faceops.gallery.people import rename
from faceops.gallery.postgres.storage import PostgresStorage
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from tests.postgres_server import PostgresServer


@pytest.fixture
def storage(gallery_dir: Path, tmp_path: Path, postgres_server: PostgresServer) -> PostgresStorage:
    """The gallery of six people in a database."""
    storage = postgres_server.new_gallery()
    export_gallery(gallery_dir, tmp_path / "a.tar")
    import_gallery(tmp_path / "a.tar", storage)
    return storage


def files_with(server: PostgresServer, schema: str, secrets: list[bytes]) -> set[str]:
    """Return the tables and indexes of a gallery in whose files one of the secrets is."""
    server.execute("CHECKPOINT")
    rows = server.execute(
        "SELECT c.relname, pg_relation_filepath(c.oid) FROM pg_class c WHERE relnamespace = "
        "%s::regnamespace OR c.oid IN (SELECT t.reltoastrelid FROM pg_class t WHERE "
        "t.relnamespace = %s::regnamespace) OR relname LIKE 'pg_statistic%%'",
        schema, schema,
    )  # fmt: skip
    found = set()
    for name, path in rows:
        if path is not None and (server.folder / path).is_file():
            content = (server.folder / path).read_bytes()
            found |= {name} if any(secret in content for secret in secrets) else set()
    return found


def test_no_bytes_of_the_person_are_left_in_the_tables_of_the_server(
    storage, bundle, album, out, postgres_server
):
    schema = f"faceops_{storage._address.gallery}"
    identify(album, Gallery.open(storage), bundle, out, IdentifySettings(budget=0.3))
    person, other = Gallery.open(storage).people[:2]
    rename(storage, person, "Zzyzx Quux")
    gallery = Gallery.open(storage)
    postgres_server.execute("ANALYZE")
    theirs = [face for face in gallery.faces if face.person == "Zzyzx Quux"]
    secrets = [storage.png(face.crop_id)[2000:2060] for face in theirs]
    secrets += [face.embedding.tobytes()[100:160] for face in theirs]
    names = [b"Zzyzx Quux", person.encode(), *(face.photo_id.encode() for face in theirs)]
    before = files_with(postgres_server, schema, [*secrets, *names])
    assert {"faces", "vectors_1", "gallery", "entries"} <= before
    done = forget_person(storage, "zzyzx-quux")
    assert done.complete and done.gallery_faces == len(theirs) and done.outputs, done.proof.found
    assert files_with(postgres_server, schema, [*secrets, *names]) == set()
    assert other in Gallery.open(storage).people


def test_rows_that_an_older_transaction_sees_are_reported_until_it_has_ended(
    storage, postgres_server, monkeypatch
):
    import psycopg

    monkeypatch.setattr("faceops.gallery.postgres.storage.PATIENCE_S", 0.5)
    person, second = Gallery.open(storage).people[:2]
    reading = "BEGIN ISOLATION LEVEL REPEATABLE READ"
    with psycopg.connect(storage._address.connection, autocommit=True) as reader:
        reader.execute(reading)  # type: ignore[arg-type]
        reader.execute("SELECT 1")
        done = forget_person(storage, person)
        assert not done.complete
        assert "are seen by an older transaction" in done.proof.found[0]
        monkeypatch.setattr("faceops.gallery.postgres.storage.PATIENCE_S", 30.0)
        threading.Timer(1, reader.execute, ["COMMIT"]).start()
        assert forget_person(storage, second).complete  # waits, and removes the first's rows too
    assert storage.purge() == []


def test_a_name_that_others_keep_in_a_table_is_found(storage, postgres_server):
    person, other = Gallery.open(storage).people[:2]
    table = f"faceops_{storage._address.gallery}.tried"
    postgres_server.execute(f"INSERT INTO {table} VALUES ('a', 'b', %s)", person)
    done = forget_person(storage, person)
    assert done.proof.found == [f"{storage}: the name, in tried.reason"]
    postgres_server.execute(f"DELETE FROM {table}")
    assert forget_person(storage, other).complete
