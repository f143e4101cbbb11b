"""The release as an MLflow pyfunc: aligned crops in, embeddings out; nothing is pickled."""

from pathlib import Path
from typing import Any

import numpy as np

from faceops.release.bundle import Bundle


class Embedder:
    """The prediction interface that MLflow calls."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Return float32 (N, D) L2-normalised embeddings of uint8 (N, 112, 112, 3) RGB crops.

        MLflow hands tensors over by the signature's name, `crops`, or bare.
        """
        crops = model_input["crops"] if isinstance(model_input, dict) else model_input
        return self._bundle.embed(np.ascontiguousarray(crops, dtype=np.uint8))


def _load_pyfunc(path: str) -> Embedder:
    return Embedder(Bundle.load(Path(path)))
