"""One picture of an enrolled person."""

from pathlib import Path

import numpy as np

from faceops.gallery.people import portraits
from faceops.gallery.store import Gallery, GalleryFace, png_of


def face(person: str, quality: float) -> GalleryFace:
    crop = png_of(np.full((112, 112, 3), int(quality * 200), np.uint8))
    box = (0.0, 0.0, 50.0, 50.0)
    return GalleryFace(
        person, "0" * 64, f"{quality}.jpg", box, 0.9, quality, np.ones(4, np.float32), crop
    )


def test_the_best_face_of_each_person_asked_for(tmp_path: Path) -> None:
    faces = [face("Ann", 0.3), face("Ann", 0.8), face("Ann", 0.5), face("Bob", 0.4)]
    Gallery(tmp_path, "contract", 4, ()).with_faces(faces).save()
    assert portraits(tmp_path, {"Ann", "Nobody"}) == {"Ann": faces[1].crop}


def test_nobody_where_there_is_no_gallery(tmp_path: Path) -> None:
    assert portraits(tmp_path / "none", {"Ann"}) == {}
