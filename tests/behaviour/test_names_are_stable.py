"""Compression, light and size do not change a name."""

from collections.abc import Callable

import pytest
from PIL import Image

from faceops.photos.open_photo import open_photo


def test_most_photos_of_enrolled_people_get_the_right_name(named_photos, held_out):
    assert len(named_photos) >= len(list(held_out.glob("*/*"))) / 2
    for photo, name in named_photos.items():
        assert name == photo.parent.name.replace("_", " ")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "compressed.jpg": lambda image: image,
    "darker.png": lambda image: image.point(lambda value: value * 0.7),
    "lighter.png": lambda image: image.point(lambda value: value * 1.25),
    "larger.png": lambda image: image.resize((image.width * 2, image.height * 2)),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_keeps_the_name(copy, named_photos, name_of, tmp_path):
    for photo, name in named_photos.items():
        COPIES[copy](Image.fromarray(open_photo(photo).pixels)).save(tmp_path / copy, quality=60)
        assert name_of(tmp_path / copy) == name
