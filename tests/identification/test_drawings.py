"""Annotated copies are drawn once for the same decisions, then linked."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.gallery.store import Gallery
from faceops.identification.forget.files import ForgottenOutput, forget_in_files
from faceops.identification.inputs import IdentifySettings
from faceops.identification.records.drawings import drawn_path
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.release.bundle import Bundle
from tests.identification.conftest import Run, rows_of

SHM = Path("/dev/shm")
ANNOTATE = IdentifySettings(budget=0.3, annotate=True)


@pytest.fixture
def photos(photos: Path) -> Path:
    """Three photos of enrolled people, two of them in a folder of their own."""
    (photos / "more").mkdir()
    for number in (1, 2):
        (photos / f"{number}.jpg").rename(photos / "more" / f"{number}.jpg")
    return photos


@pytest.fixture
def run(photos: Path, gallery: Gallery, bundle: Bundle, known_out: Path) -> Run:
    """Runs that draw the photos."""
    return Run(photos, gallery, bundle, known_out, ANNOTATE)


def inodes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file()
    }


def stated(out: Path, summary: Summary) -> dict[str, str]:
    folder = out / "runs" / summary.run_id
    files = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
    found = {name: files[name]["sha256"] for name in files if name.startswith("annotated/")}
    for name, digest in found.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    return found


def test_every_photo_with_faces_gets_an_upright_copy(album, gallery, bundle, out):
    # Names that Pillow's own font has no letters for, and that are no text.
    os.link(sorted((album / "scenes").iterdir())[0], album / "名前 Ω.jpg")
    os.link(sorted((album / "scenes").iterdir())[0], os.fsencode(album) + b"/\xff.jpg")
    summary = identify(album, gallery, bundle, out, ANNOTATE)
    with_faces = {row["photo_path"] for row in rows_of(out) if row["face_index"] is not None}
    assert len(list((out / "annotated").rglob("*.jpg"))) == len(with_faces)
    assert (out / "runs" / summary.run_id / "annotated").is_dir()
    with Image.open(out / "annotated" / "orientation_6.jpg.jpg") as image:
        assert image.width > image.height  # upright, as its boxes are
    identify(album, gallery, bundle, out)
    assert not (out / "annotated").exists()


def test_an_unchanged_copy_is_linked(run):
    first = run.anew()
    before = inodes(run.out / "annotated")
    assert set(before) == {"0.jpg.jpg", "more/1.jpg.jpg", "more/2.jpg.jpg"}
    second = run.anew()
    assert second.run_id != first.run_id
    assert inodes(run.out / "annotated") == before
    assert stated(run.out, second) == stated(run.out, first)
    run(annotate=False)  # a run without copies in between
    third = run.anew()
    assert inodes(run.out / "annotated") == before
    assert stated(run.out, third) == stated(run.out, first)


def test_another_photo_or_another_name_is_drawn_again(run):
    first = run.anew()
    before, kept = inodes(run.out / "annotated"), stated(run.out, first)
    with Image.open(run.album / "0.jpg") as image:
        turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned.save(run.album / "0.jpg", quality=95)
    second = run.anew()
    after = inodes(run.out / "annotated")
    assert {name for name in after if after[name] != before[name]} == {"0.jpg.jpg"}
    nobody = run.gallery.without(np.ones(len(run.gallery.faces), bool))
    third = run._replace(gallery=nobody).anew()
    assert not set(inodes(run.out / "annotated").values()) & set(after.values())
    assert stated(run.out, first) == kept  # nothing was written into a file that runs share
    assert (
        len({*kept.values(), *stated(run.out, second).values(), *stated(run.out, third).values()})
        == 7
    )


@pytest.mark.parametrize("damage", ["a missing copy", "a truncated copy", "a missing link"])
def test_a_damaged_copy_is_drawn_again(run, damage):
    kept = stated(run.out, run())
    assert run().unchanged
    copy = run.out / "annotated" / "more" / "1.jpg.jpg"
    if damage == "a missing copy":
        copy.unlink()
    elif damage == "a truncated copy":
        os.truncate(copy, 2000)
    else:
        (run.out / "annotated").unlink()
    second = run()
    assert not second.unchanged
    assert stated(run.out, second) == kept
    assert run().unchanged


@pytest.mark.skipif(not SHM.is_dir(), reason="there is no /dev/shm, a second file system")
def test_without_hard_links_copies_are_copied(run):
    first = run.anew()
    drawn, elsewhere = run.out / "runs" / first.run_id / "annotated", SHM / f"faceops-{os.getpid()}"
    if run.out.stat().st_dev == SHM.stat().st_dev:
        pytest.skip("the temporary folder is on the same file system")
    shutil.move(drawn, elsewhere)
    try:
        drawn.symlink_to(elsewhere)
        kept = stated(run.out, first)
        second = run.anew()
        assert stated(run.out, second) == kept
        assert not set(inodes(run.out / "annotated").values()) & set(inodes(elsewhere).values())
    finally:
        shutil.rmtree(elsewhere)


def test_forgetting_everybody_leaves_no_broken_link(run):
    (run.album / "0.jpg").rename(run.album / ("a" * 251 + ".jpg"))
    summary = run.anew()
    run.anew()
    assert len(inodes(run.out / "annotated")) == 3
    done = ForgottenOutput(run.out)
    forget_in_files(done, lambda name: name in summary.people, [])
    assert done.pictures == 6  # three in each of two runs
    assert (run.out / "annotated").is_dir() and not inodes(run.out / "annotated")


def test_boxes_are_drawn_on_a_copy_that_is_reduced(photos, gallery, bundle, tmp_path, monkeypatch):
    (photos / "0.jpg").unlink()
    Image.open(photos / "more/1.jpg").resize((900, 900)).save(photos / "more/1.jpg")
    monkeypatch.setattr("faceops.photos.open_photo.FULL_PIXELS", 600 * 600)
    identify(photos, gallery, bundle, tmp_path / "out", ANNOTATE)
    (row,) = (one for one in rows_of(tmp_path / "out") if one["photo_path"] == "more/1.jpg")
    x, y = (round((row[at] + row[side] / 2) / 2) for at, side in (("x", "width"), ("y", "height")))
    drawn = np.asarray(Image.open(tmp_path / "out/annotated/more/1.jpg.jpg")).astype(int)
    plain = np.asarray(Image.open(photos / "more/1.jpg").reduce(2)).astype(int)
    assert drawn.shape == (450, 450, 3)
    changed = np.abs(drawn - plain).max(axis=2) > 60
    left, bottom = round(row["x"] / 2), round((row["y"] + row["height"]) / 2)
    assert changed[y, left - 1 : left + 3].any() and changed[bottom - 3 : bottom + 1, x].any()


@pytest.mark.parametrize(
    "path",
    ["a" * 251 + ".jpg", "b/" + "\u5f20" * 83 + ".jpg", "d.jpg/c.jpg", "/".join(["e" * 200] * 11)],
)
def test_a_path_that_is_too_long_for_a_copy_gets_a_short_one(path):
    place = drawn_path(path)
    assert len(place.parts) == 1 and len(os.fsencode(place)) <= 200 and place.suffix == ".jpg"
    assert drawn_path(path + "2") != place == drawn_path(path)
    assert drawn_path("b/c.jpg") == Path("b/c.jpg.jpg")
