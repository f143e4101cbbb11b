"""Photos are accepted, or rejected with a reason; duplicates are those that two loops find."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import UsageError
from faceops.base.reasons import Reason
from faceops.dataset.importer import import_photos
from faceops.dataset.validate import HashedPhoto, find_duplicates, near_duplicates, validate_photos
from faceops.photos.formats import FORMATS, PhotoFormat, PhotoLimits


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: one photo per format, and a text file."""
    folder = tmp_path / "photos" / "Ann"
    folder.mkdir(parents=True)
    for number, form in enumerate(("PNG", "PCX", "JPEG")):
        Image.new("RGB", (32, 32), (number * 60, 9, 9)).save(folder / f"{form}.jpg", format=form)
    (folder / "note.txt").write_text("not a photo")
    return tmp_path


def reasons(data: Path, formats: list[str]) -> dict[str, str]:
    rows = validate_photos(data, PhotoLimits(), formats, -1, 1)
    return {Path(row["path"]).stem: row["reason"] for row in rows}


@pytest.fixture
def pcx() -> Iterator[None]:
    """A new format in the registry."""
    FORMATS.append(PhotoFormat("PCX", (".pcx",), b"\x0a\x05"))
    yield
    FORMATS.pop()


def test_a_new_format_is_imported_and_accepted(data, pcx):
    assert reasons(data, ["PCX"])["PCX"] == ""
    assert reasons(data, ["JPEG"])["PCX"] == "format_not_allowed"
    Image.new("RGB", (32, 32)).save(data / "photos" / "Ann" / "scan.pcx")
    import_photos("tree", str(data / "photos"), data / "imported")
    assert (data / "imported" / "photos" / "Ann" / "scan.pcx").is_file()


def test_photos_have_a_reason_unless_their_format_is_accepted(data):
    expected = {"JPEG": "", "PNG": "format_not_allowed", "PCX": "not_a_photo"}
    assert reasons(data, ["JPEG"]) == {**expected, "note": "not_a_photo"}


def test_an_unknown_format_is_refused_with_the_known_ones(data):
    with pytest.raises(UsageError, match=r"lists 'JPG', .*choose from JPEG, PNG"):
        reasons(data, ["PNG", "JPG"])


def hashed(path: str, photo_id: str, phash: str = "0" * 16) -> HashedPhoto:
    person = path.split("/")[1]
    return HashedPhoto(path, person, photo_id, phash)


@pytest.mark.parametrize("bits", [0, 1, 2, 5, 16])
def test_near_duplicates_equal_two_loops(bits):
    rng = np.random.default_rng(6)
    centres = rng.integers(0, 2**63, 12)
    photos = []
    for number in range(120):
        value = int(centres[rng.integers(12)])
        for bit in rng.integers(0, 64, rng.integers(0, 7)):
            value ^= 1 << int(bit)
        name = f"photos/Person_{rng.integers(30)}/{number}.jpg"
        photos.append(hashed(name, str(number), f"{value:016x}"))
    expected = {
        one.path
        for one in photos
        for other in photos
        if one.person != other.person
        and (int(one.phash, 16) ^ int(other.phash, 16)).bit_count() <= bits
    }
    assert near_duplicates(photos, bits) == expected
    many = [hashed(f"photos/Person_{n % 2}/{n}.jpg", str(n)) for n in range(600)]  # over a block
    assert near_duplicates(many, bits) == {photo.path for photo in many}
    assert near_duplicates(many[::2], bits) == near_duplicates([], bits) == set()


def test_one_copy_of_a_person_is_kept_and_none_of_two_people():
    photos = [
        hashed("photos/Ann Lee/2.jpg", "a"),
        hashed("photos/Ann Lee/1.jpg", "a"),
        hashed("photos/ann_lee/3.jpg", "a"),  # another spelling of one person
        hashed("photos/Bo/1.jpg", "b"),
        hashed("photos/Cy/1.jpg", "b"),
        hashed("photos/Di/1.jpg", "c", "f" * 16),
        hashed("photos/Ed/1.jpg", "d", "f" * 16),
    ]
    by_bytes = {
        "photos/Ann Lee/2.jpg": Reason.DUPLICATE,
        "photos/ann_lee/3.jpg": Reason.DUPLICATE,
        "photos/Bo/1.jpg": Reason.DUPLICATE_OTHER_PERSON,
        "photos/Cy/1.jpg": Reason.DUPLICATE_OTHER_PERSON,
    }
    assert find_duplicates(photos, -1) == by_bytes
    near = dict.fromkeys(("photos/Di/1.jpg", "photos/Ed/1.jpg"), Reason.NEAR_DUPLICATE_OTHER_PERSON)
    assert find_duplicates(photos, 0) == by_bytes | near
