"""What a gallery in a database has beyond a folder's: writers, lost connections, versions, search.

The same operations run on both in the other files, by the fixture `place`.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, InUseError, UsageError
from faceops.cli import main
from faceops.gallery.archive import export_gallery, import_gallery
from faceops.gallery.check import check_gallery
from faceops.gallery.faces_file import FaceTable
from faceops.gallery.journal import Action
from faceops.gallery.outputs import output_folders, remember_output
from faceops.gallery.people import merge, rename
from faceops.gallery.postgres import connection
from faceops.gallery.postgres import storage as module
from faceops.gallery.postgres.storage import PostgresStorage
from faceops.gallery.postgres.tables import MIGRATIONS
from faceops.gallery.storage import FolderStorage, gallery_place, storage_of
from faceops.gallery.store import Gallery, load_crop, locked_gallery
from faceops.identification.run import identify
from tests.gallery.gallery_files import CONTRACT, SIZE, add_faces, decide, make_face, make_gallery
from tests.postgres_server import PostgresServer

PEOPLE = [("Zoë", 2), ("Ann Lee", 1), ("Ann Lee", 3)]


@pytest.fixture
def storage(postgres_server: PostgresServer) -> PostgresStorage:
    """A gallery of `PEOPLE`."""
    place = postgres_server.new_gallery()
    make_gallery(place, PEOPLE)
    return place


def reopened(storage: PostgresStorage) -> PostgresStorage:
    """The same gallery, as another process has it."""
    again = gallery_place(storage.address)
    assert isinstance(again, PostgresStorage)
    return again


def in_process(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("s3://bucket/gallery", "is not the address of a gallery; --gallery takes a folder, or"),
        ("postgresql://host/db?gallery=My-Faces", "'My-Faces' is not the name of a gallery"),
        ("postgresql://u:se/kre@t@host/db", "has @, # or / in a password"),
        ("postgresql://host/db?gallery=a&gallery=b", "'b' is not the name"),
    ],
)
def test_a_wrong_address_is_one_sentence(text, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        gallery_place(text)
    assert "kre" not in str(caught.value)


def test_a_password_is_never_shown():
    place = gallery_place(
        "postgres://ann:se%40kret@h:1/db?gallery=a&password=sekret&sslmode=require"
    )
    shown = "postgresql://ann@h:1/db?gallery=a&sslmode=require"
    assert str(place) == storage_of(place).address == shown
    assert str(FaceOpsError(f"faceops enrol --gallery {place}")).endswith(shown)
    assert str(gallery_place("postgresql://h/db")) == "postgresql://h/db?gallery=gallery"


def test_a_change_writes_only_the_rows_that_differ(storage):
    before = rows_by_id(storage)
    rename(storage, "Zoë", "Ada")
    gallery = Gallery.open(storage)
    gallery.with_faces([make_face(storage, "Ben", 4)]).save()
    after = rows_by_id(storage)
    changed = {key for key in before if after.get(key) != before[key]}
    assert [after[key][0] for key in changed] == ["Ada"]
    assert {after[key][0] for key in after.keys() - before.keys()} == {"Ben"}
    stamp = storage.stamp()
    Gallery.open(storage).save()
    assert storage.stamp() == stamp


def rows_by_id(storage: PostgresStorage) -> dict[int, tuple[object, ...]]:
    """Return name and version (xmin) of each row of faces by its id."""
    rows = storage._db.read(
        lambda db: db.execute("SELECT id, person, xmin::text FROM faces").fetchall()
    )
    return {key: (person, version) for key, person, version in rows}


ADD = """
import sys
from tests.gallery.gallery_files import add_faces
add_faces(sys.argv[1], "Ben", 100)
"""


def test_two_processes_that_write_at_once_lose_nothing(storage):
    with in_process(ADD, storage.address) as writer:
        add_faces(storage.address, "Cy", 200)
        assert writer.wait(120) == 0, writer.communicate()[1]
    gallery = Gallery.open(reopened(storage))
    assert [gallery.persons.count(name) for name in ("Ann Lee", "Ben", "Cy", "Zoë")] == [2, 5, 5, 1]
    assert all(load_crop(storage.png, face.crop_id).any() for face in gallery.faces)
    assert check_gallery(storage) == []


def test_a_write_that_another_writer_overtook_is_refused(storage):
    gallery = Gallery.open(storage)
    rename(reopened(storage), "Zoë", "Ada")
    with pytest.raises(FaceOpsError, match="was changed by another process meanwhile"):
        gallery.without(np.ones(3, bool)).save()
    assert Gallery.open(storage).people == ["Ada", "Ann Lee"]


HOLD = """
import sys
from faceops.gallery.storage import gallery_place
with gallery_place(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_reader_whose_embeddings_are_replaced_reads_the_new_ones(storage, monkeypatch):
    read, reader = module.tables.read_faces, reopened(storage)
    new = np.eye(3, SIZE, dtype=np.float32)

    def replace_first(*arguments: Any) -> FaceTable:
        monkeypatch.setattr(module.tables, "read_faces", read)
        with locked_gallery(storage) as gallery:
            faces = gallery.faces.with_embeddings(new, np.full(3, 0.5))
            replace(gallery, contract_id="e" * 64, faces=faces).save()
        return read(*arguments)

    monkeypatch.setattr(module.tables, "read_faces", replace_first)
    found = Gallery.open(reader)
    assert found.contract_id == "e" * 64
    np.testing.assert_array_equal(found.embeddings, new)


def test_a_gallery_that_was_dropped_is_told_at_once(storage):
    storage._db.write(lambda db: db.execute("DROP TABLE gallery"))
    start = time.monotonic()
    with pytest.raises(FaceOpsError, match=r'cannot be used .*"gallery" does not exist'):
        storage.statement()
    assert time.monotonic() - start < connection.FIRST_PATIENCE_S


def test_the_server_releases_the_lock_of_a_killed_process(storage):
    with in_process(HOLD, storage.address) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        with pytest.raises(
            InUseError, match=rf"in use by another .* {holder.pid}, connected since"
        ):
            rename(storage, "Zoë", "Ada")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert rename(storage, "Zoë", "Ada") == ("Ada", 1)


def test_a_server_that_is_restarted_during_a_change_loses_nothing(storage, postgres_server, caplog):
    with locked_gallery(storage) as gallery:
        changed = gallery.with_faces([make_face(storage, "Ben", 4)])
        postgres_server.stop()
        starting = threading.Timer(1.5, postgres_server.start)
        starting.start()
        changed.save()  # waits for the server, and takes the lock again
        starting.join()
        (told,) = caplog.messages
        assert f"{storage.address} does not answer (" in told and "trying again" in told
        with pytest.raises(InUseError):
            rename(reopened(storage), "Zoë", "Ada")
    postgres_server.stop()
    postgres_server.start()
    decide(storage, Action.CONFIRM, "Ben")
    assert Gallery.open(storage).people == ["Ann Lee", "Ben", "Zoë"]
    assert rename(storage, "Zoë", "Ada") == ("Ada", 1)


def test_a_commit_that_was_not_answered_happens_once(storage, postgres_server, monkeypatch):
    note, lost = connection._Outcome.note, []

    def losing(self: "connection._Outcome[object]", db: object) -> None:
        note(self, db)  # type: ignore[arg-type]
        if not lost:  # committed, but the answer does not arrive
            lost.append(db)
            db.execute("COMMIT")  # type: ignore[attr-defined]
            db.close()  # type: ignore[attr-defined]

    monkeypatch.setattr(connection._Outcome, "note", losing)
    decide(storage, Action.CONFIRM, "Ann Lee")
    assert lost and len(storage.journal().entries()) == 2  # the name, and the face


def test_a_server_that_does_not_answer_is_one_sentence(storage, monkeypatch):
    monkeypatch.setattr(connection, "FIRST_PATIENCE_S", 0.0)
    for text, sentence in (
        ("postgresql://ann:sekret@127.0.0.1:1/db", r"ann@127.0.0.1:1/db\?gallery=gallery does not"),
        (storage.address.replace("/postgres?", "/nothing?"), 'database "nothing" does not exist'),
        ("postgresql://h/db?sslmode=maybe", "maybe"),
    ):
        with pytest.raises(FaceOpsError, match=sentence) as caught:
            Gallery.open(gallery_place(text))
        assert "sekret" not in str(caught.value) and "\n" not in str(caught.value)


def test_tables_are_migrated_once_and_later_ones_refused(storage, monkeypatch, capsys):
    MIGRATIONS.append(("ALTER TABLE faces ADD COLUMN note text",))
    try:
        for _ in range(2):
            assert Gallery.open(reopened(storage)).people == ["Ann Lee", "Zoë"]
        (line,) = capsys.readouterr().err.splitlines()
        assert "migrated its tables from version 1 to 2" in line
    finally:
        MIGRATIONS.pop()
    with pytest.raises(FaceOpsError, match="has tables of version 2, this faceops reads 1"):
        Gallery.open(reopened(storage))


def test_users_without_rights_are_told_and_naming_goes_on(storage, postgres_server, tmp_path):
    name, user = storage._address.gallery, f"reader_{os.getpid()}"
    postgres_server.execute(f"CREATE ROLE {user} LOGIN")
    new = gallery_place(postgres_server.address("of_nobody", user))
    with pytest.raises(FaceOpsError, match='CREATE SCHEMA "faceops_of_nobody" AUTHORIZATION'):
        make_gallery(new, PEOPLE)
    postgres_server.execute(f"GRANT USAGE ON SCHEMA faceops_{name} TO {user}")
    postgres_server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA faceops_{name} TO {user}")
    reader = gallery_place(postgres_server.address(name, user))
    assert Gallery.open(reader).people == ["Ann Lee", "Zoë"]
    assert not remember_output(reader, tmp_path)
    with pytest.raises(FaceOpsError, match="cannot be changed by this user"):
        rename(reader, "Zoë", "Ada")


def test_archives_bring_a_gallery_into_a_database_and_back(tmp_path, postgres_server):
    folder, storage = tmp_path / "g", postgres_server.new_gallery()
    make_gallery(folder, PEOPLE)
    merge(folder, "Zoë", "Ann Lee")
    confirmed = decide(folder, Action.CONFIRM, "Ann Lee")
    storage_of(folder).journal().note_tried(CONTRACT, {confirmed.id: "blurred"})
    remember_output(folder, tmp_path / "out")
    export_gallery(folder, tmp_path / "a.tar")
    arguments = [str(tmp_path / "a.tar"), "--gallery", storage.address]
    assert main(["gallery", "import", *arguments]) == 0
    assert main(["gallery", "import", *arguments]) == 2  # there is one
    assert main(["gallery", "check", "--gallery", storage.address]) == 0
    export_gallery(storage, tmp_path / "b.tar")
    import_gallery(tmp_path / "b.tar", tmp_path / "back")
    for other in (storage, FolderStorage(tmp_path / "back")):
        gallery, origin = Gallery.open(other), Gallery.open(folder)
        assert gallery.statement() == origin.statement()
        np.testing.assert_array_equal(gallery.embeddings, origin.embeddings)
        for one, same in zip(gallery.faces, origin.faces, strict=True):
            assert replace(one, embedding=same.embedding).__dict__ == same.__dict__
            assert other.png(one.crop_id) == FolderStorage(folder).png(one.crop_id)
        assert other.journal().entries() == storage_of(folder).journal().entries()
        assert other.journal().tried(CONTRACT) == {confirmed.id: "blurred"}
        assert output_folders(other) == output_folders(folder)


def test_damage_is_found_and_a_repair_says_what_to_do(storage, postgres_server):
    schema = f"faceops_{storage._address.gallery}"
    postgres_server.execute(
        f"UPDATE {schema}.crops SET png='x' WHERE id=(SELECT min(id) FROM {schema}.crops)"
    )
    (found,) = check_gallery(storage)
    assert "is damaged" in found.what
    assert main(["gallery", "repair", "--gallery", storage.address]) == 2
    postgres_server.execute(f"DELETE FROM {schema}.vectors_1 WHERE id=0")
    assert "the embeddings of 1 of 3 faces are missing" in check_gallery(reopened(storage))[0].what


def test_both_backends_name_the_same_people(gallery_dir, bundle, album, tmp_path, postgres_server):
    storage = postgres_server.new_gallery()
    export_gallery(gallery_dir, tmp_path / "a.tar")
    import_gallery(tmp_path / "a.tar", storage)
    rows: list[list[str]] = []
    for number, place in enumerate((gallery_dir, storage)):
        out = tmp_path / f"out{number}"
        if rows:  # the photos are known
            out.mkdir()
            shutil.copy(tmp_path / "out0/state.sqlite", out)
        identify(album, Gallery.open(place), bundle, out)
        lines = (out / "faces.csv").read_text("utf-8").splitlines()
        rows.append([line.split(",", 1)[1] for line in lines])  # the first is the run's id
    assert len(rows[0]) > 8 and rows[0] == rows[1]
    assert output_folders(storage).folders[-1] == tmp_path / "out1"


def test_programs_can_search_by_the_statement_in_the_documentation(postgres_server, repository):
    storage = postgres_server.new_gallery()
    gallery = Gallery(storage, CONTRACT, SIZE).with_faces(
        replace(make_face(storage, f"P{number}", 1), embedding=unit(number)) for number in range(50)
    )
    gallery.save()
    page = (repository / "docs" / "scale.md").read_text("utf-8")
    statement = page.partition("```sql\nSELECT person")[2].partition("```")[0]
    schema = f"faceops_{storage._address.gallery}"
    statement = "SELECT person" + statement.replace("faceops_archive", schema)
    query = unit(100)
    rows = postgres_server.execute(
        statement.replace("$1", "%s::vector"), *[str(query.tolist())] * 2
    )
    cosines = gallery.embeddings @ query
    best = np.argsort(-cosines)[: len(rows)]
    assert len(rows) == 10 and [name for name, _ in rows] == [gallery.persons[row] for row in best]
    np.testing.assert_allclose([cosine for _, cosine in rows], cosines[best], atol=1e-6)


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector))
