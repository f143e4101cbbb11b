"""Each format of FORMATS is recognised by its first bytes; a new one is one entry."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.reasons import Reason
from faceops.photos.formats import FORMATS, PhotoFormat, PhotoLimits, decoder_id, format_of
from faceops.photos.open_photo import PhotoError, open_photo
from tests.photos.test_open_photo import exif, gradient
from tests.photos.tiny_dng import dng

ALL = {each.name: each for each in FORMATS}
PIXELS = np.random.default_rng(3).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def save(path: Path, name: str) -> bytes:
    """Write PIXELS to `path` in the format `name` and return the bytes."""
    photo_format = ALL[name]
    if photo_format.package:
        pytest.importorskip(photo_format.package, reason=f"needs the extra {photo_format.extra}")
        photo_format.register()
    if name == "RAW":
        path.write_bytes(dng(PIXELS, Image.fromarray(PIXELS)))
        return path.read_bytes()
    Image.fromarray(PIXELS).save(path, format=name)
    return path.read_bytes()


@pytest.mark.parametrize("name", ALL)
def test_the_content_decides_the_format_not_the_name(name, tmp_path):
    photo_format = ALL[name]
    suffix = photo_format.suffixes[0].upper() if photo_format.with_suffix else ".txt"
    content = save(path := tmp_path / f"photo{suffix}", name)
    matching = [each.name for each in FORMATS if re.match(each.signature, content, re.DOTALL)]
    assert matching == {"RAW": ["TIFF"], "TGA": []}.get(name, [name])
    photo = open_photo(path)
    assert photo.format == name and photo.pixels.shape == (24, 24, 3)


@pytest.mark.parametrize("name", ALL)
def test_a_damaged_file_is_a_photo_or_gives_a_reason(name, tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / f"photo{ALL[name].suffixes[0]}"
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
            assert "\n" not in str(error) and not error.transient  # the file is to blame


def test_a_format_whose_package_is_missing_names_the_extra(tmp_path, monkeypatch):
    def missing() -> None:
        raise ImportError

    made_up = PhotoFormat("ODD", (".odd",), b"ODDX", "no_such_package", missing, "odd")
    monkeypatch.setattr("faceops.photos.formats.FORMATS", [*FORMATS, made_up])
    (tmp_path / "photo.raw").write_bytes(b"ODDX and more")
    with pytest.raises(PhotoError, match=r"is ODD, which .* pip install 'faceops\[odd\]'") as error:
        open_photo(tmp_path / "photo.raw")
    assert error.value.reason == Reason.UNSUPPORTED_FORMAT
    before = decoder_id()
    monkeypatch.setattr("faceops.photos.formats.find_spec", lambda name: name)
    assert decoder_id() == f"{before}+odd"  # such photos are opened again


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
        (b"P6 is a processor", None),
        (b"II*\0\x10\0\0\0CR\x02\0", "RAW"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "RAW"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"\xff\x0a\x7f", "JXL"),
        (b"\0\0\2\0\0\0\0\0\0\0\0\0\x10\0\x10\0\x18\0", None),
        (b"", None),
    ],
)
def test_containers_and_prefixes_are_distinguished(content, name):
    found = format_of(content)
    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("name", "content", "reason", "words"),
    [
        ("a.svg", b'<?xml version="1.0"?><svg xmlns="x">', Reason.UNSUPPORTED_FORMAT, "format SVG"),
        ("a.psd", b"8BPS\0\1", Reason.UNSUPPORTED_FORMAT, "format Photoshop"),
        ("a.exr", b"\x76\x2f\x31\x01", Reason.UNSUPPORTED_FORMAT, "save it as JPEG"),
        ("a.mov", b"\0\0\0\x14ftypqt  \0\0", Reason.NOT_A_PHOTO, r"video .*--exclude '\*.mov'"),
        ("a.avi", b"RIFF\x24\0\0\0AVI LIST", Reason.NOT_A_PHOTO, "video"),
        ("clip", b"\0\0\0\x14ftypqt  \0\0", Reason.NOT_A_PHOTO, "--exclude 'clip' skips"),
        ("a.txt", b"a letter", Reason.NOT_A_PHOTO, "not an image"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(name, content, reason, words, tmp_path):
    (tmp_path / name).write_bytes(content + bytes(64))
    with pytest.raises(PhotoError, match=words) as caught:
        open_photo(tmp_path / name)
    assert caught.value.reason == reason


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("preview", ["", "full", "turned", "small"])
def test_a_raw_photo_is_its_jpeg_or_its_sensors_pixels_upright(preview, orientation, tmp_path):
    pytest.importorskip("rawpy", reason="needs the extra raw")
    stored = gradient(200, 300)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    upright = np.rot90(stored, turns)
    jpeg = None
    if preview:
        jpeg = Image.fromarray(np.ascontiguousarray(upright if preview == "turned" else stored))
        if preview == "small":
            jpeg = jpeg.resize((60, 40))
    if preview == "turned" and orientation == 3:
        pytest.skip("a JPEG that is turned by 180 degrees looks like one that is not")
    path = tmp_path / "photo.dng"
    path.write_bytes(dng(stored, jpeg, orientation))
    photo = open_photo(path)
    sides = upright.shape[1::-1]
    assert (photo.format, photo.size, photo.orientation) == ("RAW", sides, orientation)
    is_whole = preview in ("full", "turned")
    assert photo.scale == ((1, 1) if is_whole else (2, 2))
    shown = upright if is_whole else upright[::2, ::2]
    for channel in (0, 1):  # LibRaw chooses the brightness of the sensor's pixels
        seen, wanted = photo.pixels[..., channel].ravel(), shown[..., channel].ravel()
        assert np.corrcoef(seen, wanted)[0, 1] > (0.99 if is_whole else 0.8)
    if is_whole:
        draft = open_photo(path, least_side=75)
        assert max(draft.pixels.shape) == 75 and draft.is_draft and draft.size == sides


def test_a_jxl_is_refused_by_its_stated_size_before_it_is_decoded(tmp_path):
    pillow_jxl = pytest.importorskip("pillow_jxl", reason="needs the extra jxl")
    jxl_size = ALL["JXL"].size
    assert jxl_size
    path = tmp_path / "photo.jxl"
    for size in ((64, 64), (300, 200), (257, 1000), (1920, 1080), (16, 800), (40, 32)):
        Image.new("RGB", size).save(path, use_container=size[0] > 300, effort=1)
        assert jxl_size(path.read_bytes()) == size
    declared = bytearray(path.read_bytes())
    declared[2:8] = b"\x06\xff\xff\xff\xff\xff"  # 2^30 by 2^30 pixels
    path.write_bytes(declared)
    with pytest.raises(PhotoError, match="megapixels") as caught:
        open_photo(path)
    assert caught.value.reason == Reason.TOO_LARGE and pillow_jxl


def test_a_jxl_is_turned_once(tmp_path):
    pytest.importorskip("pillow_jxl", reason="needs the extra jxl")
    source = tmp_path / "photo.jpg"
    Image.fromarray(gradient()).save(source, exif=exif(6))
    with Image.open(source) as image:  # the whole JPEG with its orientation
        image.save(tmp_path / "whole.jxl", lossless_jpeg=True)
    assert open_photo(tmp_path / "whole.jxl").pixels.shape == (60, 40, 3)
    # The codestream's own orientation counts, which the decoder undoes; EXIF's does not.
    Image.fromarray(gradient()).save(tmp_path / "own.jxl", exif=exif(6).tobytes())
    assert open_photo(tmp_path / "own.jxl").pixels.shape == (40, 60, 3)


def test_the_page_lists_every_format():
    page = (Path(__file__).parents[2] / "docs/your-own-photos.md").read_text("utf-8")
    table = page[page.index("| formats | needs |") :].split("\n\n")[0]
    for each in FORMATS:
        (row,) = (row for row in table.splitlines() if re.search(rf"[| ]{each.name}\b", row))
        assert f"faceops[{each.extra}]" in row if each.extra else "nothing" in row
