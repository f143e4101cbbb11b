"""Drawn copies are made once for the same decisions, and old runs make room."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from faceops.base.errors import UsageError
from faceops.gallery.store import Gallery
from faceops.identification.forget.output_folder import forget_in_output
from faceops.identification.records.drawings import drawn_path
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.identification.summary import Summary
from faceops.release.bundle import Bundle

SHM = Path("/dev/shm")


@pytest.fixture
def photos(synthetic_set: Path, tmp_path: Path) -> Path:
    """A folder of three photos of enrolled people."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, path in enumerate(sorted((synthetic_set / "enrol").glob("*/*"))[:9:3]):
        shutil.copyfile(path, folder / ("more" if number else ".") / f"{number}.jpg")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def draw(
    photos: Path, gallery: Gallery, bundle: Bundle, out: Path, *, keep_runs: int = 30
) -> Summary:
    (out / "faces.csv").unlink(missing_ok=True)  # so that there is something to do
    return identify(
        photos,
        gallery,
        bundle,
        out,
        IdentifySettings(budget=0.3, annotate=True, keep_runs=keep_runs),
    )


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


def test_what_was_drawn_alike_is_linked_and_the_photo_not_opened(
    photos: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    first = draw(photos, gallery, bundle, out)
    before = inodes(out / "annotated")
    assert set(before) == {"0.jpg.jpg", "more/1.jpg.jpg", "more/2.jpg.jpg"}
    second = draw(photos, gallery, bundle, out)
    assert second.run_id != first.run_id
    assert inodes(out / "annotated") == before
    assert stated(out, second) == stated(out, first)
    identify(
        photos, gallery, bundle, out, IdentifySettings(budget=0.3)
    )  # a run without copies between
    third = draw(photos, gallery, bundle, out)
    assert inodes(out / "annotated") == before
    assert stated(out, third) == stated(out, first)


def test_another_photo_and_another_name_are_drawn_anew(
    photos: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    first = draw(photos, gallery, bundle, out)
    before, kept = inodes(out / "annotated"), stated(out, first)
    with Image.open(photos / "0.jpg") as image:
        turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned.save(photos / "0.jpg", quality=95)
    second = draw(photos, gallery, bundle, out)
    after = inodes(out / "annotated")
    assert {name for name in after if after[name] != before[name]} == {"0.jpg.jpg"}
    nobody = gallery.without(lambda face: True)
    third = draw(photos, nobody, bundle, out)
    assert not set(inodes(out / "annotated").values()) & set(after.values())
    assert stated(out, first) == kept  # nothing was written into a file that runs share
    assert len({*kept.values(), *stated(out, second).values(), *stated(out, third).values()}) == 7


@pytest.mark.parametrize("damage", ["gone", "cut short", "no link"])
def test_a_copy_that_is_not_whole_is_drawn_again(
    photos: Path, gallery: Gallery, bundle: Bundle, out: Path, damage: str
) -> None:
    def again() -> Summary:
        return identify(photos, gallery, bundle, out, IdentifySettings(budget=0.3, annotate=True))

    first = again()
    kept = stated(out, first)
    assert again().unchanged
    copy = out / "annotated" / "more" / "1.jpg.jpg"
    if damage == "gone":
        copy.unlink()
    elif damage == "cut short":
        os.truncate(copy, 2000)
    else:
        (out / "annotated").unlink()
    second = again()
    assert not second.unchanged
    assert stated(out, second) == kept
    assert again().unchanged


@pytest.mark.skipif(not SHM.is_dir(), reason="there is no /dev/shm, a second file system")
def test_where_nothing_can_be_linked_copies_are_copied(
    photos: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    first = draw(photos, gallery, bundle, out)
    drawn, elsewhere = out / "runs" / first.run_id / "annotated", SHM / f"faceops-{os.getpid()}"
    if out.stat().st_dev == SHM.stat().st_dev:
        pytest.skip("the temporary folder is on the same file system")
    shutil.move(drawn, elsewhere)
    try:
        drawn.symlink_to(elsewhere)
        kept = stated(out, first)
        second = draw(photos, gallery, bundle, out)
        assert stated(out, second) == kept
        assert not set(inodes(out / "annotated").values()) & set(inodes(elsewhere).values())
    finally:
        shutil.rmtree(elsewhere)


def test_the_oldest_runs_are_removed_and_never_the_latest(
    photos: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    own = out / "runs" / "my notes"
    own.mkdir(parents=True)
    ids = [draw(photos, gallery, bundle, out).run_id for _ in range(3)]
    # Runs of one second have no order of time: these are of other days.
    for number, run_id in enumerate(ids[:2]):
        (out / "runs" / run_id).rename(out / "runs" / f"2026010{number + 1}T000000Z-00000{number}")
    last = draw(photos, gallery, bundle, out, keep_runs=3).run_id
    left = sorted(path.name for path in (out / "runs").iterdir())
    assert left == sorted(["20260102T000000Z-000001", ids[2], last, "my notes"])
    later = out / "runs" / "29990101T000000Z-000000"  # by a clock that was wrong
    (out / "runs" / ids[2]).rename(later)
    only = draw(photos, gallery, bundle, out, keep_runs=1)
    assert sorted(path.name for path in (out / "runs").iterdir()) == sorted(
        [only.run_id, "my notes"]
    )
    assert len(inodes(out / "annotated")) == 3
    assert only.keep_runs == 1
    with pytest.raises(UsageError, match="keep_runs 0 is wrong"):
        draw(photos, gallery, bundle, out, keep_runs=0)


def test_forgetting_everybody_leaves_no_link_that_leads_nowhere(
    photos: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    (photos / "0.jpg").rename(photos / ("a" * 251 + ".jpg"))
    summary = draw(photos, gallery, bundle, out)
    draw(photos, gallery, bundle, out)
    assert len(inodes(out / "annotated")) == 3
    done = forget_in_output(out, lambda name: name in summary.people, [], "mark")
    assert done.pictures == 6  # three in each of two runs
    assert (out / "annotated").is_dir() and not inodes(out / "annotated")


@pytest.mark.parametrize(
    "path",
    ["a" * 251 + ".jpg", "b/" + "\u5f20" * 83 + ".jpg", "d.jpg/c.jpg", "/".join(["e" * 200] * 11)],
)
def test_a_path_that_cannot_be_drawn_to_gets_a_short_one_of_its_own(path: str) -> None:
    place = drawn_path(path)
    assert len(place.parts) == 1 and len(os.fsencode(place)) <= 200 and place.suffix == ".jpg"
    assert drawn_path(path + "2") != place == drawn_path(path)
    assert drawn_path("b/c.jpg") == Path("b/c.jpg.jpg")
