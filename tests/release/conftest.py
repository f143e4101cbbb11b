"""The tiny release, which loads in milliseconds."""

from pathlib import Path

import pytest

from faceops.release.bundle import Bundle
from tests.release.tiny_release import write_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Path:
    """The folder of the tiny release."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "bundle", weights_dir)


@pytest.fixture(scope="session")
def tiny_bundle(tiny_folder: Path) -> Bundle:
    """The tiny release, loaded."""
    return Bundle.load(tiny_folder, name="models:/faceops@champion")
