"""The header of a photo: its size, its orientation, and the XMP packets embedded in it."""

from datetime import datetime

import pytest
from PIL import Image

from faceops.base.reasons import Reason
from faceops.photos.open_photo import PhotoError, open_photo
from faceops.photos.photo_header import read_header
from faceops.photos.xmp import MAX_BYTES, Area
from tests.tagged_photos import FORMATS, extended_segments, lightroom, save

SIZE = (96, 64)
PACKET = lightroom([("Zoë & <b>", Area(0.5, 0.5, 0.2, 0.3))], SIZE)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_size_orientation_and_packet_are_read_from_every_format(tmp_path, suffix, orientation):
    path = tmp_path / f"photo{suffix}"
    save(Image.new("RGB", SIZE, "red"), path, PACKET, orientation)
    header, photo = read_header(path), open_photo(path)
    assert (header.size, header.orientation) == (photo.size, photo.orientation)
    assert (header.size, header.orientation) == (SIZE, orientation)
    assert header.packets[-1] == PACKET.encode()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize(
    ("tags", "taken"),
    [
        (("2026:05:01 12:30:45",), "2026-05-01T12:30:45"),
        (("2026:05:01 12:30:45", "25"), "2026-05-01T12:30:45.250000"),
        (("2026:05:01 12:30:45", "5", "-04:30"), "2026-05-01T12:30:45.500000-04:30"),
        (("0000:00:00 00:00:00",), None),
        (("    :  :     :  :  ",), None),
        ((), None),
    ],
)
def test_the_time_is_that_of_exif(tmp_path, suffix, tags, taken):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(zip((0x9003, 0x9291, 0x9011), tags, strict=False))
    Image.new("RGB", SIZE).save(path := tmp_path / f"photo{suffix}", exif=exif.tobytes())
    assert read_header(path).taken == (datetime.fromisoformat(taken) if taken else None)


def test_padding_around_a_packet_is_dropped_and_one_over_the_limit_not_read(tmp_path):
    path = tmp_path / "photo.tif"
    save(Image.new("RGB", SIZE), path, f"\n{PACKET}  \0\0")
    assert read_header(path).packets == (PACKET.encode(),)
    save(Image.new("RGB", SIZE), path, PACKET + " " * MAX_BYTES)
    assert read_header(path).packets == ()


@pytest.mark.parametrize("change", ["other guid", "a part is missing"])
def test_extended_xmp_counts_only_if_it_is_whole_and_named(tmp_path, change):
    path = tmp_path / "photo.extended.jpg"
    save(Image.new("RGB", SIZE), path, PACKET)
    content = path.read_bytes()
    if change == "other guid":
        whole, other = (extended_segments(PACKET.encode(), guid * 32) for guid in (b"A", b"B"))
        main = whole.index(b"\xff\xe1", 2)
        changed = whole[:main] + other[main:]
    else:
        whole = extended_segments(PACKET.encode())
        changed = whole[: whole.rindex(b"\xff\xe1")]
    path.write_bytes(content.replace(whole, changed))
    (main_packet,) = read_header(path).packets
    assert b"HasExtendedXMP" in main_packet


def test_a_file_that_is_no_photo_has_the_reason_of_opening_it(tmp_path):
    path = tmp_path / "photo.jpg"
    for content, reason in (
        (b"", Reason.EMPTY),
        (b"text", Reason.NOT_A_PHOTO),
        (b"\xff\xd8\xff\xe0", Reason.UNREADABLE),
    ):
        path.write_bytes(content)
        with pytest.raises(PhotoError) as error:
            read_header(path)
        assert error.value.reason is reason
