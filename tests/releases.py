"""Real releases for tests, benchmarks and experiments."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from faceops.config.sections import Verify
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.photos.open_photo import open_photo
from faceops.release.bundle import run_embedder
from faceops.release.contract import (
    EMBEDDER,
    EMBEDDER_INT8,
    Alignment,
    Int8,
    Int8Measured,
    WeightFile,
    exported_graph,
    read_release,
    write_release,
)
from faceops.release.embedder_graph import adapt_embedder
from faceops.release.export import BundleModels, embedder_file, load_network, write_bundle
from faceops.release.onnx_graph import embedding_size
from faceops.stages.verify import with_quality
from faceops.verification.calibration import choose_calibration
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.verifier import Verifier
from faceops.weights import read_catalogue

SETTINGS = Verify(
    far_budgets=[0.1, 0.01, 0.001],
    fpir_budgets=[0.2, 0.01],
    gallery_sizes=[10, 100],
    default_budget=0.2,  # the smallest that so few people support
    seed=0,
)


def release_sface(folder: Path, photos: Path, weights: Path) -> Path:
    """Write the bundle `folder`, calibrated on `photos`/<person>/*; `weights` holds the files."""
    yunet = weights / "face_detection_yunet_2023mar.onnx"
    finder = FaceFinder(
        Detector(with_symbolic_size(yunet.read_bytes())), LandmarkRefiner(weights / "onet.onnx")
    )
    crops, persons, quality = [], [], []
    for path in sorted(photos.glob("*/*")):
        for face in finder.find(open_photo(path).pixels)[:1]:
            crops.append(face.crop)
            persons.append(path.parent.name)
            quality.append(face.quality.overall)
    model = adapt_embedder(onnx.load(weights / "face_recognition_sface_2021dec.onnx"))
    session = onnxruntime.InferenceSession(embedder_file(model)[0])
    embeddings, lengths = run_embedder(session, np.stack(crops), embedding_size(model))
    plain = Verifier(np.full(embeddings.shape[1], -1, np.float32), 0.0, "distance")
    logits = all_pair_scores(embeddings, np.array(persons), plain, log_odds=True)
    verifier = choose_calibration(logits, np.array(persons), method="platt").map.of(plain)
    scores = all_pair_scores(embeddings, np.array(persons), verifier)
    thresholds = measure_thresholds(
        embeddings, np.array(persons), verifier, scores, SETTINGS, "synthetic people"
    )
    catalogue = read_catalogue()
    models = BundleModels(
        embedder=model,
        embedder_weight=WeightFile(sha256="", licence=catalogue["sface"].licence, source="sface"),
        verifier=verifier,
        thresholds=with_quality(thresholds, np.array(quality), lengths),
        detector=yunet,
        landmarks=weights / "onet.onnx",
    )
    write_bundle(
        folder,
        models,
        Alignment.current(640, 0.6, "aligned"),
        catalogue,
        opset=18,
        params={},
        data={"name": "none: SFace as published"},
    )
    return folder


MIN_WEIGHTS = 1000  # smaller initialisers are biases, shapes and scales, which stay


def noisy_embedder(
    bundle: Path, seed: int = 1, noise: float = 0.02
) -> tuple[bytes, dict[str, str | None]]:
    """Return the embedder of `bundle`, each weight multiplied by 1 + `noise` * N(0, 1).

    The second value is as of `embedder_file`.
    """
    model = load_network(bundle / EMBEDDER)
    random = np.random.default_rng(seed)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= MIN_WEIGHTS:
            factor = 1 + noise * random.standard_normal(values.shape).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values * factor, weight.name))
    return embedder_file(model)


def alter_release(bundle: Path, folder: Path, seed: int = 1, noise: float = 0.02) -> Path:
    """Copy the release in `bundle` to `folder` with noise in its embedder, see `noisy_embedder`.

    Detector, landmarks and thresholds stay, so crops are equal and embeddings differ.
    """
    shutil.copytree(bundle, folder)
    content, stated = noisy_embedder(bundle, seed, noise)
    (folder / EMBEDDER).write_bytes(content)
    write_release(read_release(folder).with_embedder(stated), folder)
    return folder


def without_raw_embedding(bundle: Path, folder: Path) -> Path:
    """Copy the release in `bundle` to `folder` without the second output of its embedder."""
    shutil.copytree(bundle, folder)
    release, file = read_release(folder), folder / EMBEDDER
    graph = exported_graph(file.read_bytes(), release, release.weights[EMBEDDER])
    file.write_bytes(graph)
    sha256 = hashlib.sha256(graph).hexdigest()
    stated = {"sha256": sha256, "graph_sha256": None, "raw_embedding": None}
    write_release(release.with_embedder(stated), folder)
    return folder


def add_int8(bundle: Path, folder: Path) -> Path:
    """Copy the release in `bundle` to `folder`, with a second embedder in the place of int8.

    It has noise in its weights and is not quantised, which takes long: to everything but its own
    tests, int8 is only another embedder. Its thresholds are those of float32.
    """
    shutil.copytree(bundle, folder)
    content, stated = noisy_embedder(bundle)
    (folder / EMBEDDER_INT8).write_bytes(content)
    release = read_release(folder)
    int8 = release.with_embedder(stated)
    section = Int8(
        weight=int8.weights[EMBEDDER],
        contract_id=int8.contract_id,
        thresholds=release.thresholds.model_copy(update={"data": "synthetic people, int8"}),
        measured=Int8Measured(
            people=24, photos=96, far=0.05, tar_float32=0.99, tar_int8=0.98, tar_loss_allowed=0.02,
            min_cosine=0.97, mean_cosine=0.99, calibration_crops=8,
        ),
    )  # fmt: skip
    write_release(release.model_copy(update={"int8": section}), folder)
    return folder
