"""What other programs embedded in a photo is copied into its new sidecar, and never doubled."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.cli import main
from faceops.faces.regions import embedded_regions, regions_of_others
from faceops.gallery.store import Gallery
from faceops.identification.forget.files import forget_in_sidecars
from faceops.identification.forget.forget import forget_person
from faceops.identification.forget.traces import mentions
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from faceops.identification.sidecars import NamedRegion, withdraw, write_sidecar
from faceops.identification.summary import TaggedOtherwise, read_summary
from faceops.photos.photo_header import read_header
from faceops.photos.xmp import MWG, Area, XmpDocument, area_of, is_ours, stored_area, text_field
from tests.tagged_photos import lightroom, save

SIZE = (200, 100)
ADA = NamedRegion((20.0, 10.0, 40.0, 50.0), "Ada")
BEN = NamedRegion((120.0, 30.0, 30.0, 40.0), "Ben")


def around(region: NamedRegion, orientation: int = 1) -> Area:
    """Return a tag on the face as a program draws it that draws larger boxes."""
    x, y, width, height = region.box
    area = stored_area((x - 8, y - 12, width + 16, height + 20), SIZE, orientation)
    assert area is not None
    return area


def names_in(sidecar: Path) -> list[tuple[str, bool]]:
    """Return the name of each region, and whether it is one of ours."""
    document = XmpDocument(sidecar.read_bytes())
    return [(text_field(one, MWG, "Name"), is_ours(one)) for one in document.regions()]


def tagged_photo(folder: Path, orientation: int = 1) -> Path:
    """Write a photo in which Ben's face is tagged Zoë; return it."""
    photo = folder / "photo.jpg"
    stored = SIZE[::-1] if orientation >= 5 else SIZE
    packet = lightroom([("Zoë", around(BEN, orientation))], stored)
    save(Image.new("RGB", SIZE), photo, packet, orientation)
    return photo


@pytest.mark.parametrize("orientation", range(1, 9))
def test_embedded_regions_are_copied_and_their_face_gets_no_second_one(tmp_path, orientation):
    photo, sidecar = tagged_photo(tmp_path, orientation), tmp_path / "photo.jpg.xmp"
    otherwise: list[tuple[str, str]] = []
    regions = [ADA, BEN]
    assert write_sidecar(sidecar, regions, SIZE, orientation, photo=photo, otherwise=otherwise)
    assert otherwise == [("Ben", "Zoë")]
    assert names_in(sidecar) == [("Zoë", False), ("Ada", True)]
    document = XmpDocument(sidecar.read_bytes())
    (copy,) = regions_of_others([document], SIZE, orientation)
    (original,) = embedded_regions(read_header(photo))
    assert copy.area == pytest.approx(original.area, abs=1e-5) and copy.name == original.name
    otherwise.clear()
    assert not write_sidecar(sidecar, regions, SIZE, orientation, photo=photo, otherwise=otherwise)
    assert otherwise == [("Ben", "Zoë")]  # by the copy now


def test_a_face_tagged_with_its_name_and_a_photo_that_is_gone_get_no_sidecar(tmp_path):
    photo, otherwise = tagged_photo(tmp_path), list[tuple[str, str]]()
    region = NamedRegion(BEN.box, "zoë")
    sidecar = tmp_path / "photo.jpg.xmp"
    assert not write_sidecar(sidecar, [region], SIZE, 1, photo=photo, otherwise=otherwise)
    assert otherwise == [] and not sidecar.exists()
    photo.unlink()
    with pytest.raises(FaceOpsError, match=r"photo\.jpg is gone"):
        write_sidecar(tmp_path / "photo.jpg.xmp", [ADA], SIZE, 1, photo=photo)
    assert list(tmp_path.iterdir()) == []


def test_nameless_faces_are_not_copied_but_other_kinds_are(tmp_path):
    faces = [("", around(ADA)), ("", around(BEN)), ("Rex", Area(0.5, 0.5, 0.1, 0.1))]
    first, second, third, rest = lightroom(faces, SIZE).split('Type="Face"')
    packet = f'{first}Type="Face"{second}Type="Focus"{third}Type="Pet"{rest}'
    photo, sidecar = tmp_path / "photo.jpg", tmp_path / "photo.jpg.xmp"
    save(Image.new("RGB", SIZE), photo, packet)
    write_sidecar(sidecar, [ADA, BEN], SIZE, 1, photo=photo)
    assert names_in(sidecar) == [("", False), ("Rex", False), ("Ada", True), ("Ben", True)]
    document = XmpDocument(sidecar.read_bytes())
    assert [region.kind for region in regions_of_others([document], SIZE, 1)] == ["Focus", "Pet"]


def test_regions_are_copied_beside_what_others_wrote_if_they_wrote_no_regions(tmp_path):
    photo, sidecar = tagged_photo(tmp_path), tmp_path / "photo.jpg.xmp"
    rating = '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>'
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    sidecar.write_text(f'<rdf:RDF xmlns:rdf="{rdf}">{rating}</rdf:RDF>')
    write_sidecar(sidecar, [ADA], SIZE, 1, photo=photo)
    assert names_in(sidecar) == [("Zoë", False), ("Ada", True)]
    assert withdraw(sidecar) and 'xmp:Rating="4"' in sidecar.read_text("utf-8")
    assert "Zoë" not in sidecar.read_text("utf-8")
    sidecar.write_text(lightroom([("Eve", Area(0.9, 0.1, 0.1, 0.1))], SIZE), "utf-8")
    write_sidecar(sidecar, [ADA], SIZE, 1, photo=photo)
    assert names_in(sidecar) == [("Eve", False), ("Ada", True)]


@pytest.mark.parametrize("by_withdrawal", [True, False])
def test_copies_leave_with_the_last_region_of_ours_unless_they_were_changed(
    tmp_path, by_withdrawal
):
    photo, sidecar = tagged_photo(tmp_path), tmp_path / "photo.jpg.xmp"

    def remove() -> None:
        if by_withdrawal:
            withdraw(sidecar)
        else:
            write_sidecar(sidecar, [], SIZE, 1, photo=photo)

    write_sidecar(sidecar, [ADA], SIZE, 1, photo=photo)
    remove()
    assert not sidecar.exists()
    write_sidecar(sidecar, [ADA], SIZE, 1, photo=photo)
    sidecar.write_text(sidecar.read_text("utf-8").replace("Zoë", "Zoë Lee"), "utf-8")
    remove()
    assert names_in(sidecar) == [("Zoë Lee", False)]


def test_a_forgotten_person_leaves_the_copies(tmp_path):
    photo, sidecar = tagged_photo(tmp_path), tmp_path / "photo.jpg.xmp"
    write_sidecar(sidecar, [ADA], SIZE, 1, photo=photo)
    done = forget_in_sidecars([tmp_path], lambda name: name == "Zoë", mentions(["zoë"]))
    assert (done.entries, done.found, done.elsewhere) == (1, [], [])
    assert names_in(sidecar) == [("Ada", True)]


def test_a_run_reports_faces_that_are_tagged_otherwise_and_forgetting_cleans_that(
    synthetic_set, own_gallery, bundle, sface_bundle, tmp_path, capsys
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    sources = sorted((synthetic_set / "enrol").glob("*/*"))[1:9:3]
    for number, source in enumerate(sources):
        shutil.copyfile(source, photos / f"{number}.jpg")
    settings = IdentifySettings(budget=0.3, xmp=True)
    gallery = Gallery.open(own_gallery)
    first = identify(photos, gallery, bundle, out, settings)
    assert (first.identified, first.sidecars_written, first.tagged_otherwise) == (3, 3, [])
    document = XmpDocument((photos / "0.jpg.xmp").read_bytes())
    (person,) = [text_field(one, MWG, "Name") for one in document.regions()]
    (face,) = map(area_of, document.regions())
    assert face is not None
    for sidecar in photos.glob("*.xmp"):
        sidecar.unlink()
    with Image.open(photos / "0.jpg") as image:
        save(image.convert("RGB"), photos / "0.jpg", lightroom([("Zoë", face)], image.size))
    command = ["identify", str(photos), "--gallery", str(own_gallery), "--out", str(out), "--xmp"]
    command += ["--bundle", str(sface_bundle), "--budget", "0.3"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "1 faces have another name in tags of other programs, which stay as they are:" in shown
    assert f"0.jpg: tagged Zoë, named {person}" in shown
    again = read_summary(out)
    assert again.tagged_otherwise == [TaggedOtherwise("0.jpg", person, "Zoë")]
    assert (again.photos_opened, again.sidecars_written) == (1, 2)
    assert not (photos / "0.jpg.xmp").exists()
    assert identify(photos, gallery, bundle, out, settings).unchanged
    assert forget_person(own_gallery, person, (), ()).complete
    assert read_summary(out).tagged_otherwise == []
