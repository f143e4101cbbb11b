"""Sidecars state faces as other programs read them, and keep what others wrote."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.work import ordered_map
from faceops.dataset.names import person_key
from faceops.identification.forget.files import ForgottenSidecars, forget_in_sidecars
from faceops.identification.forget.traces import mentions
from faceops.identification.sidecars import NamedRegion, withdraw, write_sidecar
from faceops.photos import sidecar_places
from faceops.photos.sidecar_places import SidecarPlaces
from faceops.photos.xmp import IPTC, MWG, RDF

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


def forget_ada(folder: Path) -> ForgottenSidecars:
    return forget_in_sidecars([folder], "Ada".__eq__, mentions(["ada"]))


# How a program may store a packet: codec, and whether a byte order mark comes first.
CODECS = ("utf-8", "utf-16-le", "utf-16-be")
ENCODINGS = [f"{codec}{mark}" for codec in CODECS for mark in ("", " with BOM")]


def encode(packet: str, encoding: str) -> bytes:
    """Return a packet as the XML file of a program with that encoding."""
    codec, _, mark = encoding.partition(" ")
    declared = codec.removesuffix("-le").removesuffix("-be")
    text = f'<?xml version="1.0" encoding="{declared}"?>{packet}'
    return f"{chr(0xFEFF) if mark else ''}{text}".encode(codec)


def packet_of(sidecar: Path) -> str:
    """Return the packet in a sidecar of ours, without its XML declaration."""
    return sidecar.read_text("utf-8").partition("?>")[2]


@pytest.fixture
def sidecar(tmp_path: Path) -> Path:
    """Where the sidecar of a photo is: nothing yet."""
    return tmp_path / "photo.jpg.xmp"


def field(region: ElementTree.Element, name: str) -> str | None:
    holders = [region, *region.findall(f"{{{RDF}}}Description")]
    found = (holder.get(name) or holder.findtext(name) for holder in holders)
    return next((value for value in found if value is not None), None)


def names_in(sidecar: Path) -> tuple[list[str | None], list[str | None]]:
    """Return the names of the regions, and those of PersonInImage, by another XML library."""
    root = ElementTree.parse(sidecar).getroot()
    regions = root.findall(f".//{{{MWG}}}RegionList/*/{{{RDF}}}li")
    people = root.findall(f".//{{{IPTC}}}PersonInImage/*/{{{RDF}}}li")
    return [field(region, f"{{{MWG}}}Name") for region in regions], [one.text for one in people]


def test_exiftool_reads_what_we_and_others_wrote(sidecar):
    command = shutil.which("exiftool")
    if command is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    sidecar.write_text(DIGIKAM, "utf-8")
    write_sidecar(sidecar, [ADA, BEN], SIZE, 1)
    done = subprocess.run(
        [command, "-struct", "-json", "-XMP:all", sidecar], capture_output=True, check=True
    )
    (content,) = json.loads(done.stdout)
    regions = content["RegionInfo"]["RegionList"]
    assert [(region["Name"], region["Type"]) for region in regions] == [
        ("Zoë", "Face"),
        ("Ada", "Face"),
    ]
    assert content["PersonInImage"] == ["Zoë", "Ada"]
    assert content["TagsList"] == ["People/Zoë"]
    assert content["Instructions"] == 'line one\nline two\t"three" <4>'


def test_after_exiftool_changed_a_sidecar_ours_are_found_and_leave_no_trace(sidecar):
    command = shutil.which("exiftool")
    if command is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    write_sidecar(sidecar, [ADA, BEN], SIZE, 1)
    subprocess.run([command, "-q", "-overwrite_original", "-Rating=3", sidecar], check=True)
    assert names_in(sidecar) == (["Ada", "Ben"], ["Ada", "Ben"])
    assert withdraw(sidecar)
    assert "faceops" not in (text := sidecar.read_text("utf-8")) and ">3</xmp:Rating>" in text
    assert text.count("<rdf:Description") == 1 and not withdraw(sidecar)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_content_of_others_stays_and_their_face_gets_no_second_region(sidecar, encoding):
    sidecar.write_bytes(encode(DIGIKAM, encoding))
    assert write_sidecar(sidecar, [ADA, BEN], SIZE, 1)
    text = sidecar.read_text("utf-8")
    for kept in ("a remark", "xpacket begin", 'ColorLabel="3"', "People/Zoë", 'end="w"'):
        assert kept in text
    # Ben's face is the one that they called Zoë.
    assert names_in(sidecar) == (["Zoë", "Ada"], ["Zoë", "Ada"])


def test_content_of_others_is_the_same_however_often_we_write(sidecar):
    sidecar.write_text(DIGIKAM, "utf-8")
    for regions in ([ADA], [BEN], [NamedRegion(ADA.box, "Eve")], []):
        write_sidecar(sidecar, regions, SIZE, 1)
    before, after = (
        ElementTree.canonicalize(text, with_comments=True, strip_text=True)
        for text in (DIGIKAM, sidecar.read_text("utf-8"))
    )
    assert after == before
    assert "line one&#xA;line two&#x9;" in after and "first&#xD;\nsecond" in after


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "doctype", ['<!DOCTYPE x [<!ENTITY a "b">]>', '<!DOCTYPE x SYSTEM "file:///etc/passwd">']
)
def test_a_document_type_is_refused_in_every_encoding(sidecar, encoding, doctype):
    content = encode(doctype + DIGIKAM.partition("?>")[2], encoding)
    sidecar.write_bytes(content)
    with pytest.raises(FaceOpsError, match="it has a document type"):
        write_sidecar(sidecar, [ADA], SIZE, 1)
    assert sidecar.read_bytes() == content


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_forgetting_finds_the_person_in_every_encoding(sidecar, encoding):
    write_sidecar(sidecar, [ADA, BEN], SIZE, 1)
    sidecar.write_bytes(encode(packet_of(sidecar), encoding))  # another program saved it
    done = forget_ada(sidecar.parent)
    assert (done.files, done.entries, done.found) == (1, 2, [])
    assert names_in(sidecar) == (["Ben"], ["Ben"])
    assert "Ada" not in sidecar.read_text("utf-8")


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-32-le", "utf-32-be"])
def test_forgetting_reports_damaged_sidecars_of_ours_only(sidecar, encoding):
    sidecar.write_bytes(encode(DIGIKAM[:-100], encoding))
    assert forget_in_sidecars([sidecar.parent], bool, bool).found == []
    sidecar.unlink()
    write_sidecar(sidecar, [ADA], SIZE, 1)
    sidecar.write_bytes(encode("<!DOCTYPE x>" + packet_of(sidecar), encoding))
    (line,) = forget_in_sidecars([sidecar.parent], bool, bool).found
    assert line.startswith(f"{sidecar}: cannot be read (it ")
    sidecar.write_bytes(sidecar.read_bytes()[:-100])
    assert len(forget_in_sidecars([sidecar.parent], bool, bool).found) == 1


@pytest.mark.parametrize(
    "stored",
    [
        "Zoe\u0308 A",
        "zoë__a",
        " \n Zoë A ",
        "Zo&#xEB;&#32;A",
        "<![CDATA[Zoë]]> <![CDATA[A]]>",
        '<rdf:Description><rdf:value>Zoë A</rdf:value><x:q xmlns:x="y:"/></rdf:Description>',
        '<rdf:Description rdf:value="Zo&#235; A"/>',
    ],
)
def test_forgetting_finds_the_person_however_a_program_stored_the_name(sidecar, stored):
    write_sidecar(sidecar, [NamedRegion(ADA.box, "Zoë A"), BEN], SIZE, 1)
    content, key = sidecar.read_text("utf-8"), person_key("Zoë A")
    assert content.count(">Zoë A<") == 3
    sidecar.write_text(content.replace(">Zoë A<", f">{stored}<"), "utf-8")
    done = forget_in_sidecars([sidecar.parent], lambda n: person_key(n) == key, mentions([key]))
    assert (done.entries, done.found, done.elsewhere) == (2, [], [])
    assert names_in(sidecar) == (["Ben"], ["Ben"])


@pytest.mark.parametrize(
    "name", [".photo.jpg.xmp", "photo.XMP~", "photo.jpg.xmp_original", "photo.xmp.bak"]
)
def test_forgetting_cleans_copies_of_sidecars(tmp_path, name):
    write_sidecar(tmp_path / name, [ADA], SIZE, 1)
    assert forget_ada(tmp_path).entries == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "entry",
    [
        "<dc:subject><rdf:Bag><rdf:li>Ada</rdf:li></rdf:Bag></dc:subject>",
        "<lr:hierarchicalSubject><rdf:Bag><rdf:li>People|Ada</rdf:li></rdf:Bag>"
        "</lr:hierarchicalSubject>",
        "<digiKam:TagsList><rdf:Seq><rdf:li>People/Ada</rdf:li></rdf:Seq></digiKam:TagsList>",
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Here is Ada.</rdf:li></rdf:Alt>'
        "</dc:description>",
        '<m:x xmlns:m="http://ns.microsoft.com/photo/1.0/" m:LastKeywordXMP="&#65;da"/>',
        "<Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>Ada</rdf:li></rdf:Bag>"
        "</Iptc4xmpExt:PersonInImage>",
        "<!-- Ada -->",
    ],
)
def test_forgetting_reports_the_name_in_entries_of_others(sidecar, entry):
    content = DIGIKAM.replace("   <dc:creator>", f"   {entry}<dc:creator>")
    sidecar.write_text(content, "utf-8")
    write_sidecar(sidecar, [ADA], SIZE, 1)
    done = forget_ada(sidecar.parent)
    assert done.found == [] and done.entries >= 1
    assert done.elsewhere == [f"{sidecar}: the name, in entries of other programs"]


def test_forgetting_reports_large_sidecars(sidecar):
    sidecar.write_text(DIGIKAM + " " * 10_000_000, "utf-8")
    (line,) = forget_ada(sidecar.parent).elsewhere
    assert line.startswith(f"{sidecar}: not searched for entries of other programs (it has more")
    sidecar.unlink()
    write_sidecar(sidecar, [ADA], SIZE, 1)
    sidecar.write_text(sidecar.read_text("utf-8") + " " * 10_000_000, "utf-8")
    (line,) = forget_ada(sidecar.parent).found
    assert line.startswith(f"{sidecar}: cannot be read (it has more than 10 megabytes)")


def test_a_later_run_brings_ours_up_to_date_and_only_ours(sidecar):
    assert not write_sidecar(sidecar, [], SIZE, 1) and not sidecar.exists()
    assert write_sidecar(sidecar, [ADA], SIZE, 1) and sidecar.exists()
    assert write_sidecar(sidecar, [], SIZE, 1) and not list(sidecar.parent.iterdir())
    sidecar.write_text(DIGIKAM, "utf-8")
    zoe = NamedRegion((10.0, 60.0, 20.0, 20.0), "Zoë")
    write_sidecar(sidecar, [ADA, zoe], SIZE, 1)
    inode = sidecar.stat().st_ino
    assert not write_sidecar(sidecar, [ADA, zoe], SIZE, 1) and sidecar.stat().st_ino == inode
    write_sidecar(sidecar, [NamedRegion(ADA.box, "Eve")], SIZE, 1)
    assert names_in(sidecar) == (["Zoë", "Eve"], ["Zoë", "Eve"])
    write_sidecar(sidecar, [], SIZE, 1)
    assert names_in(sidecar) == (["Zoë"], ["Zoë"])


@pytest.mark.parametrize(
    "name",
    [
        "<b>&\"'Ann'\"</b>",
        "李 明",
        "Ann\nLee",
        "a\x00b\x0bc\ufffed",
        "]]>",
        "\ud800x",
        "علی\u200cرضا",
        "A\u00adda",  # in a gallery of an earlier version
    ],
)
def test_any_name_can_be_written_and_found_again(sidecar, name):
    region = NamedRegion(ADA.box, name)
    assert write_sidecar(sidecar, [region], SIZE, 1)
    assert not write_sidecar(sidecar, [region], SIZE, 1)
    ((found,), _) = names_in(sidecar)
    assert found == " ".join(
        "".join(" " if c in "\x00\x0b\ufffe\ud800" else c for c in name).split()
    )


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"<x:xmpmeta",
        b"<html/>",
        b"\xff\xfe\x00<",
        b" " * 10_000_001,
        b"<a>" * 5000 + b"</a>" * 5000,
    ],
    ids=["pipe", "empty", "cut off", "html", "no text", "large", "deep"],
)
def test_a_broken_sidecar_is_left_as_it_is(sidecar, content):
    if content is None:
        os.mkfifo(sidecar)  # to read it would wait
    else:
        sidecar.write_bytes(content)
    with pytest.raises(FaceOpsError, match=r"photo\.jpg\.xmp cannot be read .*left as it is"):
        write_sidecar(sidecar, [ADA], SIZE, 1)
    assert content is None or sidecar.read_bytes() == content


def test_a_failed_write_leaves_the_old_sidecar_and_nothing_else(sidecar, monkeypatch):
    sidecar.write_text(DIGIKAM, "utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FaceOpsError, match=r"cannot be written \(No space left"):
        write_sidecar(sidecar, [ADA], SIZE, 1)
    assert sidecar.read_text("utf-8") == DIGIKAM
    assert list(sidecar.parent.iterdir()) == [sidecar]


@pytest.mark.parametrize(
    ("beside", "sidecar"),
    [
        ([], "photo.jpg.xmp"),
        (["photo.xmp", "photo.xmp~", "photo.jpg_original"], "photo.xmp"),
        (["photo.XMP"], "photo.XMP"),
        (["photo.jpg.XMP", "photo.xmp"], "photo.jpg.XMP"),
        (["photo.jpg.xmp", "photo.jpg.XMP"], "photo.jpg.xmp"),
        (["photo.jpg.xmp", "photo.xmp"], "photo.jpg.xmp"),
        (["photo.xmp", "photo.cr2"], "photo.jpg.xmp"),
        (["photo.xmp", "photo.png"], "photo.jpg.xmp"),
        (["photo.xmp", "photo"], "photo.jpg.xmp"),
        (["photo.xmp", "photo.cr2.xmp", "photo.jpg.txt", "photo2.png"], "photo.xmp"),
        (["Photo.xmp"], "Photo.xmp"),
        (["PHOTO.JPG.XMP", "photo.xmp"], "PHOTO.JPG.XMP"),
        (["photo.JPG.xmp", "photo.JPG"], "photo.jpg.xmp"),
        (["photo.jpg.xmp", "photo.JPG"], "photo.jpg.xmp"),
        (["Photo.xmp", "PHOTO.cr2"], "photo.jpg.xmp"),
    ],
)
def test_lightrooms_name_is_taken_where_it_can_mean_no_other_file(tmp_path, beside, sidecar):
    for name in ("photo.jpg", *beside):
        (tmp_path / name).touch()
    assert SidecarPlaces().of(tmp_path / "photo.jpg").name == sidecar


def test_a_folder_is_listed_once_for_threads_that_ask_together(tmp_path, monkeypatch):
    listed: list[Path] = []
    list_folder = sidecar_places._list

    def slowly(folder: Path) -> Any:
        listed.append(folder)
        time.sleep(0.2)
        return list_folder(folder)

    monkeypatch.setattr(sidecar_places, "_list", slowly)
    places, photos = SidecarPlaces(), [tmp_path / f"{number}.jpg" for number in range(4)]
    found = list(ordered_map(places.of, photos, 4))
    assert found == [Path(f"{photo}.xmp") for photo in photos] and listed == [tmp_path]
