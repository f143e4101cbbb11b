"""Sidecars state faces as other programs read them, and keep what others wrote."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from faceops.base.errors import FaceOpsError
from faceops.identification.sidecars.place import SidecarPlaces
from faceops.identification.sidecars.sidecars import NamedRegion, remove_person, write_sidecar

SIZE = (200, 100)
ADA = NamedRegion((20.0, 10.0, 40.0, 50.0), "Ada")
BEN = NamedRegion((120.0, 30.0, 30.0, 30.0), "Ben")
DIGIKAM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <!-- a remark -->
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:r="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
   digiKam:ColorLabel="3"
   photoshop:Instructions="line one&#xA;line two&#9;&quot;three&quot; &lt;4&gt;">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">first&#xD;
second &amp; third</rdf:li></rdf:Alt></dc:description>
   <dc:creator><rdf:Seq><rdf:li><![CDATA[a <b> & c]]></rdf:li></rdf:Seq></dc:creator>
   <dc:subject><rdf:Bag><rdf:li>Zoë</rdf:li><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>People|Zoë</rdf:li></rdf:Bag></lr:hierarchicalSubject>
   <digiKam:TagsList><rdf:Seq><rdf:li>People/Zoë</rdf:li></rdf:Seq></digiKam:TagsList>
   <Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>Zoë</rdf:li></rdf:Bag></Iptc4xmpExt:PersonInImage>
   <r:Regions rdf:parseType="Resource">
    <r:RegionList><rdf:Bag><rdf:li>
     <rdf:Description r:Name="Zoë" r:Type="Face">
      <r:Area stArea:x="0.675" stArea:y="0.45" stArea:w="0.16" stArea:h="0.32"
       stArea:unit="normalized"/>
     </rdf:Description>
    </rdf:li></rdf:Bag></r:RegionList>
   </r:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", SIZE).save(path)
    return path


def sidecar_of(photo: Path) -> Path:
    return SidecarPlaces().of(photo)


def exiftool(path: Path) -> dict[str, Any]:
    command = shutil.which("exiftool")
    if command is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    done = subprocess.run(
        [command, "-struct", "-json", "-XMP:all", str(path)], capture_output=True, check=True
    )
    (content,) = json.loads(done.stdout)
    return dict(content)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exiftool_reads_name_and_place_in_the_pixels_as_they_are_stored(
    tmp_path: Path, orientation: int
) -> None:
    undone = {6: 8, 8: 6}.get(orientation, orientation)
    upright = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    upright[10:60, 20:60] = 255
    image = Image.fromarray(upright)
    image.getexif()[0x0112] = undone
    stored = np.asarray(ImageOps.exif_transpose(image))[:, :, 0] > 0
    assert write_sidecar(tmp_path / "photo.jpg.xmp", [ADA], SIZE, orientation)
    content = exiftool(tmp_path / "photo.jpg.xmp")
    info = content["RegionInfo"]
    (region,) = info["RegionList"]
    assert (region["Name"], region["Type"]) == ("Ada", "Face")
    assert content["PersonInImage"] == ["Ada"]
    size = info["AppliedToDimensions"]
    assert (size["W"], size["H"], size["Unit"]) == (stored.shape[1], stored.shape[0], "pixel")
    area = region["Area"]
    assert area["Unit"] == "normalized"
    rows, columns = np.flatnonzero(stored.any(axis=1)), np.flatnonzero(stored.any(axis=0))
    assert [(area["X"] - area["W"] / 2) * size["W"], (area["Y"] - area["H"] / 2) * size["H"]] == (
        pytest.approx([columns[0], rows[0]], abs=0.01)
    )
    assert [area["W"] * size["W"], area["H"] * size["H"]] == (
        pytest.approx([len(columns), len(rows)], abs=0.01)
    )


def test_what_others_wrote_stays_and_their_face_is_not_drawn_twice(photo: Path) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_text(DIGIKAM, "utf-8")
    assert write_sidecar(sidecar_of(photo), [ADA, BEN], SIZE, 1)
    text = sidecar.read_text("utf-8")
    for kept in ("a remark", "xpacket begin", 'ColorLabel="3"', "People/Zoë", 'end="w"'):
        assert kept in text
    content = exiftool(sidecar)
    names = [region["Name"] for region in content["RegionInfo"]["RegionList"]]
    assert names == ["Zoë", "Ada"]  # Ben's face is the one that they called Zoë
    assert content["PersonInImage"] == ["Zoë", "Ada"]
    assert content["TagsList"] == ["People/Zoë"]


def test_exiftool_reads_what_others_wrote_as_before_however_often_we_write(photo: Path) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_text(DIGIKAM, "utf-8")
    before = exiftool(sidecar)
    assert before["Instructions"] == 'line one\nline two\t"three" <4>'
    assert before["Description"] == "first\r\nsecond & third"
    assert before["Subject"] == ["Zoë", "sea"]
    assert before["HierarchicalSubject"] == ["People|Zoë"]
    for regions in ([ADA], [BEN], [NamedRegion(ADA.box, "Eve")], []):
        write_sidecar(sidecar_of(photo), regions, SIZE, 1)
    assert exiftool(sidecar) == before


def test_a_second_run_changes_no_byte(photo: Path) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_text(DIGIKAM, "utf-8")
    assert write_sidecar(sidecar_of(photo), [ADA, BEN], SIZE, 6)
    content, status = sidecar.read_bytes(), sidecar.stat()
    assert not write_sidecar(sidecar_of(photo), [ADA, BEN], SIZE, 6)
    assert sidecar.read_bytes() == content
    assert (sidecar.stat().st_ino, sidecar.stat().st_mtime_ns) == (
        status.st_ino,
        status.st_mtime_ns,
    )


def test_a_later_run_brings_ours_up_to_date_and_only_ours(photo: Path) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_text(DIGIKAM, "utf-8")
    zoe = NamedRegion((10.0, 60.0, 20.0, 20.0), "Zoë")
    write_sidecar(sidecar_of(photo), [ADA, zoe], SIZE, 1)
    write_sidecar(sidecar_of(photo), [NamedRegion(ADA.box, "Eve")], SIZE, 1)
    content = exiftool(sidecar)
    assert [r["Name"] for r in content["RegionInfo"]["RegionList"]] == ["Zoë", "Eve"]
    assert content["PersonInImage"] == ["Zoë", "Eve"]
    write_sidecar(sidecar_of(photo), [], SIZE, 1)
    content = exiftool(sidecar)
    assert [r["Name"] for r in content["RegionInfo"]["RegionList"]] == ["Zoë"]
    assert content["PersonInImage"] == ["Zoë"]


def test_a_sidecar_of_ours_alone_comes_and_goes(photo: Path) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    assert not write_sidecar(sidecar_of(photo), [], SIZE, 1) and not sidecar.exists()
    assert write_sidecar(sidecar_of(photo), [ADA], SIZE, 1) and sidecar.exists()
    assert write_sidecar(sidecar_of(photo), [], SIZE, 1) and not sidecar.exists()
    assert list(photo.parent.iterdir()) == [photo]


def test_forgetting_takes_what_we_wrote_of_one_person(photo: Path) -> None:
    write_sidecar(sidecar_of(photo), [ADA, BEN], SIZE, 1)
    sidecar = sidecar_of(photo)
    assert remove_person(sidecar, lambda name: name == "Ada") == 2
    content = exiftool(sidecar)
    assert [r["Name"] for r in content["RegionInfo"]["RegionList"]] == ["Ben"]
    assert content["PersonInImage"] == ["Ben"]
    assert "Ada" not in sidecar.read_text("utf-8")
    assert remove_person(sidecar, lambda name: name == "Ada") == 0


@pytest.mark.parametrize(
    "name", ["<b>&\"'Ann'\"</b>", "李 明", "Ann\nLee", "a\x00b\x0bc\ufffed", "]]>", "\ud800x"]
)
def test_any_name_can_be_written_and_found_again(photo: Path, name: str) -> None:
    region = NamedRegion(ADA.box, name)
    assert write_sidecar(sidecar_of(photo), [region], SIZE, 1)
    assert not write_sidecar(sidecar_of(photo), [region], SIZE, 1)
    found = exiftool(sidecar_of(photo))["RegionInfo"]["RegionList"][0]["Name"]
    assert found == " ".join("".join(c if c.isprintable() else " " for c in name).split())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<x:xmpmeta",
        b"<html/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        b"\xff\xfe\x00<",
        b" " * 10_000_001,
        b"<a>" * 5000 + b"</a>" * 5000,
    ],
    ids=["empty", "cut off", "html", "document type", "no text", "large", "deep"],
)
def test_a_broken_sidecar_is_left_as_it_is(photo: Path, content: bytes) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_bytes(content)
    with pytest.raises(FaceOpsError, match=r"photo\.jpg\.xmp cannot be read .*left as it is"):
        write_sidecar(sidecar_of(photo), [ADA], SIZE, 1)
    assert sidecar.read_bytes() == content


def test_a_pipe_is_no_sidecar_and_is_not_waited_for(photo: Path) -> None:
    os.mkfifo(sidecar_of(photo))
    with pytest.raises(FaceOpsError, match=r"cannot be read \(it is no file\)"):
        write_sidecar(sidecar_of(photo), [ADA], SIZE, 1)


def test_a_name_too_long_for_a_sidecar_says_so_where_one_is_wanted(tmp_path: Path) -> None:
    longest = tmp_path / ("a" * 251 + ".jpg")  # 255 bytes, as many as a name may have
    longest.touch()
    assert not write_sidecar(sidecar_of(longest), [], SIZE, 1)
    with pytest.raises(FaceOpsError, match=r"written \(File name too long\); give the photo a sh"):
        write_sidecar(sidecar_of(longest), [ADA], SIZE, 1)
    assert list(tmp_path.iterdir()) == [longest]
    fits = tmp_path / ("a" * 247 + ".jpg")
    assert write_sidecar(sidecar_of(fits), [ADA], SIZE, 1)


def test_a_failed_write_leaves_the_old_sidecar_and_nothing_else(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_text(DIGIKAM, "utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FaceOpsError, match=r"cannot be written \(No space left"):
        write_sidecar(sidecar_of(photo), [ADA], SIZE, 1)
    assert sidecar.read_text("utf-8") == DIGIKAM
    assert sorted(photo.parent.iterdir()) == [photo, sidecar]
