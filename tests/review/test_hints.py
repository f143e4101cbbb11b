"""Hints beside a face: they order and propose, and change nothing that is decided."""

import shutil
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceops.base.reasons import IDENTIFIED, UNKNOWN, Reason
from faceops.gallery.decisions import Decisions
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.photos.photo_header import read_header
from faceops.registry.published import load_published
from faceops.release.bundle import Bundle
from faceops.review.album import Album
from faceops.review.decided import DecidedAlbum
from faceops.review.lists import Links, groups, pile_rows, piles, with_hints
from tests.review.test_album import rows_of
from tests.review.test_lists import album

NOON = datetime(2026, 5, 1, 12)
BELOW, AMBIGUOUS = Reason.BELOW_THRESHOLD, Reason.AMBIGUOUS
ADA, LESS_ADA = (UNKNOWN, BELOW, 0, 0.9, 0.01), (UNKNOWN, BELOW, 0, 0.8, 0.05)
NAMED, CONFIRMED = (IDENTIFIED, None, 0, 0.99, 0.0), (IDENTIFIED, Reason.CONFIRMED, 0, 0.9, 0.0)


def hinted(some: DecidedAlbum, seconds: dict[int, float]) -> tuple[list[int], dict[int, str]]:
    """Return Ada's pile with hints, where photos were taken so many seconds after noon."""

    def taken(photo: int) -> datetime | None:
        return NOON + timedelta(seconds=seconds[photo]) if photo in seconds else None

    rows, notes = with_hints(some, pile_rows(some, "Ada"), taken)
    return rows.tolist(), notes


@pytest.mark.parametrize(
    ("apart", "note"),
    [
        (0.2, "Ada is named in 2.jpg, taken in the same second."),
        (1.0, "Ada is named in 2.jpg, taken 1 second later."),
        (-59.0, "Ada is named in 2.jpg, taken 59 seconds earlier."),
    ],
)
def test_a_face_of_the_same_moment_as_its_person_comes_first(apart, note):
    some = album(ADA, LESS_ADA, NAMED)
    assert hinted(some, {0: 900, 1: 0, 2: apart}) == ([1, 0], {1: note})


def test_photos_of_other_moments_folders_and_people_or_without_a_time_give_no_hint():
    for seconds in ({1: 0, 2: 61}, {1: 0}, {2: 0}, {}):
        assert hinted(album(ADA, LESS_ADA, NAMED), seconds) == ([0, 1], {})
    some = album(ADA, LESS_ADA, NAMED, (IDENTIFIED, None, 1, 0.99, 0.0))
    some = replace(some, texts=["a/0.jpg", "a/1.jpg", "b/2.jpg", "a/3.jpg"])
    assert hinted(some, dict.fromkeys(range(4), 0)) == ([0, 1], {})


def test_a_face_beside_its_person_comes_last_in_pile_and_pictures():
    some = album(LESS_ADA, (UNKNOWN, AMBIGUOUS, 0, 0.95, 0.001), NAMED)
    assert hinted(some, {}) == ([1, 0], {})
    photos = replace(some.photos, starts=np.array([0, 1, 1, 3]))  # the last two are in one photo
    some = replace(some, photos=photos)
    assert hinted(some, {}) == ([0, 1], {1: "Ada is named on another face of this photo."})
    assert piles(some)[0].keys == [some.key(0), some.key(1)]


@pytest.fixture
def grouped(bundle: Bundle) -> DecidedAlbum:
    """Two unknown faces between Ada, who is named twice, and somebody whom nobody is named as."""
    size = bundle.release.embedding_size
    ada, other = np.eye(2, size, dtype=np.float32)
    some = album((UNKNOWN, BELOW, 1, 0.1, 0.9), (UNKNOWN, BELOW, 1, 0.1, 0.9), NAMED, CONFIRMED)
    embeddings = np.stack([0.8 * ada + 0.6 * other] * 2 + [ada] * 2)
    unknown = np.array([1, 1, 0, 0])
    return replace(some, photos=replace(some.photos, embeddings=embeddings), unknown=unknown)


def test_a_group_is_proposed_as_the_person_to_whose_faces_it_is_linked(grouped, bundle):
    (group,) = groups(grouped, bundle, Decisions([]))
    assert (group.perhaps, group.chance) == ("Ada", 0.0)
    assert group.note == "Also like this group: 1 face confirmed as Ada and 1 face named Ada."


@pytest.mark.parametrize("why", ["refused", "in the photo", "unlike", "nobody named"])
def test_a_group_is_not_proposed_as_somebody_it_cannot_be(grouped, bundle, why):
    rows, refused = np.array([0, 1]), [set[str](), {"Ada"} if why == "refused" else set()]
    if why == "in the photo":
        starts = np.array([0, 1, 3, 3, 4])
        grouped = replace(grouped, photos=replace(grouped.photos, starts=starts))
    elif why == "unlike":
        embeddings = grouped.photos.embeddings.copy()
        embeddings[2:] = np.eye(1, embeddings.shape[1], 2)
        grouped = replace(grouped, photos=replace(grouped.photos, embeddings=embeddings))
    elif why == "nobody named":
        kind = np.full(4, UNKNOWN, np.int8)
        grouped = replace(grouped, faces=replace(grouped.faces, kind=kind))
    assert Links(grouped, bundle).of(rows, refused) is None


def take_at(photo: Path, time: datetime) -> None:
    """Add EXIF that says when a JPEG was taken; the image is the same, byte for byte."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = time.strftime("%Y:%m:%d %H:%M:%S")
    segment, content = exif.tobytes(), photo.read_bytes()
    length = (len(segment) + 2).to_bytes(2, "big")
    photo.write_bytes(content[:2] + b"\xff\xe1" + length + segment + content[2:])


def columns(found: Path) -> list[dict]:
    """Return the rows of a run by photo, without what names the run or the bytes of a photo.

    Numbers are rounded: a face that is embedded in another batch may differ in the last bits.
    """
    rows = pq.read_table(found / "faces.parquet").drop_columns(["run_id", "photo_id"]).to_pylist()
    for row in rows:
        row |= {name: round(value, 4) for name, value in row.items() if isinstance(value, float)}
    return sorted(rows, key=lambda row: (row["photo_path"], row["face_index"] or 0))


def test_times_in_photos_order_a_pile_and_change_no_record(hostile, tmp_path):
    bundle, gallery = load_published(), tmp_path / "gallery"
    for name in ("gallery", "photos", "found"):
        ignored = shutil.ignore_patterns("outputs.jsonl")
        shutil.copytree(hostile / name, tmp_path / name, symlinks=True, ignore=ignored)
    rows = columns(tmp_path / "found")
    with closing(Album(tmp_path / "found", gallery, bundle)) as page:
        assert page.wait()
        unsure = [pile for pile in page.piles() if pile.faces > 1]
        named = {row["person"]: row["photo_path"] for row in rows}
        person = next(pile.person for pile in unsure if pile.person in named)
        before, count = page.pile(person), len(page.groups())
    last = next(face for face in reversed(before) if not face.person)
    for path, seconds in ((last.photo_path, 0), (named[person], 12)):
        take_at(tmp_path / "photos" / path, NOON + timedelta(seconds=seconds))
    assert read_header(tmp_path / "photos" / last.photo_path).taken == NOON
    again = identify(tmp_path / "photos", Gallery.open(gallery), bundle, tmp_path / "found")
    assert again.photos_opened == 2 and columns(tmp_path / "found") == rows
    with closing(Album(tmp_path / "found", gallery, bundle)) as page:
        assert page.wait()
        after = page.pile(person)
        assert len(page.groups()) == count
        decided, written = rows_of(page, tmp_path)
    assert decided == written
    assert sorted(face.photo_path for face in before) == sorted(face.photo_path for face in after)
    assert after[0].photo_path == last.photo_path != before[0].photo_path
    file = Path(named[person]).name
    assert after[0].note == f"{person} is named in {file}, taken 12 seconds later."
