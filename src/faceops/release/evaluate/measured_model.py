"""The model that an evaluation measures: a release, or an embedder from elsewhere."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base.errors import UsageError
from faceops.faces.align import ALIGNMENT_VERSION
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.release.bundle import Bundle
from faceops.release.contract import DETECTOR, EMBEDDER, LANDMARKS, RELEASE_FILE, Precision
from faceops.release.evaluate.foreign_embedder import ForeignEmbedder
from faceops.release.verifier_graph import pair_verifier
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from faceops.weights.fetch import weight_path


@dataclass(frozen=True)
class MeasuredModel:
    """Everything between a photo and the score of a pair.

    Attributes:
        name: the folder or the models:/ address.
        identity: models with equal identities give equal embeddings of equal crops.
        finder: with one thread a session, to be shared by threads that open photos.
        finder_identity: models with equal ones give equal crops of equal photos.
        crops: how a photo becomes a crop.
        embed: crops uint8 (N, 112, 112, 3) RGB -> float32 (N, D), L2-normalised.
        embedding_size: D.
        verifier: a release's own; else the negative squared distance, uncalibrated.
        thresholds: a release's own; None where nothing was calibrated.
        bundle: the release; None for an embedder from elsewhere.
        source: which published weights it is or started from, in words; "" if unknown.
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

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> "MeasuredModel":
        """Return the model of a loaded release."""
        release = bundle.release
        stated = release.params.get("crop", {})
        names = ("several_faces", "min_face", "min_quality", "box_margin", "center_ratio")
        settings = CropSettings(
            mode=release.alignment.mode, **{name: stated[name] for name in names if name in stated}
        )
        single = replace(bundle, threads=1)
        detector = single.detector()
        files = [release.weights[file].sha256 for file in (DETECTOR, LANDMARKS)]
        return cls(
            name=bundle.name,
            identity=release.contract_id,
            finder=FaceFinder(detector, single.refiner()),
            finder_identity=_finder_identity(files, detector, settings),
            crops=settings,
            embed=bundle.embed,
            embedding_size=release.embedding_size,
            verifier=pair_verifier(bundle),
            thresholds=release.thresholds,
            bundle=bundle,
            source=release.weights[EMBEDDER].source,
        )

    @classmethod
    def from_foreign(cls, embedder: ForeignEmbedder) -> "MeasuredModel":
        """Return the model of an embedder from elsewhere, with this project's face finder."""
        yunet = with_symbolic_size(weight_path("yunet").read_bytes())
        onet = weight_path("onet").read_bytes()
        detector = Detector(yunet)
        settings, size = CropSettings(), embedder.embedding_size
        files = [hashlib.sha256(content).hexdigest() for content in (yunet, onet)]
        return cls(
            name=str(embedder.folder),
            identity=embedder.identity,
            finder=FaceFinder(detector, LandmarkRefiner(onet)),
            finder_identity=_finder_identity(files, detector, settings),
            crops=settings,
            embed=embedder.embed,
            embedding_size=size,
            verifier=Verifier(np.full(size, -1, np.float32), 0.0, "distance"),
            thresholds=None,
            bundle=None,
            source=embedder.adapter.source,
        )


def open_model(folder: Path, threads: int = 1, precision: Precision = "float32") -> MeasuredModel:
    """Load the release or the foreign embedder in `folder`; `threads` is for embedding.

    Raises:
        UsageError: no folder, neither of the two is in it, or int8 is asked of the second.
        FaceOpsError: a file is damaged or wrong, or the release offers no int8.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name a release bundle's folder.")
    if (folder / RELEASE_FILE).exists():
        return MeasuredModel.from_bundle(Bundle.load(folder, threads, precision=precision))
    if precision != "float32":
        raise UsageError(
            f"{folder} is an embedder made elsewhere, which has one precision; leave out "
            f"--precision {precision}."
        )
    return MeasuredModel.from_foreign(ForeignEmbedder.load(folder, threads))


def _finder_identity(files: list[str], detector: Detector, settings: CropSettings) -> str:
    key = {
        "models": files,
        "size": detector.size,
        "threshold": detector.threshold,
        "alignment": ALIGNMENT_VERSION,
        "crops": repr(settings),
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
