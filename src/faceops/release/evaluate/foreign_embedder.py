"""A foreign embedder: embedder.onnx, and adapter.json, which describes its input and output."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import onnxruntime
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceops.base.errors import FaceOpsError, UsageError
from faceops.faces.inference_session import open_session
from faceops.release.contract import EMBEDDER

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
