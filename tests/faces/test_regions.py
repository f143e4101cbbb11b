"""Face regions that other programs wrote, in their style, for every orientation."""

import pytest
from PIL import Image

from faceops.faces import regions
from faceops.faces.regions import (
    Region,
    embedded_regions,
    has_regions,
    regions_of_others,
    upright_box,
)
from faceops.photos.photo_header import PhotoHeader, read_header
from faceops.photos.xmp import Area, XmpDocument, stored_area
from tests.tagged_photos import STYLES, apple, lightroom, picasa, save

SIZE = (96, 64)  # of the upright photo
FACE = (12.0, 8.0, 24.0, 16.0)  # x, y, width, height in it
AREA = Area(0.25, 0.25, 0.25, 0.25)


def regions_in(
    packet: str | bytes, size: tuple[int, int] = SIZE, orientation: int = 1
) -> list[Region]:
    content = packet.encode() if isinstance(packet, str) else packet
    return embedded_regions(PhotoHeader(size, orientation, (content,)))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_region_of_each_program_lies_on_the_face(tmp_path, style, orientation):
    path = tmp_path / "photo.jpg"
    area = stored_area(FACE, SIZE, orientation)
    assert area is not None
    stored = SIZE[::-1] if orientation >= 5 else SIZE
    save(Image.new("RGB", SIZE), path, STYLES[style]([("Zoë", area)], stored), orientation)
    header = read_header(path)
    (region,) = embedded_regions(header)  # digiKam's two are one
    assert region.name == "Zoë" and region.area is not None and region.kind == "Face"
    box = upright_box(region.area, header.size, header.orientation)
    assert box == pytest.approx(FACE, abs=0.01)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_region_made_for_the_upright_photo_says_so_by_its_dimensions(orientation):
    upright = Area(0.25, 0.25, 0.25, 0.25)
    (region,) = regions_in(lightroom([("Ada", upright)], SIZE), SIZE, orientation)
    assert region.area is not None
    assert upright_box(region.area, SIZE, orientation) == pytest.approx(FACE, abs=0.01)


@pytest.mark.parametrize(("made_for", "size"), [((64, 96), (96, 64)), ((96, 64), (64, 64))])
def test_a_region_of_before_the_photo_was_turned_or_cropped_has_no_area(made_for, size):
    (region,) = regions_in(picasa([("Ada", AREA)], made_for), size)
    assert region == Region("Ada", None)
    (region,) = regions_in(picasa([("Ada", AREA)], (size[0] * 40, size[1] * 40)), size)
    assert region.area == AREA


def test_other_kinds_and_nameless_regions_say_what_they_are():
    packet = lightroom([("", AREA)], SIZE).replace('Type="Face"', 'Type="Focus"')
    assert regions_in(packet) == [Region("", AREA, "Focus")]


@pytest.mark.parametrize(
    "numbers",
    [(0.5, 0.5, 0.0, 0.1), (0.5, 0.5, -0.1, 0.1), (1.5, 0.5, 0.1, 0.1),
     (float("nan"), 0.5, 0.1, 0.1),
     (0.5, 0.5, float("inf"), 0.1), (0.5, 0.5, 1e300, 0.1), (320.0, 240.0, 64.0, 64.0)],
)  # fmt: skip
@pytest.mark.parametrize("style", STYLES)
def test_a_region_without_a_place_in_the_photo_is_left_out(style, numbers):
    assert regions_in(STYLES[style]([("Ada", Area(*numbers))], SIZE)) == []


@pytest.mark.parametrize(
    "change",
    [
        ("<x:xmpmeta", '<!DOCTYPE x [<!ENTITY a "Ada">]><x:xmpmeta'),
        ("<x:xmpmeta", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x:xmpmeta'),
        ("</rdf:RDF>", ""),
        ("<rdf:RDF", "<rdf:RDF" + "<a>" * 3000),
        ('mwg-rs:Name="', "mwg-rs:Name="),
    ],
)
def test_a_packet_that_is_no_xmp_has_no_regions(change):
    packet = lightroom([("Ada", AREA)], SIZE)
    assert len(regions_in(packet)) == 1 and change[0] in packet
    assert regions_in(packet.replace(*change)) == []


def test_of_a_packet_with_very_many_regions_the_first_are_read(monkeypatch):
    monkeypatch.setattr(regions, "MOST_REGIONS", 3)
    faces = [(f"P{number}", AREA) for number in range(5)]
    assert [one.name for one in regions_in(apple(faces, SIZE))] == ["P0", "P1", "P2"]


def test_regions_of_faceops_are_not_those_of_others():
    document = XmpDocument(lightroom([("Ada", AREA)], SIZE).encode())
    document.add_region("Ben", Area(0.7, 0.7, 0.1, 0.1), SIZE)
    assert [one.name for one in regions_of_others([document], SIZE, 1)] == ["Ada"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_packets_without_regions_are_told_without_parsing(encoding):
    assert has_regions(picasa([("Ada", AREA)], SIZE).encode(encoding))
    assert not has_regions('<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/"/>'.encode(encoding))
