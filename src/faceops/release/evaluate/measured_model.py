"""The model that an evaluation measures, and the people that it was trained on."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import UsageError
from faceops.base.files import sha256_file
from faceops.dataset.names import name_key
from faceops.faces.align import ALIGNMENT_VERSION
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import QUALITY_VERSION
from faceops.release.bundle import Bundle, Embedded
from faceops.release.contract import DETECTOR, EMBEDDER, LANDMARKS
from faceops.release.evaluate.foreign_embedder import ForeignEmbedder
from faceops.release.release_file import RELEASE_FILE, Precision
from faceops.release.verifier_graph import pair_verifier
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from faceops.weights import weight_path


@dataclass(frozen=True)
class MeasuredModel:
    """Everything between a photo and the score of a pair."""

    name: str  # the folder or the models:/ address
    identity: str  # models with equal identities give equal embeddings of equal crops
    finder: FaceFinder  # with one thread a session, to be shared by threads that open photos
    finder_identity: str  # models with equal ones give equal crops of equal photos
    crops: CropSettings  # how a photo becomes a crop
    embed: Callable[[np.ndarray], Embedded]  # crops uint8 (N, 112, 112, 3) RGB -> their embeddings
    embedding_size: int  # D
    verifier: Verifier  # a release's own; else the negative squared distance, uncalibrated
    thresholds: Thresholds | None  # a release's own; None where nothing was calibrated
    bundle: Bundle | None  # the release; None for an embedder from elsewhere
    source: str  # which published weights it is or started from, in words; "" if unknown

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> "MeasuredModel":
        """Return the model of a loaded release."""
        release = bundle.release
        stated = release.params.get("crop", {})
        names = ("several_faces", "min_face", "min_quality", "box_margin", "center_ratio")
        settings = CropSettings(
            mode=release.alignment.mode, **{name: stated[name] for name in names if name in stated}
        )
        alignment = release.alignment
        files = [release.weights[file].sha256 for file in (DETECTOR, LANDMARKS)]
        detector = alignment.detector_size, alignment.detector_threshold
        return cls(
            name=bundle.name,
            identity=release.contract_id,
            finder=bundle.finder_of_any_mode(threads=1),
            finder_identity=_finder_identity(files, detector, settings),
            crops=settings,
            embed=bundle.embed_with_lengths,
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
            finder_identity=_finder_identity(files, (detector.size, detector.threshold), settings),
            crops=settings,
            embed=lambda crops: Embedded.without_lengths(embedder.embed(crops)),
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


def _finder_identity(files: list[str], detector: tuple[int, float], settings: CropSettings) -> str:
    """Return the hash over models, the `detector`'s size and threshold, and `settings`."""
    key = {"models": files, "size": detector[0], "threshold": detector[1]}
    key |= {"alignment": ALIGNMENT_VERSION, "crops": repr(settings), "quality": QUALITY_VERSION}
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class PeopleSeen:
    """The people that a model has seen."""

    # Person -> "train" or "val"; None where the model's people are not known
    split: dict[str, str] | None
    message: str  # the same in one sentence
    # sha256 of all photos that trained or calibrated it, of any person
    photos: frozenset[str] = frozenset()

    def figures(self) -> dict[str, Any]:
        """Return counts and the sentence, for JSON."""
        splits = None if self.split is None else list(self.split.values())
        return {
            "known": splits is not None,
            "trained_on": None if splits is None else splits.count("train"),
            "calibrated_on": None if splits is None else splits.count("val"),
            "told": self.message,
        }


def people_seen(model: MeasuredModel, people: Iterable[str], split_file: Path) -> PeopleSeen:
    """Return which of `people` trained or calibrated `model`.

    A release states the sha256 of the split that it was made from, not the people's names: they
    are known if `split_file` has that sha256.
    """
    outside = (
        f"its weights ({model.source or 'of unknown origin'}) may have been trained on photos of "
        "these people"
    )
    if model.bundle is None:
        return PeopleSeen(None, f"{model.name} was made elsewhere: {outside}")
    if model.source.endswith("trained from scratch by this pipeline"):
        outside = "its weights were trained on nothing else"
    rows = _read_split(split_file, model.bundle.release.data.get("faces_sha256", ""))
    if rows is None:
        return PeopleSeen(
            None,
            f"{split_file} is not the split that {model.name} was made from, so the people it has "
            f"seen are not known; {outside}",
        )
    used = [row for row in rows if row["split"] != "test"]
    split_of = {name_key(row["person"]): row["split"] for row in used}
    keys = {person: name_key(person) for person in people}
    seen = {person: split_of[key] for person, key in keys.items() if key in split_of}
    trained = list(seen.values()).count("train")
    return PeopleSeen(
        seen,
        f"of {len(keys)} people, {trained} trained {model.name} and {len(seen) - trained} "
        f"calibrated it; {outside}",
        frozenset(row["photo_id"] for row in used),
    )


def _read_split(split_file: Path, wanted: str) -> list[dict[str, str]] | None:
    """Return person, photo_id and split of each face, None unless the sha256 is `wanted`."""
    try:
        if not wanted or sha256_file(split_file) != wanted:
            return None
        table = pq.read_table(split_file, columns=["person", "photo_id", "split"])
    except (OSError, pa.ArrowException):
        return None
    return table.to_pylist()
