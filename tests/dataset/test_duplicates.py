"""Duplicates: by bytes and by perceptual hash, as two plain loops find them."""

import numpy as np
import pytest

from faceops.base.reasons import Reason
from faceops.dataset.duplicates import HashedPhoto, find_duplicates, near_duplicates


def seen(path: str, photo_id: str, phash: str = "0" * 16) -> HashedPhoto:
    person = path.split("/")[1]
    return HashedPhoto(path, person, photo_id, phash)


@pytest.mark.parametrize("bits", [0, 1, 2, 5, 16])
def test_near_duplicates_are_those_of_two_loops(bits: int) -> None:
    rng = np.random.default_rng(6)
    centres = rng.integers(0, 2**63, 12)
    photos = []
    for number in range(120):
        value = int(centres[rng.integers(12)])
        for bit in rng.integers(0, 64, rng.integers(0, 7)):
            value ^= 1 << int(bit)
        person = f"Person_{rng.integers(30)}"
        photos.append(seen(f"photos/{person}/{number}.jpg", str(number), f"{value:016x}"))
    expected = {
        one.path
        for one in photos
        for other in photos
        if one.person != other.person
        and (int(one.phash, 16) ^ int(other.phash, 16)).bit_count() <= bits
    }
    assert near_duplicates(photos, bits) == expected


def test_the_first_of_one_person_stays_and_both_of_two_people_go() -> None:
    photos = [
        seen("photos/Ann/2.jpg", "a"),
        seen("photos/Ann/1.jpg", "a"),
        seen("photos/Bo/1.jpg", "b"),
        seen("photos/Cy/1.jpg", "b"),
        seen("photos/Di/1.jpg", "c"),
    ]
    assert find_duplicates(photos, -1) == {
        "photos/Ann/2.jpg": Reason.DUPLICATE,
        "photos/Bo/1.jpg": Reason.DUPLICATE_OTHER_PERSON,
        "photos/Cy/1.jpg": Reason.DUPLICATE_OTHER_PERSON,
    }


def test_two_spellings_are_one_person() -> None:
    photos = [seen("photos/ann lee/1.jpg", "a"), seen("photos/Ann_Lee/1.jpg", "a")]
    assert list(find_duplicates(photos, 0).values()) == [Reason.DUPLICATE]


def test_perceptual_twins_of_two_people_both_go_unless_not_looked_for() -> None:
    photos = [seen("photos/Ann/1.jpg", "a", "f" * 16), seen("photos/Bo/1.jpg", "b", "f" * 16)]
    assert set(find_duplicates(photos, 0).values()) == {Reason.NEAR_DUPLICATE_OTHER_PERSON}
    assert find_duplicates(photos, -1) == {}


def test_a_bucket_larger_than_a_block_and_no_photos_at_all() -> None:
    photos = [seen(f"photos/Person_{n % 2}/{n}.jpg", str(n)) for n in range(600)]
    assert near_duplicates(photos, 0) == {photo.path for photo in photos}
    assert near_duplicates(photos[::2], 3) == set()
    assert near_duplicates([], 4) == set()
