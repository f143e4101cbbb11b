"""Each format of FORMATS is recognised by its first bytes; a new one is one entry."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.reasons import Reason
from faceops.photos.formats import FORMATS, PhotoFormat, PhotoLimits, decoder_id, format_of
from faceops.photos.open_photo import PhotoError, open_photo

NAMES = [each.name for each in FORMATS]
PIXELS = np.random.default_rng(3).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def save(path: Path, name: str) -> bytes:
    """Write PIXELS to `path` in the format `name` and return the bytes."""
    (photo_format,) = (each for each in FORMATS if each.name == name)
    if photo_format.package:
        pytest.importorskip(photo_format.package, reason=f"needs the extra {photo_format.extra}")
        photo_format.register()
    Image.fromarray(PIXELS).save(path, format=photo_format.pillow_name)
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_content_decides_the_format_not_the_name(name: str, tmp_path: Path) -> None:
    content = save(tmp_path / "photo.txt", name)
    matching = [each.name for each in FORMATS if each.signature.match(content)]
    assert matching == [name]
    photo = open_photo(tmp_path / "photo.txt")
    assert photo.format == name and photo.pixels.shape == (24, 24, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_a_photo_or_gives_a_reason(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "photo"
    whole = np.frombuffer(save(path, name), dtype=np.uint8)
    damaged = [whole[:length] for length in range(1, whole.size, max(1, whole.size // 20))]
    for _ in range(25):
        damaged.append(whole.copy())
        damaged[-1][rng.integers(0, min(whole.size, 300), 6)] = rng.integers(0, 256, 6)
    for content in damaged:
        path.write_bytes(content.tobytes())
        try:
            open_photo(path, PhotoLimits(max_pixels=1_000_000))
        except PhotoError as error:
            assert "\n" not in str(error)


def test_a_format_whose_package_is_missing_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ImportError

    made_up = PhotoFormat(
        "RAW", (".raw",), re.compile(b"RAWX"), "RAW", "no_such_package", missing, "raw"
    )
    monkeypatch.setattr("faceops.photos.formats.FORMATS", [*FORMATS, made_up])
    (tmp_path / "photo.raw").write_bytes(b"RAWX and more")
    with pytest.raises(PhotoError, match=r"is RAW, which .* pip install 'faceops\[raw\]'"):
        open_photo(tmp_path / "photo.raw")
    assert "raw" not in decoder_id()


def test_a_new_format_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.ppm"
    Image.fromarray(PIXELS).save(path, format="PPM")
    with pytest.raises(PhotoError) as refused:
        open_photo(path)
    assert refused.value.reason == Reason.NOT_A_PHOTO
    entry = PhotoFormat("PPM", (".ppm",), re.compile(rb"P6\s"), "PPM")
    monkeypatch.setattr("faceops.photos.formats.FORMATS", [*FORMATS, entry])
    photo = open_photo(path)
    assert photo.format == "PPM" and np.array_equal(photo.pixels, PIXELS)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypmp42" + bytes(64), None),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (b"BMW is a car maker", None),
        (b"", None),
    ],
)
def test_containers_and_prefixes_are_distinguished(content: bytes, name: str | None) -> None:
    found = format_of(content)
    assert (found and found.name) == name
