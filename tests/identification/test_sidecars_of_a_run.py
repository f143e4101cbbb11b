"""Sidecars of whole runs: failures are reported for each photo and repaired by the next run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.identification.summary import Summary, read_summary
from faceops.release.bundle import Bundle


@pytest.fixture
def photos(synthetic_set: Path, tmp_path: Path) -> Path:
    """A folder of three photos of enrolled people."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted((synthetic_set / "enrol").glob("*/*"))[:9:3]):
        shutil.copyfile(path, folder / f"{number}.jpg")
    return folder


def run(photos: Path, gallery: Gallery, bundle: Bundle, out: Path) -> Summary:
    return identify(
        photos, gallery, bundle, out, IdentifySettings(budget=0.3, annotate=True, xmp=True)
    )


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
shift
exec "$@"
"""


def test_photos_on_a_read_only_disk_give_one_error_each_and_the_run_goes_on(
    photos: Path, gallery_dir: Path, sface_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
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


def test_a_sidecar_that_failed_is_written_by_the_next_run(
    photos: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    sidecar = photos / "1.jpg.xmp"
    sidecar.write_text("<broken", "utf-8")
    first = run(photos, gallery, bundle, tmp_path / "out")
    assert (first.sidecars_written, len(first.sidecar_errors)) == (2, 1)
    assert not run(photos, gallery, bundle, tmp_path / "out").unchanged
    sidecar.unlink()
    third = run(photos, gallery, bundle, tmp_path / "out")
    assert (third.sidecars_written, third.sidecar_errors) == (1, [])
    assert run(photos, gallery, bundle, tmp_path / "out").unchanged


@pytest.mark.parametrize("change", ["deleted", "lightroom"])
def test_a_sidecar_that_others_changed_is_brought_up_to_date(
    photos: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path, change: str
) -> None:
    first = run(photos, gallery, bundle, tmp_path / "out")
    assert (first.photos, first.sidecars_written) == (3, 3)
    sidecar = photos / "1.jpg.xmp"
    content = sidecar.read_text("utf-8")
    (person,) = [name for name in first.people if name in content]
    if change == "deleted":
        sidecar.unlink()
    else:
        sidecar = sidecar.rename(photos / "1.xmp")
        sidecar.write_text(content.replace(person, "Somebody else"), "utf-8")
    second = run(photos, gallery, bundle, tmp_path / "out")
    assert not second.unchanged and second.sidecars_written == 1
    assert sidecar.read_text("utf-8") == content
    assert len(list(photos.glob("*.xmp"))) == 3
    assert run(photos, gallery, bundle, tmp_path / "out").unchanged


def test_names_as_long_as_names_can_be_stop_neither_copies_nor_sidecars(
    photos: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (photos / "0.jpg").rename(photos / ("a" * 251 + ".jpg"))
    os.link(photos / "1.jpg", photos / ("张" * 83 + ".jpg"))  # three bytes each
    # Folders named as the drawn copy of the photo beside them would be, and as its sidecar.
    (photos / "2.jpg.jpg").mkdir()
    os.link(photos / "2.jpg", photos / "2.jpg.jpg" / "2.jpg")
    (photos / "2.jpg.xmp").mkdir()
    summary = run(photos, gallery, bundle, out)
    assert summary.identified == 5
    assert summary.sidecars_written == 2
    errors = sorted(error.partition("cannot be ")[2] for error in summary.sidecar_errors)
    assert [error[:30] for error in errors] == [
        "read (it is not a file); repai",
        "written (File name too long); ",
        "written (File name too long); ",
    ]
    drawn = [path for path in (out / "annotated").rglob("*") if path.is_file()]
    assert len(drawn) == 5
