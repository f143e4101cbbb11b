"""A release with a tiny embedder, which loads in milliseconds."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceops.config.sections import Verify
from faceops.release.contract import Alignment, WeightFile
from faceops.release.export import BundleModels, write_bundle
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.verifier import Verifier
from faceops.weights import read_catalogue

SIZE = 8
VERIFIER = Verifier(np.linspace(-9, -4, SIZE).astype(np.float32), 8.0, "linear")


def tiny_embedder() -> onnx.ModelProto:
    """Return crops -> a random projection of the mean colour of 8 x 8 tiles -> unit vectors."""
    projection = np.random.default_rng(0).normal(size=(192, SIZE)).astype(np.float32)
    node = helper.make_node
    nodes = [
        node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["tiles"], kernel_shape=[14, 14], strides=[14, 14]),
        node("Flatten", ["tiles"], ["flat"]),
        node("MatMul", ["flat", "projection"], ["raw"]),
        node("LpNormalization", ["raw"], ["embeddings"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", 112, 112, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", SIZE])],
        [numpy_helper.from_array(projection, "projection")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write_tiny(folder: Path, weights: Path, mode: str = "aligned") -> Path:
    """Write the bundle `folder`; `weights` holds the detector and the landmark net."""
    draw = np.random.default_rng(0)
    persons = np.repeat(np.arange(60), 2).astype(str)
    embeddings = np.repeat(draw.normal(size=(60, SIZE)), 2, axis=0)
    embeddings += 0.5 * draw.normal(size=embeddings.shape)
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    settings = Verify(far_budgets=[0.01], fpir_budgets=[0.1], gallery_sizes=[20],
                      default_budget=0.1)  # fmt: skip
    scores = all_pair_scores(embeddings, persons, VERIFIER)
    models = BundleModels(
        embedder=tiny_embedder(),
        embedder_weight=WeightFile(sha256="", licence="Apache-2.0", source="sface: tiny"),
        verifier=VERIFIER,
        thresholds=measure_thresholds(
            embeddings, persons, VERIFIER, scores, settings, "simulated people"
        ),
        detector=weights / "face_detection_yunet_2023mar.onnx",
        landmarks=weights / "onet.onnx",
    )
    write_bundle(
        folder,
        models,
        Alignment.current(640, 0.6, mode),
        read_catalogue(),
        opset=18,
        params={"train": {"seed": 7}},
        data={"splits": {"train": {"people": 8, "photos": 80}}},
    )
    return folder
