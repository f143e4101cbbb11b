"""A gallery of synthetic people, enrolled with a real release."""

import os
from pathlib import Path

import pytest

from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.release.bundle import Bundle


@pytest.fixture(scope="session")
def bundle(sface_bundle: Path) -> Bundle:
    """SFace."""
    return Bundle.load(sface_bundle)


@pytest.fixture(scope="session")
def gallery_dir(
    synthetic_set: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a gallery of six synthetic people."""
    folder = tmp_path_factory.mktemp("enrolled") / "gallery"
    enrol(synthetic_set / "enrol", folder, bundle)
    return folder


@pytest.fixture(scope="session")
def gallery(gallery_dir: Path) -> Gallery:
    """That gallery."""
    return Gallery.open(gallery_dir)


@pytest.fixture
def album(synthetic_set: Path, tmp_path: Path) -> Path:
    """A folder of twelve photos: scenes below scenes/, broken files and a text file."""
    folder = tmp_path / "album"
    (folder / "scenes").mkdir(parents=True)
    for path in sorted((synthetic_set / "album").glob("scene_*.jpg"))[:8]:
        os.link(path, folder / "scenes" / path.name)
    for name in ("empty.jpg", "text.jpg", "truncated.jpg", "orientation_6.jpg"):
        os.link(synthetic_set / "album" / "odd" / name, folder / name)
    return folder
