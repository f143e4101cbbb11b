"""The model that an evaluation measures: a release, or an embedder made elsewhere.

And the people that it was trained on. An embedder made elsewhere is a folder with embedder.onnx and
adapter.json, which describes its input and output.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import sha256_file
from faceops.dataset.names import name_key
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import QUALITY_VERSION
from faceops.release.bundle import Bundle, Embed, Embedded
from faceops.release.contract import DETECTOR, EMBEDDER, LANDMARKS, Alignment
from faceops.release.export import pair_verifier
from faceops.release.release_file import RELEASE_FILE, Precision
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from faceops.weights import weight_path

ADAPTER_FILE = "adapter.json"

_Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class Adapter(BaseModel):
    """The content of adapter.json; the net's input is (pixel - mean) * scale, pixels 0 to 255."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layout: Literal["NCHW", "NHWC"] = Field(description="order of the input's axes")
    colour: Literal["RGB", "BGR"] = Field(description="order of the channels")
    size: int = Field(112, ge=16, le=1024, description="side of the input, pixels")
    mean: float | _Channels = Field(0.0, description="one number, or one per channel")
    scale: float | _Channels = Field(1.0, description="one number, or one per channel")
    normalise: bool = Field(
        True, description="L2-normalise the output; false: its length is 1 already"
    )
    output: str = Field("", description="name of the output, where there are several")
    alignment: Literal["five_point_112"] = Field(
        "five_point_112", description="by this project's detector, landmarks and template"
    )
    source: str = Field("", description="origin of the weights, free text")


def read_adapter(folder: Path) -> Adapter:
    """Read `folder`/adapter.json.

    Raises:
        UsageError: it does not exist.
        FaceOpsError: it is not JSON, or a key is not as `Adapter` says.
    """
    path = folder / ADAPTER_FILE
    try:
        return Adapter.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is neither a release (release.json) nor an embedder made elsewhere "
            f"({ADAPTER_FILE} beside embedder.onnx); name another folder."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "its content"
        raise FaceOpsError(f"{path}: {key} is wrong: {first['msg']}; correct it.") from None
    except (OSError, ValueError) as error:
        raise FaceOpsError(f"{path} is not readable JSON ({error}); correct it.") from None


_BATCH = 8
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class ForeignEmbedder:
    """One loaded embedder; `identity` is the sha256 over its two files."""

    folder: Path
    adapter: Adapter
    identity: str
    embedding_size: int
    _session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> "ForeignEmbedder":
        """Load `folder`/embedder.onnx and embed a grey crop to learn the size of embeddings.

        Raises:
            UsageError: there is no adapter.json.
            FaceOpsError: a file is wrong, or the two do not match.
        """
        adapter = read_adapter(folder)
        path = folder / EMBEDDER
        try:
            digest = hashlib.sha256(path.read_bytes())
        except OSError as error:
            raise FaceOpsError(
                f"{path} cannot be read ({error.strerror}); put the embedder there."
            ) from None
        digest.update(adapter.model_dump_json().encode())
        session = open_session(path, threads)
        _check(session, adapter, path)
        embedder = cls(folder, adapter, digest.hexdigest(), 0, session)
        grey = np.full((embedder._batch, 112, 112, 3), 127, np.uint8)
        return replace(embedder, embedding_size=embedder._run(grey).shape[1])

    @property
    def _batch(self) -> int:
        """The number of crops a run takes: the graph's own where it is fixed."""
        batch = self._session.get_inputs()[0].shape[0]
        return batch if isinstance(batch, int) else _BATCH

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """Return L2-normalised embeddings float32 (N, D) of crops uint8 (N, 112, 112, 3) RGB."""
        step = self._batch
        result = np.empty((len(crops), self.embedding_size), np.float32)
        for start in range(0, len(crops), step):
            part = np.asarray(crops[start : start + step])
            padded = np.zeros((step, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            result[start : start + len(part)] = self._run(padded)[: len(part)]
        return result

    def _run(self, crops: np.ndarray) -> np.ndarray:
        path, source = self.folder / EMBEDDER, self._session.get_inputs()[0]
        values = self._preprocessed(crops).astype(_TYPES[source.type])
        name = self.adapter.output or self._session.get_outputs()[0].name
        try:
            raw = np.asarray(self._session.run([name], {source.name: values})[0], np.float32)
        except Exception as error:  # noqa: BLE001 - its exception classes share no public base
            reason = str(error).splitlines()[0]
            raise FaceOpsError(
                f"{path} refuses its input ({reason}); correct layout or size in {ADAPTER_FILE}."
            ) from None
        if raw.ndim != 2 or len(raw) != len(crops) or not np.isfinite(raw).all():
            raise FaceOpsError(
                f"{path}: output {name} is {raw.shape} for {len(crops)} crops, not finite numbers "
                "(N, D); name the embedding with `output` in adapter.json."
            )
        length = np.linalg.norm(raw, axis=1, keepdims=True)
        if not self.adapter.normalise and np.abs(length - 1).max() > 1e-3:
            raise FaceOpsError(
                f"{path} gives embeddings of length {float(length[0, 0]):.3g}, not 1; set "
                "normalise to true in adapter.json."
            )
        return raw / np.maximum(length, 1e-12)

    def _preprocessed(self, crops: np.ndarray) -> np.ndarray:
        adapter = self.adapter
        if adapter.size != crops.shape[1]:
            sides = (adapter.size, adapter.size)
            images = [Image.fromarray(c).resize(sides, Image.Resampling.BILINEAR) for c in crops]
            crops = np.stack([np.asarray(image) for image in images])
        values = crops[..., ::-1] if adapter.colour == "BGR" else crops
        mean, scale = (np.asarray(v, np.float32) for v in (adapter.mean, adapter.scale))
        values = (values.astype(np.float32) - mean) * scale
        if adapter.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values)


def _check(session: onnxruntime.InferenceSession, adapter: Adapter, path: Path) -> None:
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
        given = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        raise FaceOpsError(f"{path} takes {given}, not one batch of images in floating point.")
    if (adapter.output or len(outputs) > 1) and adapter.output not in outputs:
        raise FaceOpsError(
            f"{path} has no output {adapter.output!r}, only {', '.join(outputs)}; name one with "
            f"`output` in {ADAPTER_FILE}."
        )


@dataclass(frozen=True)
class MeasuredModel:
    """Everything between a photo and the score of a pair."""

    name: str  # the folder or the models:/ address
    identity: str  # models with equal identities give equal embeddings of equal crops
    finder: FaceFinder  # with one thread a session, to be shared by threads that open photos
    finder_identity: str  # models with equal ones give equal crops of equal photos
    crops: CropSettings  # how a photo becomes a crop
    embed: Embed
    embedding_size: int  # D
    verifier: Verifier  # a release's own; else the negative squared distance, uncalibrated
    thresholds: Thresholds | None = None  # a release's own; None where nothing was calibrated
    bundle: Bundle | None = None  # the release; None for an embedder from elsewhere
    source: str = ""  # which published weights it is or started from, in words; "" if unknown

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> "MeasuredModel":
        release = bundle.release
        stated = release.params.get("crop", {})
        names = ("several_faces", "min_face", "min_quality", "box_margin", "center_ratio")
        settings = CropSettings(
            mode=release.alignment.mode, **{name: stated[name] for name in names if name in stated}
        )
        alignment = release.alignment
        files = [release.weights[file].sha256 for file in (DETECTOR, LANDMARKS)]
        return cls(
            name=bundle.name,
            identity=release.contract_id,
            finder=bundle.finder_of_any_mode(threads=1),
            finder_identity=_finder_identity(files, alignment, settings),
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
        alignment = Alignment.current(detector.size, detector.threshold, settings.mode)
        files = [hashlib.sha256(content).hexdigest() for content in (yunet, onet)]
        return cls(
            name=str(embedder.folder),
            identity=embedder.identity,
            finder=FaceFinder(detector, LandmarkRefiner(onet)),
            finder_identity=_finder_identity(files, alignment, settings),
            crops=settings,
            embed=lambda crops: Embedded.without_lengths(embedder.embed(crops)),
            embedding_size=size,
            verifier=Verifier(np.full(size, -1, np.float32), 0.0, "distance"),
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


def _finder_identity(files: list[str], alignment: Alignment, settings: CropSettings) -> str:
    """Return the hash over the models' digests, how they are used, and `settings`."""
    key = {
        "models": files,
        "size": alignment.detector_size,
        "threshold": alignment.detector_threshold,
        "alignment": alignment.version,
        "crops": repr(settings),
        "quality": QUALITY_VERSION,
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class PeopleSeen:
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
