"""Sidecars beside photos in an S3 server: those of local photos, and nothing of others is lost."""

from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from faceops.base import stores
from faceops.base.errors import UsageError
from faceops.base.stores import NoAnswerError, ObjectStore, place
from faceops.gallery.outputs import declare_gone, output_folders
from faceops.gallery.people import rename
from faceops.gallery.store import Gallery
from faceops.identification import sidecars
from faceops.identification.forget.forget import forget_person
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.photos import xmp
from faceops.release.bundle import Bundle
from tests.identification.test_sidecars import DIGIKAM
from tests.object_store import ObjectStoreServer

S3 = tuple[ObjectStoreServer, Any]
XMP = IdentifySettings(budget=0.3, xmp=True)
NAMES = ["0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp"]


class Archive:
    """A bucket with three photos of enrolled people below 2019/, a gallery and an output folder."""

    def __init__(self, s3: S3, name: str, gallery: Path, bundle: Bundle, out: Path) -> None:
        self.server, self.files, self.bucket = *s3, name
        self.url = f"s3://{name}/2019"
        self.gallery, self.out, self._bundle = gallery, out, bundle

    def run(self, photo: str = "", **settings: Any) -> Summary:
        """Identify the photos, or one."""
        given = IdentifySettings(budget=0.3, **{"xmp": True, **settings})
        photos = place(f"{self.url}/{photo}".rstrip("/"))
        return identify(photos, Gallery.open(self.gallery), self._bundle, self.out, given)

    def sidecars(self) -> dict[str, bytes]:
        """Return the content of each object that is no photo."""
        store = ObjectStore.at(self.url)
        names = (entry.name for entry in store.objects())
        return {name: store.read(name) for name in names if not name.endswith(".jpg")}

    def put(self, name: str, content: bytes) -> None:
        """Write an object as another program."""
        self.files.pipe(f"{self.bucket}/2019/{name}", content)

    def requests(self, kind: str) -> list[str]:
        """Return the names of the sidecars of which GET, PUT or the like were requested so far."""
        found = self.server.requests(rf"^{kind} /{self.bucket}/\S+\.xmp$")
        return [line.rpartition("/")[2] for line in found]


@pytest.fixture
def archive(s3: S3, photos: Path, own_gallery: Path, bundle: Bundle, known_out: Path) -> Archive:
    name = f"bucket-{uuid4()}"
    s3[1].mkdir(name)
    s3[1].put(f"{photos}/", f"{name}/2019/", recursive=True)
    return Archive(s3, name, own_gallery, bundle, known_out)


def test_they_are_those_of_local_photos_and_an_unchanged_run_reads_none(
    archive, photos, gallery, bundle, tmp_path
):
    assert identify(photos, gallery, bundle, tmp_path / "local", XMP).sidecars_written == 3
    summary = archive.run()
    assert (summary.sidecars_written, summary.sidecar_errors) == (3, [])
    local = {path.name: path.read_bytes() for path in photos.glob("*.xmp")}
    assert sorted(local) == NAMES and archive.sidecars() == local
    asked = [archive.requests(kind) for kind in ("GET", "PUT", "HEAD")]
    assert archive.run().unchanged
    assert [archive.requests(kind) for kind in ("GET", "PUT", "HEAD")] == asked
    assert archive.run(recheck=True).sidecars_written == 0  # reads them, writes nothing
    assert len(archive.requests("PUT")) == 3


def test_entries_of_other_programs_stay_and_ours_return(archive):
    archive.put("1.jpg.xmp", DIGIKAM.encode())
    archive.run()
    merged = archive.sidecars()["1.jpg.xmp"]
    assert b"faceops" in merged and b'digiKam:ColorLabel="3"' in merged
    archive.put("1.jpg.xmp", DIGIKAM.encode())
    archive.files.rm(f"{archive.bucket}/2019/0.jpg.xmp")
    again = archive.run()
    assert not again.unchanged and again.sidecars_written == 2
    assert archive.sidecars()["1.jpg.xmp"] == merged
    assert archive.run().unchanged


@pytest.mark.parametrize("was", [None, DIGIKAM], ids=["none", "digikam"])
def test_what_is_written_while_a_sidecar_is_merged_stays(archive, monkeypatch, was):
    if was is not None:
        archive.put("1.jpg.xmp", was.encode())
    other = DIGIKAM.replace('digiKam:ColorLabel="3"', 'digiKam:ColorLabel="5"').encode()
    stored = xmp.stored_area

    def meanwhile(*args: Any) -> Any:  # between reading and writing
        if archive.sidecars().get("1.jpg.xmp", b"") != other:
            archive.put("1.jpg.xmp", other)
        return stored(*args)

    monkeypatch.setattr(xmp, "stored_area", meanwhile)
    summary = archive.run()
    assert summary.sidecar_errors == [
        f"{archive.url.removesuffix('/2019')}/2019/1.jpg.xmp was changed meanwhile; run it again: "
        "it continues."
    ]
    assert archive.sidecars()["1.jpg.xmp"] == other
    monkeypatch.undo()
    again = archive.run()
    assert (again.sidecars_written, again.sidecar_errors) == (1, [])
    assert b'digiKam:ColorLabel="5"' in archive.sidecars()["1.jpg.xmp"]
    assert archive.run().unchanged


def test_a_sidecar_that_may_not_be_written_is_told_and_written_by_the_next_run(archive):
    archive.server.tell(f"refuse PUT /{archive.bucket}/2019/1.jpg.xmp")
    summary = archive.run()
    archive.server.tell("refuse")
    assert summary.sidecars_written == 2 and len(summary.sidecar_errors) == 1
    assert summary.sidecar_errors[0].startswith(
        f"s3://{archive.bucket}/2019/1.jpg.xmp cannot be written (Access Denied)"
    )
    assert archive.run().sidecars_written == 1
    assert archive.run().unchanged


def test_a_store_that_goes_while_a_photo_is_read_in_blocks_is_one_sentence(archive, monkeypatch):
    monkeypatch.setattr(stores, "PATIENCE_S", 0.2)
    store = stores.ObjectStore.at(f"s3://{archive.bucket}/2019")
    file = store.open("0.jpg", store.entry("0.jpg").size)
    archive.server.tell("stop")
    try:
        with pytest.raises(NoAnswerError, match="has not answered for"):
            file.read(9)
    finally:
        archive.server.tell("start")
    assert file.read(2) == b"\xff\xd8"


def test_a_store_that_stays_away_ends_the_run_and_the_next_one_continues(archive, monkeypatch):
    assert archive.run(xmp=False).sidecars_written == 0
    monkeypatch.setattr(stores, "PATIENCE_S", 0.2)
    stored, first = xmp.stored_area, iter([True])

    def stop_once(*args: Any) -> Any:
        if next(first, False):
            archive.server.tell("stop")
        return stored(*args)

    monkeypatch.setattr(xmp, "stored_area", stop_once)
    with pytest.raises(NoAnswerError, match="has not answered for"):
        archive.run()
    monkeypatch.undo()
    archive.server.tell("start")
    written = len(archive.sidecars())
    assert archive.run().sidecars_written == 3 - written


def test_entries_of_photos_that_are_gone_are_removed_and_a_new_name_is_written(archive):
    archive.put("1.jpg.xmp", DIGIKAM.encode())
    first = archive.run()
    archive.put(".faceopsignore", b"1.jpg\n")
    archive.files.rm(f"{archive.bucket}/2019/0.jpg")
    assert archive.run().sidecars_withdrawn == 2
    left = archive.sidecars()
    assert sorted(left) == [".faceopsignore", "1.jpg.xmp", "2.jpg.xmp"]
    assert b"faceops" not in left["1.jpg.xmp"] and b'digiKam:ColorLabel="3"' in left["1.jpg.xmp"]
    assert archive.run().unchanged
    person = next(name for name in first.people if name.encode() in left["2.jpg.xmp"])
    rename(archive.gallery, person, "Another Name")
    assert archive.run().sidecars_written == 1
    assert b"Another Name" in archive.sidecars()["2.jpg.xmp"]


def test_unused_sidecars_are_read_several_at_a_time(archive, monkeypatch):
    archive.run()
    for name in NAMES:
        archive.files.rm(f"{archive.bucket}/2019/{name.removesuffix('.xmp')}")
    together, withdraw = Barrier(3), sidecars.withdraw

    def wait(path: Path, *args: Any) -> bool:
        if path.name in NAMES:
            together.wait(60)
        return withdraw(path, *args)

    monkeypatch.setattr(sidecars, "withdraw", wait)
    assert archive.run(allow_empty=True).sidecars_withdrawn == 3


def test_one_photo_gets_its_sidecar(archive):
    assert archive.run("1.jpg").sidecars_written == 1
    assert archive.run("1.jpg").sidecars_written == 0
    assert list(archive.sidecars()) == ["1.jpg.xmp"]


def test_forgetting_reaches_them_or_says_what_it_could_not_reach(archive, monkeypatch):
    first = archive.run()
    (person,) = [name for name in first.people if name.encode() in archive.sidecars()["1.jpg.xmp"]]
    archive.put("1.jpg.xmp_original", archive.sidecars()["1.jpg.xmp"])
    assert output_folders(archive.gallery).sidecars == [place(archive.url)]
    with pytest.raises(UsageError, match=f"{archive.url} exists, so it is not gone"):
        declare_gone(archive.gallery, place(archive.url))

    archive.server.tell(f"refuse (PUT|DELETE) /{archive.bucket}/2019/1.jpg.xmp$")
    done = forget_person(archive.gallery, person)
    archive.server.tell("refuse")
    assert not done.complete and done.sidecars.entries > 0  # of the copy
    assert [line.partition(" cannot")[0] for line in done.proof.found] == [
        f"{archive.url}/1.jpg.xmp"
    ]
    monkeypatch.setattr(stores, "PATIENCE_S", 0.1)
    archive.server.tell("stop")
    done = forget_person(archive.gallery, person)
    archive.server.tell("start")
    (unreachable,) = done.unreachable
    assert unreachable.startswith(f"{archive.url} has not answered for 0.1 seconds")
    done = forget_person(archive.gallery, person)
    assert done.complete and done.sidecars.entries > 0
    assert not any(person.encode() in content for content in archive.sidecars().values())
    archive.run()
    assert not any(person.encode() in content for content in archive.sidecars().values())
    archive.files.rm(archive.bucket, recursive=True)
    other = next(name for name in first.people if name != person)
    assert forget_person(archive.gallery, other).unreachable == [
        f"{archive.url} cannot be listed (The specified bucket does not exist); check its name, "
        "and that these credentials may do this"
    ]
    assert forget_person(archive.gallery, other, gone=(place(archive.url),)).complete
