"""A small real release with an int8 embedder, for tests."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter

from faceops.photos.open_photo import open_photo
from faceops.release.bundle import Bundle
from faceops.release.contract import (
    EMBEDDER,
    EMBEDDER_INT8,
    Int8,
    Int8Measured,
    read_release,
    write_release,
)
from faceops.release.export import serialise
from faceops.release.int8.quantise import quantise_embedder

OPSET = 18  # as the pipeline exports it


def add_int8(bundle: Path, folder: Path, photos: Path, crops: int = 8) -> Path:
    """Write the release in `bundle` (SFace) with its embedder in int8 too to `folder`.

    Calibrated on faces of `photos`/<person>/*. Its thresholds are those of float32, and what it
    was measured at is not: tests of the stage measure.
    """
    shutil.copytree(bundle, folder)
    finder = Bundle.load(bundle).face_finder()
    opened = [open_photo(path).pixels for path in sorted(photos.glob("*/*"))[:crops]]
    found = [face.crop for pixels in opened for face in finder.find(pixels)[:1]]
    content = serialise(quantise_embedder(_as_exported(bundle / EMBEDDER), np.stack(found), 2))
    (folder / EMBEDDER_INT8).write_bytes(content)
    release = read_release(folder)
    quantised = release.with_embedder(content)
    int8 = Int8(
        weight=quantised.weights[EMBEDDER],
        contract_id=quantised.contract_id,
        thresholds=release.thresholds.model_copy(update={"data": "synthetic people, int8"}),
        measured=Int8Measured(
            people=24, photos=96, far=0.05, tar_float32=0.99, tar_int8=0.98, tar_loss_allowed=0.02,
            min_cosine=0.97, mean_cosine=0.99, calibration_crops=len(found),
        ),
    )  # fmt: skip
    write_release(release.model_copy(update={"int8": int8}), folder)
    return folder


def _as_exported(path: Path) -> onnx.ModelProto:
    """Return the published graph as torch exports it: no normalisation after convolutions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    folded = path.parent.parent / "folded.onnx"
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(folded)
    folded.unlink()
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return version_converter.convert_version(model, OPSET)
