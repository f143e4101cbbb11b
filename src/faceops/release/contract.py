"""The release contract: release.json, and the contract id that stored embeddings pin.

python -m faceops.release.contract     # writes release.schema.json, the JSON schema of release.json
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_json
from faceops.faces.align import ALIGNMENT_VERSION, CROP_SIZE, TEMPLATE
from faceops.release.release_file import RELEASE_FILE, DamagedBundleError, Precision
from faceops.verification.thresholds import Thresholds

SCHEMA_FILE = Path(__file__).with_name("release.schema.json")
SCHEMA_VERSION = 7
# 2 had no int8, 3 no metadata in ONNX files, 4 no normalised scores, 5 no parts of embeddings, 6 no
# raw embedding.
_READ = (2, 3, 4, 5, 6, SCHEMA_VERSION)
PREPROCESSING_VERSION = 1
EMBEDDER, VERIFIER = "embedder.onnx", "verifier.onnx"
DETECTOR, LANDMARKS = "detector.onnx", "landmarks.onnx"
MODEL_FILES = (EMBEDDER, VERIFIER, DETECTOR, LANDMARKS)
EMBEDDER_INT8 = "embedder_int8.onnx"  # only if int8 is offered


def rounded_template(template: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the template with four digits, so that float32 and float64 give one contract id."""
    return [[round(float(value), 4) for value in point] for point in template]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Frozen):
    """Input and output of embedder.onnx; all scaling is inside the graph."""

    version: int = PREPROCESSING_VERSION
    input: str = "crops: uint8 (batch, 112, 112, 3), RGB, 0-255"
    output: str = "embeddings: float32 (batch, D), L2-normalised"


class Alignment(_Frozen):
    """How a face becomes a crop, in training and in identification.

    `detector_threshold` decides which faces are found, not how a crop is made.
    """

    version: int
    size: int = Field(description="side of the crop, pixels")
    template: list[list[float]] = Field(description="five landmarks (x, y) in the crop")
    detector_size: int = Field(description="longest side of a photo for the detector, pixels")
    detector_threshold: float
    mode: Literal["aligned", "box", "center"] = "aligned"

    @classmethod
    def current(cls, detector_size: int, detector_threshold: float, mode: str) -> "Alignment":
        """Return this version's alignment; the arguments are those of params.yaml's `crop`."""
        return cls(
            version=ALIGNMENT_VERSION,
            size=CROP_SIZE,
            template=rounded_template(TEMPLATE.tolist()),
            detector_size=detector_size,
            detector_threshold=detector_threshold,
            mode=mode,
        )


class WeightFile(_Frozen):
    """One model file of the bundle."""

    sha256: str
    licence: str
    source: str = Field(description="the published weight that it is, or was trained from")
    graph_sha256: str | None = Field(
        None, description="of the file without what FaceOps appended, if that is something"
    )
    raw_embedding: str | None = Field(
        None,
        description="the second output of an embedder: the embedding of its first network before "
        "it is normalised",
    )


class Int8Measured(_Frozen):
    """Accuracy of the int8 embedder compared with float32, on validation people.

    True accept rates are of all pairs with the same verifier, each at the threshold for `far` of
    its own embeddings.
    """

    people: int
    photos: int
    far: float = Field(description="false accept rate of both true accept rates")
    tar_float32: float
    tar_int8: float
    tar_loss_allowed: float = Field(description="int8 is offered if it loses less")
    min_cosine: float = Field(description="of int8 and float32 embeddings of a crop")
    mean_cosine: float
    calibration_crops: int = Field(description="crops of training people for the scales")


class Int8(_Frozen):
    """The int8 embedder: another contract id, so a gallery of float32 cannot be used with it.

    Verifier, detector and landmarks are those of float32; it has its own `thresholds`.
    """

    file: Literal["embedder_int8.onnx"] = "embedder_int8.onnx"
    weight: WeightFile
    contract_id: str
    thresholds: Thresholds
    measured: Int8Measured


class Release(_Frozen):
    """The content of release.json.

    `contract_id` identifies everything that determines an embedding; `params` are those of the
    stages up to export; `int8` is None if no int8 embedder is offered.
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
    # Not stored: release.json describes both precisions.
    precision: Precision = Field("float32", exclude=True)

    @property
    def embedder_file(self) -> str:
        """The file of the embedder of this precision."""
        return EMBEDDER if self.precision == "float32" else EMBEDDER_INT8

    def of_precision(self, precision: Precision, name: str = "this release") -> "Release":
        """Return the release with its embedder of `precision`.

        Contract id, thresholds and the weight listed as embedder.onnx are those of that embedder,
        so code that uses a release does not need to know its precision.

        Raises FaceOpsError: it offers no int8 embedder; `name` is used in the message.
        """
        if precision == self.precision:
            return self
        if self.int8 is None or precision != "int8":
            raise FaceOpsError(
                f"{name} offers no int8 embedder: int8 lost too much accuracy (see "
                "build/quantise/quantise.json of its rebuild), or faceops had no int8 when it was "
                "made; use --precision float32, or rebuild it."
            )
        own = {name: getattr(self.int8, name) for name in ("contract_id", "thresholds")}
        weights = self.weights | {EMBEDDER: self.int8.weight}
        return self.model_copy(update={**own, "weights": weights, "precision": precision})

    def with_embedder(self, stated: Mapping[str, str | None]) -> "Release":
        """Return the release with another embedder, and its contract id; see `embedder_file`."""
        weight = self.weights[EMBEDDER].model_copy(update=stated)
        changed = self.model_copy(update={"weights": self.weights | {EMBEDDER: weight}})
        return changed.model_copy(update={"contract_id": changed.expected_contract_id()})

    def expected_contract_id(self) -> str:
        """Return the contract id that follows from the other fields: a sha256 as hex.

        Two releases with one id give equal embeddings of a photo. The detector's size is part of
        it, as it moves landmarks and so crops. Verifier, thresholds and the detector's threshold
        are not: they can change while stored embeddings stay valid.
        """
        embedder = self.weights[EMBEDDER].graph_sha256 or self.weights[EMBEDDER].sha256
        fields = {"embedder": embedder, "embedding_size": self.embedding_size}
        return _digest(self._crop_fields() | fields)

    @property
    def crops_id(self) -> str:
        """The sha256, as hex, over the part of the contract that determines a face's crop.

        Releases with one crops id can embed each other's crops.
        """
        return _digest(self._crop_fields() | {"crop_size": self.alignment.size})

    def can_embed(self, crops_id: str) -> bool:
        """Return whether crops of that id are as good as the release's own.

        Those of another alignment version are: only covered and overexposed faces lie differently.
        """
        fields = self._crop_fields() | {"crop_size": self.alignment.size}
        versions = range(1, ALIGNMENT_VERSION + 1)
        return crops_id in {_digest(fields | {"alignment_version": one}) for one in versions}

    def _crop_fields(self) -> dict[str, Any]:
        alignment = self.alignment
        return {
            "detector": self.weights[DETECTOR].sha256,
            "landmarks": self.weights[LANDMARKS].sha256,
            "preprocessing_version": self.preprocessing.version,
            "alignment_version": alignment.version,
            "alignment_mode": alignment.mode,
            "detector_size": alignment.detector_size,
            "template": rounded_template(alignment.template),
        }


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_release(release: Release, folder: Path) -> None:
    """Write `folder`/release.json."""
    write_json(folder / RELEASE_FILE, release.model_dump(mode="json"))


def read_release(folder: Path) -> Release:
    """Read `folder`/release.json.

    Raises FaceOpsError: absent, not JSON, of another schema version, or with a wrong field.
    """
    path = folder / RELEASE_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FaceOpsError(
            f"{folder} is not a release bundle: it has no {RELEASE_FILE}; name a folder that "
            "`dvc repro` or `faceops release` wrote."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedBundleError(
            f"{path} is not readable JSON ({error}); export it again."
        ) from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in _READ:
        raise FaceOpsError(
            f"{path} has schema version {version}, this faceops reads "
            f"{', '.join(map(str, _READ))}; use the faceops that wrote it, or export it again."
        )
    try:
        return Release.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise FaceOpsError(f"{path}: {key} is wrong: {first['msg']}; export it again.") from None


def schema_text() -> str:
    """Return the content of release.schema.json, the JSON schema (draft 2020-12) of a release."""
    schema = Release.model_json_schema(mode="serialization")
    schema["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"release.json of a FaceOps release, version {SCHEMA_VERSION}"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


# What FaceOps appends to the ONNX files that a rebuild makes: a second output, and metadata.
#
# Protobuf joins appended bytes to the message before them. What is before them is the exported
# graph, and the contract id is made of its sha256: it depends neither on itself nor on the commit,
# and galleries of embedders without the second output stay valid. Metadata are `metadata_props` of
# ONNX: contract id, licence and lineage. Detector and landmarks are files of others and stay as
# they are.
_PREFIX = "faceops."  # of the keys
_FLOAT32 = b"\x08\x01"  # elem_type


def raw_output(name: str | None) -> bytes:
    """Return what makes the value `name`, float32 (batch, D), a further output; b"" for None."""
    if name is None:
        return b""
    shape = _field(1, _field(2, "batch")) + _field(1, _field(2, "raw_size"))
    value = _field(1, name) + _field(2, _field(1, _FLOAT32 + _field(2, shape)))
    return _field(7, _field(12, value))  # graph, output


def exported_graph(content: bytes, release: Release, weight: WeightFile) -> bytes:
    """Return the `content` of the file of `weight` without what was appended to it."""
    graph = content.removesuffix(metadata_bytes(release, weight))
    return graph.removesuffix(raw_output(weight.raw_embedding))


def metadata_bytes(release: Release, weight: WeightFile) -> bytes:
    """Return what is appended to the file of `weight`; changing it needs a new schema version."""
    values = {
        "contract_id": release.contract_id,
        "data_sha256": str(release.data.get("faces_sha256", "")),
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
        "licence": weight.licence,
        "source": weight.source,
    }
    entries = (_field(1, f"{_PREFIX}{key}") + _field(2, text) for key, text in values.items())
    return b"".join(_field(14, entry) for entry in entries)


def _field(number: int, content: str | bytes) -> bytes:
    """Return a protobuf field of text or of a message; not by `onnx`, which `identify` lacks."""
    data = content.encode() if isinstance(content, str) else content
    head, size = [number << 3 | 2], len(data)
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + data


def add_metadata(folder: Path, release: Release) -> Release:
    """Append the metadata to the files in `folder`; return `release` with their new sha256."""

    def add(file: str, to: Release, weight: WeightFile) -> WeightFile:
        content = (folder / file).read_bytes() + metadata_bytes(to, weight)
        (folder / file).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        graph_sha256 = weight.graph_sha256 or weight.sha256
        return weight.model_copy(update={"sha256": sha256, "graph_sha256": graph_sha256})

    weights = {name: add(name, release, release.weights[name]) for name in (EMBEDDER, VERIFIER)}
    int8 = release.int8
    if int8 is not None:
        weight = add(int8.file, release.of_precision("int8"), int8.weight)
        int8 = int8.model_copy(update={"weight": weight})
    return release.model_copy(update={"weights": release.weights | weights, "int8": int8})


def read_metadata(file: Path) -> dict[str, str]:
    """Return what was appended to an ONNX file, without the prefix of the keys."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    found = {entry.key: entry.value for entry in model.metadata_props}
    return {k.removeprefix(_PREFIX): v for k, v in found.items() if k.startswith(_PREFIX)}


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), "utf-8")
