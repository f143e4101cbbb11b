"""EXIF rotation, compression, light and size do not change a name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.behaviour.conftest import NameOf, pixels_of, save

# EXIF orientation: how the stored pixels are turned from the upright photo.
STORED = {
    2: lambda image: np.fliplr(image),
    3: lambda image: np.rot90(image, 2),
    4: lambda image: np.flipud(image),
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, 1),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}


def test_most_photos_of_enrolled_people_get_the_right_name(
    named_photos: dict[Path, str], held_out: Path
) -> None:
    assert len(named_photos) >= len(list(held_out.glob("*/*"))) / 2
    for photo, name in named_photos.items():
        assert name == photo.parent.name.replace("_", " ")


@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_photo_keeps_its_name(
    orientation: int, named_photos: dict[Path, str], name_of: NameOf, tmp_path: Path
) -> None:
    photo, name = next(iter(named_photos.items()))
    stored = np.ascontiguousarray(STORED[orientation](pixels_of(photo)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = save(stored, tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(pixels_of(turned), pixels_of(photo))
    assert name_of(turned) == name


@pytest.mark.parametrize("quality", [85, 60])
def test_compression_keeps_the_name(
    quality: int, named_photos: dict[Path, str], name_of: NameOf, tmp_path: Path
) -> None:
    for photo, name in named_photos.items():
        assert name_of(save(pixels_of(photo), tmp_path / "again.jpg", quality=quality)) == name


@pytest.mark.parametrize("factor", [0.7, 1.25])
def test_light_keeps_the_name(
    factor: float, named_photos: dict[Path, str], name_of: NameOf, tmp_path: Path
) -> None:
    for photo, name in named_photos.items():
        lit = np.clip(pixels_of(photo).astype(np.float32) * factor, 0, 255).astype(np.uint8)
        assert name_of(save(lit, tmp_path / "lit.png")) == name


def test_a_larger_copy_keeps_the_name(
    named_photos: dict[Path, str], name_of: NameOf, tmp_path: Path
) -> None:
    for photo, name in named_photos.items():
        image = Image.fromarray(pixels_of(photo))
        large = image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
        assert name_of(save(np.asarray(large), tmp_path / "large.png")) == name
