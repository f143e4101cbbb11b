"""What an evaluation measures: a release, or an embedder made elsewhere, behind one face."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceops.base.errors import FaceOpsError, UsageError
from faceops.faces.align import ALIGNMENT_VERSION
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.release.bundle import Bundle
from faceops.release.contract import DETECTOR, EMBEDDER, LANDMARKS, RELEASE_FILE, Precision
from faceops.release.verifier_graph import pair_verifier
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

ADAPTER_FILE = "adapter.json"

_Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class Adapter(BaseModel):
    """The content of adapter.json; the net sees (pixel - mean) * scale, pixels 0 to 255."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layout: Literal["NCHW", "NHWC"] = Field(description="order of the input's axes")
    colour: Literal["RGB", "BGR"] = Field(description="order of the channels")
    size: int = Field(112, ge=16, le=1024, description="side of the input, pixels")
    mean: float | _Channels = Field(0.0, description="one number, or one a channel in its order")
    scale: float | _Channels = Field(1.0, description="one number, or one a channel in its order")
    normalise: bool = Field(
        True, description="L2-normalise the output; false: it is of length 1 already"
    )
    output: str = Field("", description="name of the output, where there are several")
    alignment: Literal["five_point_112"] = Field(
        "five_point_112", description="by this project's detector, landmarks and template"
    )
    source: str = Field("", description="where the weights come from, in words")


def read_adapter(folder: Path) -> Adapter:
    """Read `folder`/adapter.json.

    Raises:
        UsageError: it is absent.
        FaceOpsError: no JSON, or a key that is not as `Adapter` says.
    """
    path = folder / ADAPTER_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return Adapter.model_validate(content)
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
        """Load `folder`/embedder.onnx, and embed a grey crop to see that it works.

        Raises:
            UsageError: there is no adapter.json.
            FaceOpsError: a file is wrong, or they do not fit each other.
        """
        adapter = read_adapter(folder)
        path = folder / EMBEDDER
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FaceOpsError(
                f"{path} cannot be read ({error.strerror}); put the embedder there."
            ) from None
        session = open_session(path, threads)
        digest = hashlib.sha256(content)
        digest.update(adapter.model_dump_json().encode())
        _check(session, adapter, folder)
        embedder = cls(folder, adapter, digest.hexdigest(), 0, session)
        given = embedder._run(np.full((1, 112, 112, 3), 127, np.uint8))
        return cls(folder, adapter, digest.hexdigest(), given.shape[1], session)

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """Return L2-normalised embeddings float32 (N, D) of crops uint8 (N, 112, 112, 3) RGB."""
        batch = self._session.get_inputs()[0].shape[0]
        step = batch if isinstance(batch, int) else _BATCH
        result = np.empty((len(crops), self.embedding_size), np.float32)
        for start in range(0, len(crops), step):
            part = np.asarray(crops[start : start + step])
            padded = np.zeros((step, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            result[start : start + len(part)] = self._run(padded)[: len(part)]
        return result

    def _run(self, crops: np.ndarray) -> np.ndarray:
        source = self._session.get_inputs()[0]
        batch = source.shape[0]
        if isinstance(batch, int) and len(crops) < batch:  # only the first look at load
            crops = np.repeat(crops, batch, axis=0)
        values = self._input(crops).astype(_TYPES[source.type])
        name = self.adapter.output or self._session.get_outputs()[0].name
        try:
            raw = np.asarray(self._session.run([name], {source.name: values})[0], np.float32)
        except Exception as error:  # noqa: BLE001 - its exception classes share no public base
            why = str(error).splitlines()[0]
            raise FaceOpsError(
                f"{self.folder / EMBEDDER} refuses its input ({why}); correct layout or size in "
                f"{ADAPTER_FILE}."
            ) from None
        if raw.ndim != 2 or len(raw) != len(crops) or not np.isfinite(raw).all():
            raise FaceOpsError(
                f"{self.folder / EMBEDDER}: output {name} is {raw.shape} for {len(crops)} crops, "
                "not finite numbers (N, D); name the embedding by `output` in adapter.json."
            )
        length = np.linalg.norm(raw, axis=1, keepdims=True)
        if not self.adapter.normalise and np.abs(length - 1).max() > 1e-3:
            raise FaceOpsError(
                f"{self.folder / EMBEDDER} gives embeddings of length {float(length[0, 0]):.3g}, "
                "not 1; set normalise to true in adapter.json."
            )
        unit: np.ndarray = raw / np.maximum(length, 1e-12)
        return unit

    def _input(self, crops: np.ndarray) -> np.ndarray:
        adapter = self.adapter
        if adapter.size != crops.shape[1]:
            sides = (adapter.size, adapter.size)
            crops = np.stack(
                [
                    np.asarray(Image.fromarray(c).resize(sides, Image.Resampling.BILINEAR))
                    for c in crops
                ]
            )
        values = crops[..., ::-1] if adapter.colour == "BGR" else crops
        mean, scale = (np.asarray(v, np.float32) for v in (adapter.mean, adapter.scale))
        values = (values.astype(np.float32) - mean) * scale
        return np.ascontiguousarray(
            values.transpose(0, 3, 1, 2) if adapter.layout == "NCHW" else values
        )


def _check(session: onnxruntime.InferenceSession, adapter: Adapter, folder: Path) -> None:
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    path = folder / EMBEDDER
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
        told = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        raise FaceOpsError(f"{path} takes {told}, not one batch of images in floating point.")
    side = adapter.size
    wanted = [3, side, side] if adapter.layout == "NCHW" else [side, side, 3]
    stated = inputs[0].shape[1:]
    if any(isinstance(s, int) and s != w for s, w in zip(stated, wanted, strict=True)):
        raise FaceOpsError(
            f"{path} takes images {stated}, {ADAPTER_FILE} says {wanted} ({adapter.layout}); "
            "correct layout or size there."
        )
    if adapter.output and adapter.output not in outputs:
        raise FaceOpsError(
            f"{path} has no output {adapter.output!r}, only {', '.join(outputs)}; correct "
            f"`output` in {ADAPTER_FILE}."
        )
    if len(outputs) > 1 and not adapter.output:
        raise FaceOpsError(
            f"{path} has the outputs {', '.join(outputs)}; name one by `output` in {ADAPTER_FILE}."
        )


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
    from faceops.weights.fetch import weight_path

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


# What holds only where a score of even odds means even odds.
_NEED_CALIBRATION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "verification": ("accuracy", "calibration_error"),
        "random_pairs": ("accuracy",),
    }
)


def without_probabilities(figures: dict[str, Any], name: str) -> dict[str, Any]:
    """Return `figures` of the model `name` without those, and why they are absent."""
    kept = dict(figures)
    for protocol, prefixes in _NEED_CALIBRATION.items():
        if protocol in kept:
            kept[protocol] = {
                key: value for key, value in kept[protocol].items() if not key.startswith(prefixes)
            }
    told = "figures that take a probability or a threshold at its word are absent"
    return kept | {"uncalibrated": f"{name} was made elsewhere and nothing was calibrated: {told}"}
