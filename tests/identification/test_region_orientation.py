"""Face regions in sidecars lie on the face for every format, orientation and reader."""

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from faceops.identification.sidecars import NamedRegion, write_sidecar
from faceops.photos import xmp
from faceops.photos.open_photo import open_photo
from faceops.photos.pixels import ORIENTATION, upright
from faceops.photos.xmp import XmpDocument
from tests.tagged_photos import STORE

SIZE = (96, 64)  # of the upright photo
FACE = (12.0, 8.0, 24.0, 16.0)  # a white box on black in the upright photo
SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".heic", ".avif")
IN_CONTAINER = (".heic", ".avif")  # irot and imir; EXIF's orientation does not count
RESOLUTION_UNIT = 0x0128  # as long as the orientation in EXIF; becomes one in the file's bytes
ROTATION = {1: None, 3: 180, 6: 270, 8: 90}  # irot as exiftool reads it; others have imir too


class Case(NamedTuple):
    """A photo; `exif` is what EXIF says of a HEIC or AVIF photo, None for nothing."""

    suffix: str
    orientation: int
    exif: int | None

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height of the stored image."""
        return SIZE[::-1] if self.orientation >= 5 else SIZE


CASES = [
    Case(suffix, orientation, exif)
    for suffix in SUFFIXES
    for orientation in range(1, 9)
    for exif in dict.fromkeys(
        (None, 6 if orientation == 1 else 1, orientation)
        if suffix in IN_CONTAINER and orientation in (1, 6)
        else (orientation,)
    )
]


def write_photo(case: Case, path: Path) -> None:
    """Write the photo as a camera would that was held so."""
    picture = Image.new("RGB", SIZE)
    picture.paste((255, 255, 255), (12, 8, 36, 24))
    if case.orientation > 1:
        picture = picture.transpose(STORE[case.orientation])
    tags = Image.Exif()
    tags[ORIENTATION] = case.orientation
    if case.suffix in IN_CONTAINER and case.exif:
        tags[RESOLUTION_UNIT] = case.exif
    if case.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
        picture.info["exif"] = tags.tobytes()  # irot and imir are made from it
    buffer = io.BytesIO()
    picture.save(buffer, Image.registered_extensions()[case.suffix], exif=tags.tobytes())
    content = buffer.getvalue()
    if case.suffix in IN_CONTAINER:
        content = content.replace(b"\x01\x12\x00\x03", b"\x01\x31\x00\x03")  # no orientation
        content = content.replace(b"\x01\x28\x00\x03", b"\x01\x12\x00\x03")
    path.write_bytes(content)


def write_region(photo: Path) -> Path:
    """Write the sidecar of `photo` with its face as a run does; return it."""
    opened = open_photo(photo)
    sidecar = photo.with_name(photo.name + ".xmp")
    write_sidecar(sidecar, [NamedRegion(FACE, "Ada")], opened.size, opened.orientation)
    return sidecar


def drawn(area: xmp.Area, case: Case, orientation: int) -> tuple[float, ...]:
    """Return where a reader draws the region: it fills it in the stored image and turns that."""
    width, height = case.stored
    stored = np.zeros((height, width), np.uint8)
    left, right = (round((area.x + side * area.w / 2) * width) for side in (-1, 1))
    top, bottom = (round((area.y + side * area.h / 2) * height) for side in (-1, 1))
    stored[top:bottom, left:right] = 255
    box = upright(Image.fromarray(stored), orientation).getbbox()
    assert box is not None
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_region_covers_the_face_as_readers_map_it(case, tmp_path):
    photo = tmp_path / f"photo{case.suffix}"
    write_photo(case, photo)
    opened = open_photo(photo)
    assert opened.orientation == case.orientation and opened.size == SIZE
    bright = opened.pixels[:, :, 1] > 128
    assert bright[10:22, 14:34].all() and bright.sum() == pytest.approx(24 * 16, rel=0.1)
    content = write_region(photo).read_bytes()
    (size,) = ElementTree.fromstring(content).iter(f"{{{xmp.MWG}}}AppliedToDimensions")
    assert tuple(int(size.attrib[f"{{{xmp.DIMENSIONS}}}{name}"]) for name in "wh") == case.stored
    document = XmpDocument(content)
    (area,) = (xmp.area_of(region) for region in document.regions())
    assert area is not None and drawn(area, case, case.orientation) == FACE


def test_exiftool_reads_the_stored_size_the_orientation_and_the_region(tmp_path):
    command = shutil.which("exiftool")
    if command is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    cases = [case for case in CASES if case.orientation in ROTATION]
    for number, case in enumerate(cases):
        photo = tmp_path / f"{number:03}{case.suffix}"
        write_photo(case, photo)
        write_region(photo)
    tags = ("-Orientation", "-Rotation", "-ImageWidth", "-ImageHeight", "-RegionInfo")
    files = sorted(tmp_path.iterdir())
    done = subprocess.run(
        [command, "-json", "-n", "-struct", *tags, *files], capture_output=True, check=True
    )
    read = iter(json.loads(done.stdout))  # photo, sidecar, photo, ...
    for case, photo, sidecar in zip(cases, read, read, strict=True):
        in_container = case.suffix in IN_CONTAINER
        assert (photo["ImageWidth"], photo["ImageHeight"]) == case.stored, case
        assert photo.get("Orientation") == (case.exif if in_container else case.orientation), case
        if in_container:
            assert photo.get("Rotation") == ROTATION[case.orientation], case
        region = sidecar["RegionInfo"]
        size = region["AppliedToDimensions"]
        assert (size["W"], size["H"]) == case.stored, case
        (item,) = region["RegionList"]
        assert item["Area"]["Unit"] == "normalized"
        area = xmp.Area(*(item["Area"][key] for key in "XYWH"))
        assert drawn(area, case, case.orientation) == FACE, case
