"""Real people: a handful enrolled from two photos each, their other photos, and strangers."""

import shutil

import pyarrow.parquet as pq
import pytest

from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

ENROLLED, STRANGERS = 8, 40


@pytest.mark.lfw
@pytest.mark.slow
def test_people_of_lfw_get_their_names_and_strangers_none(lfw_root, sface_bundle, tmp_path):
    folders = sorted((lfw_root / "lfw-deepfunneled").iterdir())
    photos = {folder.name: sorted(folder.glob("*.jpg")) for folder in folders}
    known = [name for name, found in photos.items() if 5 <= len(found) <= 8][:ENROLLED]
    single = [name for name, found in photos.items() if len(found) == 1][:STRANGERS]
    album = tmp_path / "album"
    for name in known:
        (tmp_path / "people" / name).mkdir(parents=True)
        (album / name).mkdir(parents=True)
        for number, photo in enumerate(photos[name]):
            shutil.copy(photo, (tmp_path / "people" if number < 2 else album) / name)
    for name in single:
        (album / name).mkdir()
        shutil.copy(photos[name][0], album / name)
    bundle = Bundle.load(sface_bundle)
    report = enrol(tmp_path / "people", tmp_path / "g", bundle)
    assert len(report.people) >= ENROLLED - 1
    identify(album, Gallery.open(tmp_path / "g"), bundle, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "faces.parquet").to_pylist()
    named = [row for row in rows if row["person"]]
    wrong = [
        (row["photo_path"], row["person"])
        for row in named
        if row["photo_path"].split("/")[0].replace("_", " ") != row["person"]
    ]
    assert wrong == []
    in_album = sum(len(photos[name]) - 2 for name in known)
    assert len(named) >= 0.9 * in_album
