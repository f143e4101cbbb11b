"""Which faces of an enrolment photo are looked at, on photos of LFW."""

from pathlib import Path

import pytest

from faceops.base.reasons import Reason
from faceops.gallery.enrol import OpenedPhoto, open_person_photo
from faceops.gallery.people_folder import PersonPhoto
from faceops.release.bundle import Bundle


def opened(lfw_root: Path, sface_bundle: Path, person: str, number: int) -> OpenedPhoto:
    path = lfw_root / "lfw-deepfunneled" / person / f"{person}_{number:04d}.jpg"
    finder = Bundle.load(sface_bundle).face_finder()
    return open_person_photo(PersonPhoto(person, path, path.name, ""), finder)


@pytest.mark.lfw
@pytest.mark.parametrize("person", ["Steven_Spielberg", "Xanana_Gusmao"])
def test_a_person_in_profile_is_not_taken_for_the_bystander(
    lfw_root: Path, sface_bundle: Path, person: str
) -> None:
    photo = opened(lfw_root, sface_bundle, person, 2)  # somebody behind looks into the camera
    assert (photo.reason, photo.faces) == (Reason.EXTREME_POSE, ())
    assert "from the front" in photo.note


@pytest.mark.lfw
def test_a_frontal_face_is_looked_at(lfw_root: Path, sface_bundle: Path) -> None:
    photo = opened(lfw_root, sface_bundle, "Colin_Powell", 1)
    assert photo.reason is None and len(photo.faces) >= 1
