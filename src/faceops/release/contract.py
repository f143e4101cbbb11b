"""The release contract: release.json, and the id that whatever stores embeddings pins."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceops.errors import FaceOpsError
from faceops.release.release_file import RELEASE_FILE, DamagedBundleError
from faceops.verification.thresholds import Thresholds

SCHEMA_VERSION = 2
PREPROCESSING_VERSION = 1
EMBEDDER, VERIFIER, DETECTOR, LANDMARKS = (
    "embedder.onnx",
    "verifier.onnx",
    "detector.onnx",
    "landmarks.onnx",
)
MODEL_FILES = (EMBEDDER, VERIFIER, DETECTOR, LANDMARKS)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Frozen):
    """What embedder.onnx takes and gives; all scaling is inside the graph."""

    version: int = PREPROCESSING_VERSION
    input: str = "crops: uint8 (batch, 112, 112, 3), RGB, 0-255"
    output: str = "embeddings: float32 (batch, D), L2-normalised"


class Alignment(_Frozen):
    """How a face becomes a crop, in training and in identification.

    `detector_threshold` decides which faces are found, not how one becomes a crop.
    """

    version: int
    size: int = Field(description="side of the crop, pixels")
    template: list[list[float]] = Field(description="five landmarks (x, y) in the crop")
    detector_size: int = Field(description="longest side of a photo for the detector, pixels")
    detector_threshold: float
    mode: Literal["aligned", "box", "center"] = "aligned"


class WeightFile(_Frozen):
    """One model file of the bundle."""

    sha256: str
    licence: str
    source: str = Field(description="which published weight it is, or was started from")


class Release(_Frozen):
    """The content of release.json.

    `contract_id` stands for all that makes an embedding what it is, see `contract_id`; `params`
    are those of the stages up to export.
    """

    schema_version: int = SCHEMA_VERSION
    contract_id: str
    embedding_size: int
    preprocessing: Preprocessing
    alignment: Alignment
    verifier_kind: Literal["linear", "distance"]
    weights: dict[str, WeightFile]
    thresholds: Thresholds
    params: dict[str, Any]
    data: dict[str, Any] = Field(description="the photos it was trained on: name, hash, counts")
    git_commit: str = ""
    dvc_lock_sha256: str = ""

    def expected_contract_id(self) -> str:
        """Return the id that follows from the other fields."""
        return contract_id(
            embedder_sha256=self.weights[EMBEDDER].sha256,
            detector_sha256=self.weights[DETECTOR].sha256,
            landmarks_sha256=self.weights[LANDMARKS].sha256,
            embedding_size=self.embedding_size,
            preprocessing_version=self.preprocessing.version,
            alignment=self.alignment,
        )

    @property
    def crops_id(self) -> str:
        """Return what stands for the crops that its faces become, see `crops_id`."""
        return crops_id(
            detector_sha256=self.weights[DETECTOR].sha256,
            landmarks_sha256=self.weights[LANDMARKS].sha256,
            preprocessing_version=self.preprocessing.version,
            alignment=self.alignment,
        )


def contract_id(
    *,
    embedder_sha256: str,
    detector_sha256: str,
    landmarks_sha256: str,
    embedding_size: int,
    preprocessing_version: int,
    alignment: Alignment,
) -> str:
    """Return the sha256 over all that makes an embedding what it is, as hex.

    Two releases with one id embed a photo alike. The detector's size is part of it: it moves
    landmarks, and so crops. Verifier, thresholds and the detector's threshold are not: they may
    change without making stored embeddings worthless.
    """
    makes_crops = _makes_crops(detector_sha256, landmarks_sha256, preprocessing_version, alignment)
    return _digest({**makes_crops, "embedder": embedder_sha256, "embedding_size": embedding_size})


def crops_id(
    *,
    detector_sha256: str,
    landmarks_sha256: str,
    preprocessing_version: int,
    alignment: Alignment,
) -> str:
    """Return the sha256 over the part of the contract that makes a face's crop, as hex.

    Where two releases have one id, each can embed the crops that the other one cut.
    """
    makes_crops = _makes_crops(detector_sha256, landmarks_sha256, preprocessing_version, alignment)
    return _digest({**makes_crops, "crop_size": alignment.size})


def _makes_crops(
    detector_sha256: str, landmarks_sha256: str, preprocessing_version: int, alignment: Alignment
) -> dict[str, Any]:
    return {
        "detector": detector_sha256,
        "landmarks": landmarks_sha256,
        "preprocessing_version": preprocessing_version,
        "alignment_version": alignment.version,
        "alignment_mode": alignment.mode,
        "detector_size": alignment.detector_size,
        "template": rounded_template(alignment.template),
    }


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def rounded_template(template: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the template with four digits, so that float32 and float64 name one template."""
    return [[round(float(value), 4) for value in point] for point in template]


def write_release(release: Release, folder: Path) -> None:
    """Write `folder`/release.json: sorted, no timestamp, replaced at once."""
    text = json.dumps(release.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    temporary = folder / (RELEASE_FILE + ".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(folder / RELEASE_FILE)


def read_release(folder: Path) -> Release:
    """Read `folder`/release.json.

    Raises:
        FaceOpsError: absent, not JSON, of another schema version, or with a wrong field.
    """
    path = folder / RELEASE_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FaceOpsError(
            f"{folder} is not a release bundle: it has no {RELEASE_FILE}; name a folder that "
            "`dvc repro` or `faceops release` wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise DamagedBundleError(
            f"{path} is not readable JSON ({error}); export it again."
        ) from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise FaceOpsError(
            f"{path} has schema version {version}, this faceops reads {SCHEMA_VERSION}; use the "
            "faceops that wrote it, or export it again."
        )
    try:
        return Release.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise FaceOpsError(f"{path}: {key} is wrong: {first['msg']}; export it again.") from None
