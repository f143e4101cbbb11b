"""A small real album that was identified, and the album that the page opens of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.release.bundle import Bundle
from faceops.review.album import Album
from tests.conftest import link_album


@pytest.fixture(scope="session")
def identified(
    synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with photos, a gallery of six people, and found/, the results of identify."""
    folder = tmp_path_factory.mktemp("identified")
    ignored = shutil.ignore_patterns("outputs.jsonl", ".lock")
    shutil.copytree(gallery_dir, folder / "gallery", ignore=ignored)
    photos = link_album(synthetic_set, folder / "photos")
    identify(photos, Gallery.open(folder / "gallery"), bundle, folder / "found")
    return folder


@pytest.fixture
def work(identified: Path, tmp_path: Path) -> Path:
    """A copy of gallery and results for one test; the photos are shared."""
    for name in ("gallery", "found"):
        ignored = shutil.ignore_patterns("outputs.jsonl")  # people are forgotten there too
        shutil.copytree(identified / name, tmp_path / name, symlinks=True, ignore=ignored)
    return tmp_path


@pytest.fixture
def opened(work: Path, bundle: Bundle) -> Iterator[Album]:
    """The album, decided."""
    album = Album(work / "found", work / "gallery", bundle, by="Ada")
    assert album.wait()
    yield album
    album.close()
