"""Fixtures that every room shares: real weights, and LFW where it is at hand."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds every weight of weights.toml, verified, under its file name."""
    from faceops.weights.catalogue import read_catalogue
    from faceops.weights.settings import weight_path

    folder = tmp_path_factory.mktemp("weights")
    for name in read_catalogue():
        path = weight_path(name)
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def lfw_root() -> Path:
    """The folder that holds lfw-deepfunneled/ and LFW's protocol files."""
    datasets = Path(os.environ.get("FACEOPS_DATASETS", ROOT.parent / "shared" / "datasets"))
    if not (datasets / "lfw" / "lfw-deepfunneled").is_dir():
        pytest.skip(f"LFW is not in {datasets}; set FACEOPS_DATASETS to measure on it")
    return datasets / "lfw"
