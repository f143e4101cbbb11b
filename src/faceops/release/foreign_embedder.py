"""An embedder made elsewhere: its ONNX file as it is, fed as its adapter.json says."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.inference_session import open_session
from faceops.release.adapter import ADAPTER_FILE, Adapter, read_adapter
from faceops.release.contract import EMBEDDER

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
