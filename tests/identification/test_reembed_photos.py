"""The model changed: faces whose crops are kept are embedded anew, and no photo is opened."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from faceops.gallery.reembed import reembed
from faceops.gallery.store import Gallery
from faceops.identification.engine.extract import FaceExtractor, extract_shard
from faceops.identification.forget.forget import forget_person
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.identification.state.found_photo import decode_crop, encode_crop
from faceops.photos.walk import walk_photos
from faceops.release.bundle import Bundle


@pytest.fixture(scope="module")
def new(next_bundle: Path) -> Bundle:
    """The release that comes next: another embedder, the same crops."""
    return Bundle.load(next_bundle)


@pytest.fixture
def own(gallery_dir: Path, tmp_path: Path) -> Path:
    """A gallery whose outputs are not those of other tests."""
    ignored = shutil.ignore_patterns("outputs.jsonl")
    return Path(shutil.copytree(gallery_dir, tmp_path / "gallery", ignore=ignored))


def rows_of(out: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(out / "faces.parquet").drop_columns("run_id").to_pylist())


def count(out: Path, what: str) -> int:
    with sqlite3.connect(out / "state.sqlite") as db:
        return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def test_the_rows_are_those_of_a_fresh_run(
    album: Path, own: Path, bundle: Bundle, new: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = identify(album, Gallery.open(own), bundle, out, IdentifySettings(keep_crops=True))
    reembed(own, new)
    gallery = Gallery.open(own)
    scene = sorted((album / "scenes").iterdir())[0]
    scene.rename(album / "renamed.jpg")
    again = identify(album, gallery, new, out)
    with_faces = {row["photo_id"] for row in rows_of(out) if row["face_index"] is not None}
    assert (again.photos_opened, again.photos_reused) == (0, first.photos_opened)
    assert again.photos_reembedded == len(with_faces) > 5
    fresh = identify(album, gallery, new, tmp_path / "fresh")
    assert fresh.photos_opened == first.photos_opened
    assert rows_of(out) == rows_of(tmp_path / "fresh")
    (out / "faces.csv").unlink()  # so that there is something to do
    assert identify(album, gallery, new, out).photos_reembedded == 0


def test_going_back_embeds_nothing(
    album: Path, own: Path, bundle: Bundle, new: Bundle, tmp_path: Path
) -> None:
    out, before = tmp_path / "out", Gallery.open(Path(shutil.copytree(own, tmp_path / "before")))
    identify(album, before, bundle, out, IdentifySettings(keep_crops=True))
    rows = rows_of(out)
    reembed(own, new)
    identify(album, Gallery.open(own), new, out)
    back = identify(album, before, bundle, out)
    assert (back.photos_opened, back.photos_reembedded) == (0, 0)
    assert rows_of(out) == rows


def test_without_crops_only_photos_with_faces_are_opened(
    album: Path, own: Path, bundle: Bundle, new: Bundle, tmp_path: Path
) -> None:
    out, before = tmp_path / "out", Gallery.open(Path(shutil.copytree(own, tmp_path / "before")))
    identify(album, before, bundle, out)
    assert count(out, "faces WHERE crop IS NOT NULL") == 0
    reembed(own, new)
    again = identify(album, Gallery.open(own), new, out, IdentifySettings(keep_crops=True))
    with_faces = {row["photo_path"] for row in rows_of(out) if row["face_index"] is not None}
    assert (again.photos_opened, again.photos_reembedded) == (len(with_faces), 0)
    assert count(out, "faces WHERE crop IS NULL") == 0
    back = identify(album, before, bundle, out)
    assert (back.photos_opened, back.photos_reembedded) == (0, 0)


@pytest.mark.parametrize("crop", [None, b"RIFFhalf"])
def test_a_photo_that_lacks_a_crop_is_opened(
    album: Path, own: Path, bundle: Bundle, new: Bundle, tmp_path: Path, crop: bytes | None
) -> None:
    out = tmp_path / "out"
    first = identify(album, Gallery.open(own), bundle, out, IdentifySettings(keep_crops=True))
    photo = next(row["photo_id"] for row in rows_of(out) if row["face_index"] == 1)
    with sqlite3.connect(out / "state.sqlite") as db:
        db.execute("UPDATE faces SET crop=? WHERE photo_id=? AND face_index=1", (crop, photo))
    reembed(own, new)
    again = identify(album, Gallery.open(own), new, out)
    assert again.photos_opened == 1
    assert again.photos_opened + again.photos_reused == first.photos_opened
    identify(album, Gallery.open(own), new, tmp_path / "fresh")
    assert rows_of(out) == rows_of(tmp_path / "fresh")


def test_other_crops_are_cut_anew(album: Path, own: Path, bundle: Bundle, tmp_path: Path) -> None:
    out, gallery = tmp_path / "out", Gallery.open(own)
    first = identify(album, gallery, bundle, out, IdentifySettings(keep_crops=True))
    again = identify(album, gallery, bundle, out, IdentifySettings(keep_crops=True, detail=0))
    assert (again.photos_opened, again.photos_reembedded) == (first.photos_opened, 0)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_a_run_that_was_cut_off_goes_on(
    album: Path,
    own: Path,
    bundle: Bundle,
    new: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faceops.identification.run.GROUP", 4)
    out = tmp_path / "out"
    identify(album, Gallery.open(own), bundle, out, IdentifySettings(keep_crops=True))
    reembed(own, new)
    gallery = Gallery.open(own)
    look: Callable[..., Any] = FaceExtractor.extract
    groups = []

    def killed(looker: FaceExtractor, paths: list[Path]) -> Any:
        groups.append(paths)
        if len(groups) == 3:
            raise Killed
        return look(looker, paths)

    monkeypatch.setattr(FaceExtractor, "extract", killed)
    with pytest.raises(Killed):
        identify(album, gallery, new, out, IdentifySettings(threads=1))
    monkeypatch.setattr(FaceExtractor, "extract", look)
    half = count(out, "(SELECT DISTINCT contract FROM embeddings)")
    again = identify(album, gallery, new, out)
    assert half == 2 and again.photos_opened == 0
    identify(album, gallery, new, tmp_path / "fresh")
    with_faces = {row["photo_path"] for row in rows_of(out) if row["face_index"] is not None}
    assert 0 < again.photos_reembedded < len(with_faces)
    assert rows_of(out) == rows_of(tmp_path / "fresh")


@pytest.mark.parametrize("keep_crops", [True, False])
def test_who_was_forgotten_stays_forgotten(
    album: Path, own: Path, bundle: Bundle, new: Bundle, tmp_path: Path, keep_crops: bool
) -> None:
    out = tmp_path / "out"
    first = identify(album, Gallery.open(own), bundle, out, IdentifySettings(keep_crops=keep_crops))
    person = first.people.most_common(1)[0][0]
    with sqlite3.connect(out / "state.sqlite") as db:
        before = {row[0] for row in db.execute("SELECT crop FROM faces")}
    done = forget_person(own, person)
    (output,) = done.outputs
    assert done.complete and done.proof.found == []
    removed = {part for one in output.removed for part in one.parts}
    assert len(removed & before) == (first.people[person] if keep_crops else 0)
    for crop in removed & before:
        content = (out / "state.sqlite").read_bytes()
        assert crop[:40] not in content and crop[-40:] not in content
    reembed(own, new)
    forgotten = count(out, "faces WHERE forgotten")
    again = identify(album, Gallery.open(own), new, out)
    assert again.reasons["forgotten"] == forgotten > 0 and person not in again.people
    assert (again.photos_opened == 0) == keep_crops
    # Not even where they are found by another method.
    other = identify(album, Gallery.open(own), new, out, IdentifySettings(detail=0))
    assert other.photos_opened > 0 and other.reasons["forgotten"] == forgotten
    assert count(out, "faces WHERE forgotten AND (crop NOT NULL OR length(thumbnail)>0)") == 0


def test_the_search_finds_a_crop_that_was_not_removed(
    album: Path, own: Path, bundle: Bundle, tmp_path: Path
) -> None:
    from faceops.identification.forget.traces import search_traces

    out = tmp_path / "out"
    identify(album, Gallery.open(own), bundle, out, IdentifySettings(keep_crops=True))
    with sqlite3.connect(out / "state.sqlite") as db:
        for (crop,) in db.execute("SELECT crop FROM faces"):
            found = search_traces([out], lambda name: False, [crop]).found
            assert f"{out / 'state.sqlite'}: an embedding or picture, in faces" in found


def test_shards_embed_kept_crops_too(
    album: Path, own: Path, bundle: Bundle, new: Bundle, tmp_path: Path
) -> None:
    out, root = tmp_path / "out", album.resolve()
    assert extract_shard(walk_photos(root), bundle, out, IdentifySettings(keep_crops=True)) == 11
    reembed(own, new)
    assert extract_shard(walk_photos(root), new, out) == 0
    summary = identify(album, Gallery.open(own), new, out)
    assert (summary.photos_opened, summary.photos_reembedded) == (0, 0)


def test_the_latest_three_methods_stay(
    album: Path, own: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out, gallery = tmp_path / "out", Gallery.open(own)
    photo = sorted((album / "scenes").iterdir())[0]
    for detail in (0, 700, 800, 900, 0):
        identify(photo, gallery, bundle, out, IdentifySettings(detail=detail))
    assert count(out, "methods") == 3
    for table in ("photos", "faces", "embeddings"):
        assert count(out, f"(SELECT DISTINCT finder FROM {table})") == 3
    assert identify(photo, gallery, bundle, out, IdentifySettings(detail=800)).photos_opened == 0
    assert identify(photo, gallery, bundle, out, IdentifySettings(detail=700)).photos_opened == 1


def test_a_kept_crop_loses_nothing() -> None:
    crop = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    read = decode_crop(encode_crop(crop))
    assert read is not None and np.array_equal(read, crop)
    assert decode_crop(encode_crop(crop)[:900]) is None
    assert decode_crop(os.urandom(50)) is None
