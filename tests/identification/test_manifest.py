"""A run's manifest lists what it wrote; a folder that vanished does not wipe its results."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.release.bundle import Bundle


def check(folder: Path) -> dict[str, str]:
    content: dict[str, str] = json.loads((folder / "manifest.json").read_text("utf-8"))
    files = content["files"]
    assert set(files) == {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    for name, stated in files.items():  # type: ignore[attr-defined]
        data = (folder / name).read_bytes()
        assert stated == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return content


def test_every_file_of_a_run_is_in_its_manifest_also_after_forgetting(
    album: Path, gallery_dir: Path, bundle: Bundle, tmp_path: Path
) -> None:
    own, out = tmp_path / "gallery", tmp_path / "out"
    shutil.copytree(gallery_dir, own, ignore=shutil.ignore_patterns("outputs.jsonl"))
    summary = identify(
        album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, annotate=True)
    )
    folder = out / "runs" / summary.run_id
    before = check(folder)
    assert before["run_id"] == summary.run_id
    assert before["contract_id"] == bundle.release.contract_id
    assert any(name.startswith("annotated/") for name in before["files"])
    forget_person(own, next(iter(summary.people)))
    assert check(folder)["run_id"] == summary.run_id


def test_an_empty_folder_that_had_photos_is_not_taken_for_an_empty_album(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = identify(album, gallery, bundle, out)
    album.rename(tmp_path / "unmounted")
    album.mkdir()
    with pytest.raises(FaceOpsError, match="is the disk or share connected"):
        identify(album, gallery, bundle, out)
    album.rmdir()
    (tmp_path / "unmounted").rename(album)
    again = identify(album, gallery, bundle, out)
    assert again.unchanged
    assert again.run_id == before.run_id


def test_photos_that_are_gone_are_counted(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    identify(album, gallery, bundle, out)
    for path in sorted((album / "scenes").iterdir())[:3]:
        path.unlink()
    assert identify(album, gallery, bundle, out).vanished == 3
