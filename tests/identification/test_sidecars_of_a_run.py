"""Sidecars of whole runs: failures are reported for each photo and repaired by the next run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from faceops.gallery.people import rename
from faceops.gallery.store import Gallery
from faceops.identification import sidecars
from faceops.identification.inputs import IdentifySettings
from faceops.identification.state.schema import open_state
from faceops.identification.summary import read_summary
from faceops.photos import xmp
from faceops.photos.pixels import ORIENTATION
from faceops.release.bundle import Bundle
from tests.identification.conftest import Run, as_of_schema_4, change_state
from tests.identification.test_sidecars import DIGIKAM


@pytest.fixture
def run(photos: Path, own_gallery: Path, bundle: Bundle, known_out: Path) -> Run:
    """Runs that write sidecars and drawings of three photos, whose faces are known."""
    settings = IdentifySettings(budget=0.3, annotate=True, xmp=True)
    return Run(photos, Gallery.open(own_gallery), bundle, known_out, settings)


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
shift
exec "$@"
"""


def test_photos_on_a_read_only_disk_give_one_error_each_and_the_run_goes_on(
    photos, gallery_dir, sface_bundle, known_out
):
    out = known_out
    options = ["--gallery", gallery_dir, "--bundle", sface_bundle, "--out", out, "--budget", "0.3"]
    command = [sys.executable, "-m", "faceops.cli", "identify", photos, "--xmp", *options]
    own_mounts = ["unshare", "-rm", "sh", "-c", READ_ONLY, "sh", photos]
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed (util-linux)")
    done = subprocess.run(list(map(str, [*own_mounts, *command])), capture_output=True, text=True)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"this system gives no namespace for mounts: {done.stderr}")
    assert done.returncode == 0, done.stderr
    summary = read_summary(out)
    assert summary.identified == 3 and summary.sidecars_written == 0
    assert [error.split(": ")[0] for error in summary.sidecar_errors] == [
        f"the sidecar {photos / name}.xmp cannot be written (Read-only file system); make its "
        "folder writable, or run without --xmp."
        for name in ("0.jpg", "1.jpg", "2.jpg")
    ]
    assert summary.sidecar_errors[0] in done.stdout


def test_a_sidecar_that_failed_is_written_by_the_next_run(run):
    sidecar = run.album / "1.jpg.xmp"
    sidecar.write_text("<broken", "utf-8")
    first = run()
    assert (first.sidecars_written, len(first.sidecar_errors)) == (2, 1)
    assert not run().unchanged
    sidecar.unlink()
    third = run()
    assert (third.sidecars_written, third.sidecar_errors) == (1, [])
    assert run().unchanged


@pytest.mark.parametrize("change", ["deleted", "lightroom"])
def test_a_sidecar_that_others_changed_is_brought_up_to_date(run, change):
    first = run()
    assert (first.photos, first.sidecars_written) == (3, 3)
    sidecar = run.album / "1.jpg.xmp"
    content = sidecar.read_text("utf-8")
    (person,) = [name for name in first.people if name in content]
    if change == "deleted":
        sidecar.unlink()
    else:
        sidecar = sidecar.rename(run.album / "1.xmp")
        sidecar.write_text(content.replace(person, "Somebody else"), "utf-8")
    second = run()
    assert not second.unchanged and second.sidecars_written == 1
    assert sidecar.read_text("utf-8") == content
    assert len(list(run.album.glob("*.xmp"))) == 3
    assert run().unchanged


def change(photos: Path, what: str) -> set[str]:
    """Change the photo 1.jpg; return where its entries, or such of a system's copy, are then."""
    photo = photos / "1.jpg"
    if what == "deleted":
        photo.unlink()
    elif what == "moved":
        (photos / "new").mkdir()
        photo.rename(photos / "new" / "renamed.jpg")
        return {"new/renamed.jpg.xmp"}
    elif what == "broken":
        photo.write_bytes(b"\xff\xd8 broken")
    elif what == "excluded":
        (photos / ".faceopsignore").write_text("1.*\nout/\n")
        (photos / "#snapshot").mkdir()
        shutil.copy(photos / "0.jpg.xmp", photos / "#snapshot")
        return {"#snapshot/0.jpg.xmp"}
    else:
        photo.rename(photos / "1.JPG")  # the same sidecar on a disk that does not tell case apart
        return {"1.jpg.xmp"}
    return set()


@pytest.mark.parametrize(
    ("what", "theirs"),
    [
        ("deleted", ""),
        ("moved", DIGIKAM),
        ("broken", DIGIKAM),
        ("excluded", ""),
        ("another case", DIGIKAM),
    ],
)
def test_entries_follow_the_photo(run, what, theirs):
    sidecar = run.album / "1.jpg.xmp"
    if theirs:
        sidecar.write_text(theirs, "utf-8")
    run()
    written = {path: path.stat().st_ino for path in run.album.glob("*.jpg.xmp")}
    places = change(run.album, what)
    again = run()
    assert again.sidecar_errors == [] and again.sidecars_withdrawn == (what != "another case")
    unchanged = {path for path in written if path.exists() and path.stat().st_ino == written[path]}
    assert (sidecar in unchanged) == (what == "another case") and len(unchanged) >= 2
    sidecars = {path: path.read_text("utf-8") for path in run.album.rglob("*.xmp")}
    ours = {
        path.relative_to(run.album).as_posix() for path in sidecars if "faceops" in sidecars[path]
    }
    assert ours == {"0.jpg.xmp", "2.jpg.xmp"} | places
    if sidecar not in unchanged and theirs:
        canonical = [
            ElementTree.canonicalize(text, with_comments=True, strip_text=True)
            for text in (theirs, sidecars[sidecar])
        ]
        assert canonical[0] == canonical[1]
    assert sidecar.exists() == bool(theirs or sidecar in unchanged)
    assert run().unchanged


def test_what_a_killed_run_did_not_withdraw_is_withdrawn_by_another(run, tmp_path, monkeypatch):
    run()
    for name in ("0.jpg", "1.jpg"):
        (run.album / name).rename(run.album / f"new_{name}")
    half = run.album / ".0123.faceops-tmp"
    half.write_text("half")
    os.utime(half, (0, 0))
    remove, calls = sidecars.remove_person, iter([True])

    def killed(*args: Any) -> int:
        return remove(*args) if next(calls, None) else sys.exit("killed")

    monkeypatch.setattr(sidecars, "remove_person", killed)
    with pytest.raises(SystemExit):
        run()
    assert len(list(run.album.glob("*.xmp"))) == 4
    monkeypatch.undo()
    assert run._replace(out=tmp_path / "another")().sidecars_withdrawn == 1
    assert {path.name for path in run.album.iterdir() if path.suffix != ".jpg"} == {
        "new_0.jpg.xmp", "new_1.jpg.xmp", "2.jpg.xmp"
    }  # fmt: skip


def test_a_damaged_sidecar_of_a_deleted_photo_is_reported_if_it_is_ours(run):
    run()
    (run.album / "1.jpg").unlink()
    sidecar = run.album / "1.jpg.xmp"
    sidecar.write_text(sidecar.read_text("utf-8")[:-9], "utf-8")
    (run.album / "other.xmp").write_text("<broken")
    (error,) = run().sidecar_errors
    assert error.startswith(f"the sidecar {sidecar} cannot be read (it is not well-formed")
    sidecar.unlink()
    assert run().sidecar_errors == []


def test_a_renamed_person_has_the_new_name_in_sidecars_after_the_next_run(run):
    first = run()
    person = next(iter(first.people))
    rename(run.gallery.place, person, "Another Name")
    again = run()
    assert (again.photos_opened, again.sidecars_written) == (0, first.people[person])
    text = "".join(path.read_text("utf-8") for path in run.album.glob("*.xmp"))
    assert person not in text and text.count("Another Name") == 3 * first.people[person]


def test_names_as_long_as_names_can_be_stop_neither_copies_nor_sidecars(run):
    (run.album / "0.jpg").rename(run.album / ("a" * 251 + ".jpg"))  # 255 bytes
    os.link(run.album / "1.jpg", run.album / ("张" * 83 + ".jpg"))  # three bytes each
    # Folders named as the drawn copy of the photo beside them would be, and as its sidecar.
    (run.album / "2.jpg.jpg").mkdir()
    os.link(run.album / "2.jpg", run.album / "2.jpg.jpg" / "2.jpg")
    (run.album / "2.jpg.xmp").mkdir()
    summary = run()
    assert summary.identified == 5
    assert summary.sidecars_written == 2
    errors = sorted(error.partition("cannot be ")[2] for error in summary.sidecar_errors)
    assert len(errors) == 3 and errors[0].startswith("read (it is not a file); repair or remove it")
    too_long = "written (File name too long); give the photo a shorter name"
    assert all(error.startswith(too_long) for error in errors[1:])
    drawn = [path for path in (run.out / "annotated").rglob("*") if path.is_file()]
    assert len(drawn) == 5


def test_a_state_with_wrong_orientations_is_corrected_by_the_next_run(run):
    """Up to schema 4, TIFF and HEIC were stored with orientation 1 and never turned."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    for source, name in (("1.jpg", "side.tif"), ("2.jpg", "side.jpg")):  # HEIC named as JPEG
        with Image.open(run.album / source) as image:
            stored = image.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        stored.info["exif"] = exif.tobytes()
        stored.save(
            run.album / name, "TIFF" if name.endswith("tif") else "HEIF", exif=exif.tobytes()
        )
    with Image.open(run.album / "0.jpg") as image:
        image.rotate(90, expand=True).save(run.album / "turned.jpg", quality=95)
    first = run()
    assert first.identified == 6 and first.photos_turned == 1
    right = {path.name: path.read_bytes() for path in run.album.glob("*.xmp")}
    with open_state(run.out / "state.sqlite") as db:
        (turned,) = db.execute("SELECT photo_id FROM photos WHERE turned<>0").fetchone()
    as_of_schema_4(run.out)
    wrong = "UPDATE faces SET x=0, y=0, detector_score=.7 WHERE"
    change_state(run.out, f"{wrong} photo_id='{turned}'", "UPDATE photos SET orientation=1")
    for name in ("side.tif.xmp", "side.jpg.xmp"):
        region = sidecars.NamedRegion((1.0, 2.0, 30.0, 30.0), "Ada")
        assert sidecars.write_sidecar(run.album / name, [region], (100, 100), 1)
    again = run()
    assert (again.photos_opened, again.photos_reused, again.photos_turned) == (3, 3, 1)
    assert {path.name: path.read_bytes() for path in run.album.glob("*.xmp")} == right
    assert run().unchanged


def test_a_region_is_right_where_only_the_sidecar_states_an_orientation(run):
    with Image.open(run.album / "0.jpg") as image:
        image.rotate(90, expand=True).save(run.album / "1.jpg", quality=95)
    sidecar = run.album / "1.jpg.xmp"
    description = (
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    )
    sidecar.write_text(f'<rdf:RDF xmlns:rdf="{xmp.RDF}">{description}</rdf:RDF>', "utf-8")
    assert run().photos_turned == 1
    assert 'tiff:Orientation="6"' in sidecar.read_text("utf-8")
    upright, turned = (
        xmp.area_of(xmp.XmpDocument((run.album / name).read_bytes()).regions()[0])
        for name in ("0.jpg.xmp", "1.jpg.xmp")
    )
    assert upright is not None and turned is not None
    # Orientation 6 maps the stored (y, 1 - x) to the upright (x, y).
    assert turned == pytest.approx((upright.y, 1 - upright.x, upright.h, upright.w), abs=0.03)
