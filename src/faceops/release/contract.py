"""The release contract: release.json, and the id that whatever stores embeddings pins.

The JSON schema of release.json, for programs that read it without this package.

python -m faceops.release.release_schema     # writes release.schema.json anew, beside this file
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_json
from faceops.verification.thresholds import Thresholds

RELEASE_FILE = "release.json"


class DamagedBundleError(FaceOpsError):
    """A file of a bundle is not what it was when the bundle was written."""


def default_budget(bundle: Path, precision: str = "float32") -> float | None:
    """Return the budget of the release in `bundle` that holds when none is asked for.

    `precision` is the embedder's, float32 or int8.

    None where it cannot be read: loading the release says why.
    """
    try:
        content = json.loads((bundle / RELEASE_FILE).read_text("utf-8"))
        chosen = content if precision == "float32" else content[precision]
        return float(chosen["thresholds"]["default_budget"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


SCHEMA_VERSION = 3
_READ = (2, SCHEMA_VERSION)  # 2 had no int8
PREPROCESSING_VERSION = 1
EMBEDDER, VERIFIER, DETECTOR, LANDMARKS = (
    "embedder.onnx",
    "verifier.onnx",
    "detector.onnx",
    "landmarks.onnx",
)
MODEL_FILES = (EMBEDDER, VERIFIER, DETECTOR, LANDMARKS)
EMBEDDER_INT8 = "embedder_int8.onnx"  # where int8 is offered
Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


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


class Int8Measured(_Frozen):
    """What the int8 embedder is worth against float32, on validation people.

    True accept rates are of all their pairs by the same verifier, each at the threshold that
    keeps `far` with its own embeddings.
    """

    people: int
    photos: int
    far: float = Field(description="false accept rate at which both are measured")
    tar_float32: float
    tar_int8: float
    tar_loss_allowed: float = Field(description="int8 is offered where it loses less")
    min_cosine: float = Field(description="of an int8 embedding to its float32 one")
    mean_cosine: float
    calibration_crops: int = Field(description="crops of training people that set the scales")


class Int8(_Frozen):
    """The int8 embedder beside embedder.onnx: another contract, so galleries of its own.

    Verifier, detector and landmarks are those of float32; `thresholds` are measured anew.
    """

    file: Literal["embedder_int8.onnx"] = "embedder_int8.onnx"
    weight: WeightFile
    contract_id: str
    thresholds: Thresholds
    measured: Int8Measured


class Release(_Frozen):
    """The content of release.json.

    `contract_id` stands for all that makes an embedding what it is, see `contract_id`; `params`
    are those of the stages up to export. `int8` is None where no int8 embedder is offered.
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
    int8: Int8 | None = None
    git_commit: str = ""
    dvc_lock_sha256: str = ""
    # Never in the file, which describes both.
    precision: Precision = Field("float32", exclude=True)

    @property
    def embedder_file(self) -> str:
        """The file that embeds in this precision."""
        return EMBEDDER if self.precision == "float32" else EMBEDDER_INT8

    def of_precision(self, precision: Precision, name: str = "this release") -> "Release":
        """Return the release as it is with its embedder of `precision`.

        Its contract id, its thresholds and the weight under the name embedder.onnx are then those
        of that embedder, so whatever pins or asks a release needs to know of no precision.

        Raises:
            FaceOpsError: it offers no int8 embedder; `name` is what the user knows it by.
        """
        if precision == self.precision:
            return self
        if self.int8 is None or precision != "int8":
            raise FaceOpsError(
                f"{name} offers no int8 embedder: int8 lost too much accuracy there (its rebuild's "
                "build/quantise/quantise.json says how much), or faceops had no int8 when it was "
                "made; use --precision float32, or rebuild it."
            )
        return self.model_copy(
            update={
                "precision": precision,
                "contract_id": self.int8.contract_id,
                "weights": self.weights | {EMBEDDER: self.int8.weight},
                "thresholds": self.int8.thresholds,
            }
        )

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
    """Write `folder`/release.json, without a timestamp."""
    write_json(folder / RELEASE_FILE, release.model_dump(mode="json"))


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
    if version not in _READ:
        raise FaceOpsError(
            f"{path} has schema version {version}, this faceops reads "
            f"{' and '.join(map(str, _READ))}; use the faceops that wrote it, or export it again."
        )
    try:
        return Release.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise FaceOpsError(f"{path}: {key} is wrong: {first['msg']}; export it again.") from None


SCHEMA_FILE = Path(__file__).with_name("release.schema.json")


def release_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of what `write_release` writes."""
    schema = Release.model_json_schema(mode="serialization")
    schema["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"release.json of a FaceOps release, version {SCHEMA_VERSION}",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_text() -> str:
    """Return the content of release.schema.json."""
    return json.dumps(release_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), "utf-8")
