"""A second release for tests and experiments: another one with noise in its embedder."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from faceops.release.contract import EMBEDDER, read_release, write_release

MIN_WEIGHTS = 1000  # smaller initializers are biases, shapes and scales; they stay as they are


def alter_release(bundle: Path, folder: Path, seed: int = 1, noise: float = 0.02) -> Path:
    """Copy the release in `bundle` to `folder`, its embedder's weights changed at random.

    Each weight is multiplied by 1 + `noise` * N(0, 1). Detector, landmarks and thresholds stay,
    so crops are the same and embeddings differ.
    """
    shutil.copytree(bundle, folder)
    model = onnx.load(folder / EMBEDDER)
    random = np.random.default_rng(seed)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= MIN_WEIGHTS:
            factor = 1 + noise * random.standard_normal(values.shape).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values * factor, weight.name))
    content = model.SerializeToString(deterministic=True)
    (folder / EMBEDDER).write_bytes(content)
    write_release(read_release(folder).with_embedder(content), folder)
    return folder
