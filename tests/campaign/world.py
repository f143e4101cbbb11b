"""A small archive to break: a release, people to enrol, an album, a gallery and results."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from faceops.cli import main
from faceops.dataset.synthetic.make import make_synthetic
from faceops.dataset.synthetic.people import SyntheticSettings
from faceops.weights import read_catalogue, weight_path
from tests.four_releases import make_store, reset_store

SETTINGS = SyntheticSettings(people=24, photos=4, gallery=6, enrol_photos=3, strangers=6, scenes=14)


@dataclass(frozen=True)
class Parts:
    """What the archives of a campaign are made of.

    Attributes:
        bundle: the folder of a release.
        data: synthetic people: enrol/<person>/*.jpg, album/*.jpg.
        next: the folder of another release with the same crops; not needed by all campaigns.
        registry: a folder with mlflow.db, version 1 is champion and 4 challenger; likewise.
    """

    bundle: Path
    data: Path
    next: Path
    registry: Path

    @classmethod
    def at(cls, folder: Path) -> "Parts":
        """Return the parts in `folder`, made or not."""
        return cls(*(folder / name for name in ("bundle", "data", "next", "registry")))


def make_parts(folder: Path) -> Parts:
    """Return the parts in `folder`, made there at the first call."""
    from faceops.registry.store import point_at_store
    from tests.releases import alter_release, release_sface  # with torch: four seconds

    parts = Parts.at(folder)
    weights = folder / "weights"
    if not parts.bundle.is_dir():
        weights.mkdir(parents=True, exist_ok=True)
        for name in read_catalogue():
            path = weight_path(name)
            shutil.copyfile(path, weights / path.name)
        shutil.rmtree(parts.data, ignore_errors=True)
        make_synthetic(parts.data, SETTINGS, weights / "weights.tar")
        release_sface(parts.bundle, parts.data / "photos", weights)
    if not (parts.registry / "aliases.json").is_file():
        for path in (parts.next, parts.registry):
            shutil.rmtree(path, ignore_errors=True)
        alter_release(parts.bundle, parts.next)
        parts.registry.mkdir()
        make_store(parts.registry, parts.bundle, parts.next, parts.data / "photos")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{parts.registry}/mlflow.db")
            point_at_store(parts.registry)
            reset_store()
        (parts.registry / "aliases.json").write_text("made")
    return parts


def faceops(*arguments: str | Path) -> int:
    """Run the command `faceops` in this process; return its exit code."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


def make_world(folder: Path, parts: Parts) -> Path:
    """Make enrol/ of four people, album/ of eight photos, gallery/ and out/ in `folder`."""
    people = sorted((parts.data / "enrol").iterdir())
    for person in people[:4]:
        shutil.copytree(person, folder / "enrol" / person.name)
    for person in people[4:]:
        shutil.copytree(person, folder / "later" / person.name)
    album = sorted((parts.data / "album").glob("scene_*.jpg"))
    for photo in album[:8]:
        (folder / "album").mkdir(exist_ok=True)
        shutil.copyfile(photo, folder / "album" / photo.name)
    for photo in album[8:]:
        (folder / "more").mkdir(exist_ok=True)
        shutil.copyfile(photo, folder / "more" / photo.name)
    release = ("--bundle", parts.bundle, "--gallery", folder / "gallery")
    if (parts.registry / "mlflow.db").is_file():
        shutil.copy(parts.registry / "mlflow.db", folder)
    assert faceops("enrol", folder / "enrol", *release) == 0
    assert identify(folder, parts) == 0
    return folder


def identify(folder: Path, parts: Parts) -> int:
    """Run `faceops identify` on the album, with sidecars; return its exit code."""
    release = ("--bundle", parts.bundle, "--gallery", folder / "gallery")
    return faceops("identify", folder / "album", "--out", folder / "out", "--xmp", *release)
