"""Every kind of image comes out as upright 8-bit RGB."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from faceops.base.files import sha256_file
from faceops.photos.open_photo import open_photo

ORIENTATION = 0x0112


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    red, green = columns * 255 // (width - 1), rows * 255 // (height - 1)
    return np.stack([red, green, np.full_like(red, 90)], axis=2).astype(np.uint8)


def held(orientation: int, upright: np.ndarray) -> np.ndarray:
    """The pixels that a camera stores under `orientation`, written out from EXIF's definition."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }[orientation](upright)


@pytest.mark.parametrize("extension", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_the_same_upright_pixels(
    tmp_path: Path, orientation: int, extension: str
) -> None:
    upright = gradient()
    image = Image.fromarray(np.ascontiguousarray(held(orientation, upright)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"photo.{extension}"
    image.save(path, exif=exif, **({"lossless": True} if extension == "webp" else {}))
    assert np.array_equal(open_photo(path).pixels, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_the_camera_was_held(tmp_path: Path, orientation: int) -> None:
    upright = gradient()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "photo.jpg"
    stored = Image.fromarray(np.ascontiguousarray(held(orientation, upright)))
    stored.save(path, exif=exif, quality=98, subsampling=0)
    pixels = open_photo(path).pixels
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 2


@pytest.mark.parametrize("orientation", [0, 9, 200])
def test_an_orientation_outside_the_standard_turns_nothing(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(gradient()).save(path, exif=exif)
    assert np.array_equal(open_photo(path).pixels, gradient())


def test_broken_exif_does_not_cost_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(gradient()).save(path, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00\x01")
    assert open_photo(path).pixels.shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("mode", "extension"),
    [
        ("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGB", "png"), ("RGBA", "png"),
        ("I;16", "png"), ("I;16", "tiff"), ("I;16B", "tiff"), ("I", "tiff"), ("F", "tiff"),
        ("CMYK", "jpg"), ("CMYK", "tiff"), ("YCbCr", "tiff"), ("LAB", "tiff"), ("PA", "tiff"),
        ("P", "gif"), ("L", "gif"), ("RGB", "bmp"), ("1", "bmp"), ("P", "bmp"), ("RGBA", "webp"),
        ("L", "jpg"), ("RGB", "avif"), ("RGB", "heic"),
    ],
)  # fmt: skip
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, extension: str) -> None:
    path = tmp_path / f"photo.{extension}"
    grey = gradient()[:, :, 0]
    if mode.startswith("I;16"):
        values = (grey.astype(np.uint16) * 257).astype(">u2" if mode.endswith("B") else "<u2")
        image = Image.frombytes(mode, (60, 40), values.tobytes())
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) / 255)
    elif mode == "I":
        image = Image.fromarray(grey.astype(np.int32) * 257)
    elif mode == "LAB":
        image = Image.fromarray(grey).convert("RGB")
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    elif mode in ("P", "PA"):
        image = Image.fromarray(grey).convert("P").convert(mode)
    else:
        image = Image.fromarray(np.stack([grey] * 3, axis=2)).convert(mode)
    if extension == "heic":
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
        import pillow_heif

        pillow_heif.from_pillow(image).save(path, quality=95)
    else:
        image.save(path)
    photo = open_photo(path)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape == (40, 60, 3)
    assert photo.pixels.flags.writeable and photo.pixels.flags.c_contiguous
    if mode == "1":  # dithered: equal on average only
        assert abs(photo.pixels.mean() - grey.mean()) < 6
    else:
        assert np.abs(photo.pixels.mean(axis=2) - grey).max() <= 6
    assert photo.photo_id == sha256_file(path)


def test_transparent_pixels_lie_over_white(tmp_path: Path) -> None:
    clear = np.zeros((20, 20, 4), dtype=np.uint8)
    clear[:, 10:] = (200, 10, 10, 255)
    rgba, palette = tmp_path / "rgba.png", tmp_path / "palette.png"
    Image.fromarray(clear).save(rgba)
    indexed = Image.new("P", (20, 20), 0)
    indexed.putpalette([0, 0, 0, 200, 10, 10])
    indexed.paste(1, (10, 0, 20, 20))
    indexed.save(palette, transparency=0)
    for path in (rgba, palette):
        pixels = open_photo(path).pixels
        assert (pixels[:, :10] == 255).all()
        assert (pixels[:, 10:] == (200, 10, 10)).all()


def swapped_srgb() -> bytes:
    """A valid profile in which red and blue have changed places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    for entry in range(132, 132 + 12 * count, 12):
        tag = bytes(profile[entry : entry + 4])
        if tag in (b"rXYZ", b"bXYZ"):
            profile[entry : entry + 4] = b"bXYZ" if tag == b"rXYZ" else b"rXYZ"
        if tag == b"desc":
            start = int.from_bytes(profile[entry + 4 : entry + 8], "big")
            at = profile.find("sRGB".encode("utf-16-be"), start)
            profile[at : at + 8] = "swap".encode("utf-16-be")
    return bytes(profile)


def test_a_colour_profile_is_taken_to_srgb(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    red = np.full((20, 20, 3), (220, 30, 30), dtype=np.uint8)
    Image.fromarray(red).save(path, icc_profile=swapped_srgb())
    pixel = open_photo(path).pixels[5, 5].astype(int)
    assert pixel[2] > 200 and pixel[0] < 60


def test_a_broken_colour_profile_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(gradient()).save(path, icc_profile=b"not a profile")
    assert np.array_equal(open_photo(path).pixels, gradient())


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert open_photo(path).pixels[5, 5].tolist() == [250, 0, 0]


def test_the_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(gradient()).save(path, format="PNG")
    assert open_photo(path).format == "PNG"


def test_a_phones_mpo_is_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    frames = [Image.fromarray(gradient()), Image.fromarray(gradient()[::-1].copy())]
    frames[0].save(path, format="MPO", save_all=True, append_images=frames[1:])
    assert open_photo(path).format == "JPEG"


def test_the_bytes_are_the_identity(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    stream = io.BytesIO()
    Image.fromarray(gradient()).save(stream, format="PNG")
    first.write_bytes(stream.getvalue())
    second.write_bytes(stream.getvalue())
    assert open_photo(first).photo_id == open_photo(second).photo_id == sha256_file(second)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_can_be_opened_at_a_part_of_its_size(tmp_path: Path, orientation: int) -> None:
    rows, columns = np.mgrid[0:600, 0:1000]
    upright = np.stack([rows / 3, columns / 5, (rows + columns) / 8], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "photo.jpg"
    stored = Image.fromarray(np.ascontiguousarray(held(orientation, upright)))
    stored.save(path, exif=exif, quality=98, subsampling=0)
    photo = open_photo(path, least_side=250)
    assert photo.size == (1000, 600) and photo.orientation == orientation
    assert photo.pixels.shape == (150, 250, 3)
    smaller = np.asarray(Image.fromarray(upright).reduce(4)).astype(int)
    assert np.abs(photo.pixels - smaller).mean() < 2
    assert open_photo(path, least_side=251).pixels.shape == (300, 500, 3)
    assert open_photo(path, least_side=5000).pixels.shape == (600, 1000, 3)


def test_other_formats_are_opened_whole(tmp_path: Path) -> None:
    path = tmp_path / "photo.tiff"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (900, 300)).save(path, exif=exif)
    photo = open_photo(path, least_side=100)
    assert photo.pixels.shape == (900, 300, 3) and photo.size == (300, 900)
