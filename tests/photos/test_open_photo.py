"""Every kind of image becomes upright 8-bit RGB, and every other file gives a reason."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms

from faceops.base.files import sha256_file
from faceops.base.reasons import Reason
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import PhotoError, open_photo
from faceops.photos.pixels import ORIENTATION
from tests.hostile_corpus import KINDS, LIMITS, OPENED, make


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    red, green = columns * 255 // (width - 1), rows * 255 // (height - 1)
    return np.stack([red, green, np.full_like(red, 90)], axis=2).astype(np.uint8)


def stored(upright: np.ndarray, orientation: int) -> Image.Image:
    """The picture that a camera stores under `orientation`, by EXIF's definition."""
    pixels = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }[orientation](upright)
    return Image.fromarray(np.ascontiguousarray(pixels))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def in_mode(grey: np.ndarray, mode: str) -> Image.Image:
    """Return a picture of Pillow's `mode` whose pixels are those of `grey`, uint8 (H, W)."""
    if mode.startswith("I;16"):
        values = (grey.astype(np.uint16) * 257).astype(">u2" if mode.endswith("B") else "<u2")
        return Image.frombytes(mode, grey.shape[::-1], values.tobytes())
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255)
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 257)
    image = Image.fromarray(grey)
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image.convert("RGB"), srgb, lab, outputMode="LAB")
    return image.convert("P" if mode in ("P", "PA") else "RGB").convert(mode)


JPEG = {"quality": 98, "subsampling": 0}


@pytest.mark.parametrize(
    ("extension", "options", "difference"),
    [("png", {}, 0), ("tiff", {}, 0), ("webp", {"lossless": True}, 0), ("jpg", JPEG, 2)],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation, extension, options, difference, tmp_path):
    path = tmp_path / f"photo.{extension}"
    stored(gradient(), orientation).save(path, exif=exif(orientation), **options)
    photo = open_photo(path)
    assert photo.pixels.shape == gradient().shape
    assert np.abs(photo.pixels.astype(int) - gradient()).mean() <= difference


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_is_decoded_at_a_part_of_its_size(orientation, tmp_path):
    rows, columns = np.mgrid[0:600, 0:1000]
    upright = np.stack([rows / 3, columns / 5, (rows + columns) / 8], axis=2).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    stored(upright, orientation).save(path, exif=exif(orientation), **JPEG)
    photo = open_photo(path, least_side=250)
    assert photo.size == (1000, 600) and photo.orientation == orientation
    assert photo.pixels.shape == (150, 250, 3)
    smaller = np.asarray(Image.fromarray(upright).reduce(4)).astype(int)
    assert np.abs(photo.pixels - smaller).mean() < 2
    assert open_photo(path, least_side=251).pixels.shape == (300, 500, 3)
    assert open_photo(path, least_side=5000).pixels.shape == (600, 1000, 3)
    other = tmp_path / "photo.tiff"  # another format is decoded in full
    stored(upright, orientation).save(other, exif=exif(orientation))
    assert open_photo(other, least_side=250).pixels.shape == (600, 1000, 3)


@pytest.mark.parametrize(
    "tags", [exif(0), exif(9), exif(200), b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00\x01"]
)
def test_wrong_exif_turns_nothing(tags, tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(gradient()).save(path, exif=tags)
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
def test_every_mode_becomes_rgb(tmp_path, mode, extension):
    path = tmp_path / f"photo.{extension}"
    grey = gradient()[:, :, 0]
    image = in_mode(grey, mode)
    if extension == "heic":
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
        import pillow_heif

        pillow_heif.from_pillow(image).save(path, quality=95)
    else:
        image.save(path)
    photo = open_photo(path)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape == (40, 60, 3)
    if mode == "1":  # dithered: equal on average only
        assert abs(photo.pixels.mean() - grey.mean()) < 6
    else:
        assert np.abs(photo.pixels.mean(axis=2) - grey).max() <= 6
    assert photo.photo_id == sha256_file(path)


def test_transparent_pixels_become_white(tmp_path):
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


def test_a_colour_profile_is_converted_to_srgb(tmp_path):
    path = tmp_path / "photo.png"
    red = np.full((20, 20, 3), (220, 30, 30), dtype=np.uint8)
    Image.fromarray(red).save(path, icc_profile=swapped_srgb())
    pixel = open_photo(path).pixels[5, 5].astype(int)
    assert pixel[2] > 200 and pixel[0] < 60


@pytest.mark.parametrize(("form", "found"), [("MPO", "JPEG"), ("PNG", "PNG"), ("TIFF", "TIFF")])
def test_the_first_of_several_pictures_is_opened(form, found, tmp_path):
    frames = [Image.fromarray(gradient()), Image.fromarray(gradient()[::-1].copy())]
    frames[0].save(tmp_path / "a", format=form, save_all=True, append_images=frames[1:])
    photo = open_photo(tmp_path / "a")
    assert photo.format == found
    assert np.abs(photo.pixels.astype(int) - gradient()).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_opened_or_gives_a_reason_and_one_sentence(tmp_path, kind):
    expected = KINDS[kind][1]
    path = tmp_path / "photo.jpg"
    make(kind, path)
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        if expected == OPENED:
            assert open_photo(path, LIMITS).pixels.shape == (64, 64, 3)
        else:
            with pytest.raises(PhotoError) as caught:
                open_photo(path, LIMITS)
            assert caught.value.reason == expected
            sentence = str(caught.value)
            assert sentence.startswith(str(path)) and sentence.endswith(".")
            assert "\n" not in sentence
    assert [str(warning.message) for warning in leaked] == []


def test_a_name_with_a_newline_stays_on_one_line(tmp_path):
    (path := tmp_path / "a\nb.jpg").touch()
    with pytest.raises(PhotoError) as caught:
        open_photo(path)
    assert "\n" not in str(caught.value) and "a\\nb.jpg" in str(caught.value)


def test_a_raised_limit_opens_what_pillow_alone_would_refuse(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    make("cmyk", tmp_path / "photo.jpg")
    photo = open_photo(tmp_path / "photo.jpg", PhotoLimits(max_pixels=5000))
    assert photo.pixels.shape == (64, 64, 3)


def test_a_jpeg_over_the_limit_is_decoded_at_a_part_of_its_size(tmp_path):
    path = tmp_path / "photo.jpg"
    large = Image.fromarray(gradient()).resize((1000, 600))
    large.save(path, exif=exif(6), **JPEG)
    photo = open_photo(path, PhotoLimits(max_pixels=40_000))
    assert photo.pixels.shape == (250, 150, 3) and photo.size == (600, 1000)
    assert photo.scale == (4.0, 4.0) and not photo.is_draft
    assert open_photo(path, PhotoLimits(max_pixels=40_000), least_side=125).is_draft
    # All coefficients of a progressive one are in memory at any size.
    large.save(path, progressive=True, **JPEG)
    for limits, advice in (
        (PhotoLimits(max_pixels=599_999), "1000 x 600 pixels, .* --max-megapixels"),
        (PhotoLimits(max_bytes=1000), "over the limit of 0.001; raise it by --max-megabytes"),
    ):
        with pytest.raises(PhotoError, match=advice) as caught:
            open_photo(path, limits)
        assert caught.value.reason == Reason.TOO_LARGE
    assert open_photo(path, PhotoLimits(max_pixels=600_000)).size == (1000, 600)


@pytest.mark.parametrize(
    ("mode", "extension"),
    [("RGB", "png"), ("RGBA", "png"), ("P", "png"), ("1", "png"), ("I;16", "png"), ("F", "tiff"),
     ("CMYK", "tiff"), ("LAB", "tiff"), ("YCbCr", "tiff"), ("RGB", "webp"), ("RGB", "jpg")],
)  # fmt: skip
def test_more_pixels_than_a_thread_may_keep_are_reduced(mode, extension, tmp_path, monkeypatch):
    monkeypatch.setattr("faceops.photos.open_photo.FULL_PIXELS", 60_000)
    path = tmp_path / f"photo.{extension}"
    grey = Image.fromarray(gradient()[:, :, 0]).resize((600, 400))
    in_mode(np.asarray(grey), mode).save(path)
    photo = open_photo(path)
    assert photo.pixels.shape == (200, 300, 3) and photo.size == (600, 400)
    small = np.asarray(grey.reduce(2)).astype(int)
    assert np.abs(photo.pixels.mean(axis=2) - small).mean() < (25 if mode == "1" else 5)
