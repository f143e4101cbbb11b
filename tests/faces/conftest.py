"""Real networks, and real photos where they are available."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.dataset.synthetic.people import load_generator
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner


@pytest.fixture(scope="session")
def detector_bytes(weights_dir: Path) -> bytes:
    """YuNet with symbolic height and width."""
    return with_symbolic_size((weights_dir / "face_detection_yunet_2023mar.onnx").read_bytes())


@pytest.fixture(scope="session")
def detector(detector_bytes: bytes) -> Detector:
    """YuNet at 640 pixels."""
    return Detector(detector_bytes)


@pytest.fixture(scope="session")
def refiner(weights_dir: Path) -> LandmarkRefiner:
    """O-Net."""
    return LandmarkRefiner(weights_dir / "onet.onnx")


@pytest.fixture(scope="session")
def finder(detector: Detector, refiner: LandmarkRefiner) -> FaceFinder:
    """The whole path from pixels to faces."""
    return FaceFinder(detector, refiner)


@pytest.fixture(scope="session")
def group_photos(repository: Path) -> Path:
    """A folder of photos with several faces each and their boxes."""
    datasets = Path(os.environ.get("FACEOPS_DATASETS", repository.parent / "shared" / "datasets"))
    if not (datasets / "group_photos" / "testing.xml").is_file():
        pytest.skip(f"group_photos is not in {datasets}; set FACEOPS_DATASETS to measure on it")
    return datasets / "group_photos"


@pytest.fixture(scope="session")
def drawn_faces(weights_dir: Path) -> np.ndarray:
    """uint8 (60, 112, 112, 3): faces of people who do not exist; each fills its picture."""
    latents = np.random.default_rng(1).standard_normal((60, 100))
    tiles = load_generator(weights_dir / "weights.tar")(latents)
    resized = [Image.fromarray(tile).resize((112, 112), Image.Resampling.BICUBIC) for tile in tiles]
    return np.stack([np.asarray(image) for image in resized])


@pytest.fixture(scope="session")
def scene(drawn_faces: np.ndarray) -> np.ndarray:
    """uint8 (300, 420, 3): three faces on grey, at (20, 30), (160, 90) and (290, 160)."""
    pixels = np.full((300, 420, 3), 120, dtype=np.uint8)
    for face, (x, y) in zip(drawn_faces, ((20, 30), (160, 90), (290, 160)), strict=False):
        pixels[y : y + 112, x : x + 112] = face
    return pixels
