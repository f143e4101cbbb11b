"""What an evaluation measures: a release, or an embedder made elsewhere, behind one face."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.faces.align import ALIGNMENT_VERSION
from faceops.faces.crop_photo import CropSettings
from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.release.bundle import Bundle
from faceops.release.contract import DETECTOR, LANDMARKS, Precision
from faceops.release.foreign_embedder import ForeignEmbedder
from faceops.release.release_file import RELEASE_FILE
from faceops.release.verifier_of_graph import pair_verifier
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class MeasuredModel:
    """A path from a photo to a score.

    Attributes:
        name: the folder it was asked by.
        identity: embeddings of equal crops by equal identities are equal.
        finder: with one thread a session, to be shared by threads that open photos.
        finder_identity: crops of equal photos by equal identities are equal.
        crops: how a photo becomes a crop.
        embed: crops uint8 (N, 112, 112, 3) RGB -> float32 (N, D), L2-normalised.
        embedding_size: D.
        verifier: of a release; else the plain squared distance, uncalibrated.
        thresholds: of a release; None where nothing was calibrated.
        bundle: the release; None for an embedder made elsewhere.
        source: which published weights it is or began from, in words; "" if unknown.
    """

    name: str
    identity: str
    finder: FaceFinder
    finder_identity: str
    crops: CropSettings
    embed: Callable[[np.ndarray], np.ndarray]
    embedding_size: int
    verifier: Verifier
    thresholds: Thresholds | None
    bundle: Bundle | None
    source: str


def open_model(folder: Path, threads: int = 1, precision: Precision = "float32") -> MeasuredModel:
    """Load the release or the foreign embedder in `folder`; `threads` is for embedding.

    Raises:
        UsageError: no folder, neither of the two is in it, or int8 is asked of the second.
        FaceOpsError: a file of it is damaged or wrong, or the release offers no int8.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name a release bundle's folder.")
    if (folder / RELEASE_FILE).exists():
        return of_bundle(Bundle.load(folder, threads=threads, precision=precision))
    if precision != "float32":
        raise UsageError(
            f"{folder} is an embedder made elsewhere, which comes in one precision; leave "
            f"--precision {precision} out."
        )
    return _foreign(ForeignEmbedder.load(folder, threads))


def of_bundle(bundle: Bundle) -> MeasuredModel:
    """Return a loaded release as what is measured."""
    release = bundle.release
    stated = release.params.get("crop", {})
    names = ("several_faces", "min_face", "min_quality", "box_margin", "center_ratio")
    settings = CropSettings(
        mode=release.alignment.mode, **{name: stated[name] for name in names if name in stated}
    )
    single = replace(bundle, threads=1)
    found_by = [release.weights[file].sha256 for file in (DETECTOR, LANDMARKS)]
    alignment = release.alignment
    size, least = alignment.detector_size, alignment.detector_threshold
    return MeasuredModel(
        name=bundle.name,
        identity=release.contract_id,
        finder=FaceFinder(single.detector(), single.refiner()),
        finder_identity=_finder_identity(found_by, size, least, settings),
        crops=settings,
        embed=bundle.embed,
        embedding_size=release.embedding_size,
        verifier=pair_verifier(bundle),
        thresholds=release.thresholds,
        bundle=bundle,
        source=release.weights["embedder.onnx"].source,
    )


def _foreign(embedder: ForeignEmbedder) -> MeasuredModel:
    from faceops.faces.symbolic_detector import with_symbolic_size
    from faceops.weights.settings import weight_path

    detector = with_symbolic_size(weight_path("yunet").read_bytes())
    landmarks = weight_path("onet").read_bytes()
    found_by = [hashlib.sha256(content).hexdigest() for content in (detector, landmarks)]
    settings, size = CropSettings(), embedder.embedding_size
    finder = Detector(detector)
    return MeasuredModel(
        name=str(embedder.folder),
        identity=embedder.identity,
        finder=FaceFinder(finder, LandmarkRefiner(landmarks)),
        finder_identity=_finder_identity(found_by, finder.size, finder.threshold, settings),
        crops=settings,
        embed=embedder.embed,
        embedding_size=size,
        verifier=Verifier(np.full(size, -1, np.float32), 0.0, "distance"),
        thresholds=None,
        bundle=None,
        source=embedder.adapter.source,
    )


def _finder_identity(
    found_by: list[str], size: int, threshold: float, settings: CropSettings
) -> str:
    told: dict[str, Any] = {
        "models": found_by,
        "size": size,
        "threshold": threshold,
        "alignment": ALIGNMENT_VERSION,
        "crops": repr(settings),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
