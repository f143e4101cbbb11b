"""Write the model files of a bundle and its release.json."""

import hashlib
from pathlib import Path
from typing import Any

import onnx

from faceops.base.files import atomic_folder
from faceops.faces.align import ALIGNMENT_VERSION, TEMPLATE
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.release.contract import (
    DETECTOR,
    EMBEDDER,
    LANDMARKS,
    VERIFIER,
    Alignment,
    Preprocessing,
    Release,
    WeightFile,
    contract_id,
    rounded_template,
    write_release,
)
from faceops.release.verifier_graph import verifier_graph
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from faceops.weights.catalogue import Weight


def serialise(model: onnx.ModelProto) -> bytes:
    """Return the model's bytes; equal models give equal bytes."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def write_bundle(
    folder: Path,
    *,
    embedder: onnx.ModelProto,
    embedder_weight: WeightFile,
    verifier: Verifier,
    thresholds: Thresholds,
    detector: Path,
    landmarks: Path,
    catalogue: dict[str, Weight],
    opset: int,
    detector_size: int,
    detector_threshold: float,
    crop_mode: str,
    params: dict[str, Any],
    data: dict[str, Any],
) -> Release:
    """Write the bundle `folder` (replaced as a whole) and return its release.

    `embedder` has the inputs and outputs of `Preprocessing`; `embedder_weight` states where
    it comes from (its sha256 is filled in here); `detector` and `landmarks` are the published
    YuNet and O-Net files, whose licences the `catalogue` states.
    """
    content = {
        EMBEDDER: serialise(embedder),
        VERIFIER: serialise(verifier_graph(verifier, opset)),
        DETECTOR: with_symbolic_size(detector.read_bytes()),
        LANDMARKS: landmarks.read_bytes(),
    }
    yunet, onet = catalogue["yunet"], catalogue["onet"]
    fitted = WeightFile(sha256="", licence="as this project", source="fitted by this pipeline")
    origin = {
        EMBEDDER: embedder_weight,
        VERIFIER: fitted,
        DETECTOR: WeightFile(sha256="", licence=yunet.licence, source=f"yunet: {yunet.what}"),
        LANDMARKS: WeightFile(sha256="", licence=onet.licence, source=f"onet: {onet.what}"),
    }
    weights = {
        name: origin[name].model_copy(update={"sha256": hashlib.sha256(file).hexdigest()})
        for name, file in content.items()
    }
    alignment = Alignment(
        version=ALIGNMENT_VERSION,
        size=112,
        template=rounded_template(TEMPLATE.tolist()),
        detector_size=detector_size,
        detector_threshold=detector_threshold,
        mode=crop_mode,
    )
    size = embedding_size(embedder)
    preprocessing = Preprocessing()
    release = Release(
        contract_id=contract_id(
            embedder_sha256=weights[EMBEDDER].sha256,
            detector_sha256=weights[DETECTOR].sha256,
            landmarks_sha256=weights[LANDMARKS].sha256,
            embedding_size=size,
            preprocessing_version=preprocessing.version,
            alignment=alignment,
        ),
        embedding_size=size,
        preprocessing=preprocessing,
        alignment=alignment,
        verifier_kind=verifier.kind,
        weights=weights,
        thresholds=thresholds,
        params=params,
        data=data,
    )
    with atomic_folder(folder) as temporary:
        for name, file in content.items():
            (temporary / name).write_bytes(file)
        write_release(release, temporary)
    return release


def embedding_size(embedder: onnx.ModelProto) -> int:
    """Return D of the output "embeddings" (batch, D)."""
    (output,) = embedder.graph.output
    return int(output.type.tensor_type.shape.dim[1].dim_value)
