"""A small real release for tests: SFace, its verifier calibrated on people who do not exist."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from faceops.config.sections import Verify
from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.photos.open_photo import open_photo
from faceops.release.contract import Alignment, WeightFile
from faceops.release.embedder_graph import adapt_embedder
from faceops.release.export import BundleModels, write_bundle
from faceops.verification.choose_calibration import choose_calibration
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.verifier import Verifier
from faceops.weights.catalogue import read_catalogue

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
    crops, persons = [], []
    for path in sorted(photos.glob("*/*")):
        for face in finder.find(open_photo(path).pixels)[:1]:
            crops.append(face.crop)
            persons.append(path.parent.name)
    model = adapt_embedder(onnx.load(weights / "face_recognition_sface_2021dec.onnx"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    embeddings = np.concatenate([session.run(None, {"crops": crop[None]})[0] for crop in crops])
    plain = Verifier(np.full(embeddings.shape[1], -1, np.float32), 0.0, "distance")
    logits = all_pair_scores(embeddings, np.array(persons), plain, log_odds=True)
    verifier = choose_calibration(logits, np.array(persons), method="platt").map.of(plain)
    scores = all_pair_scores(embeddings, np.array(persons), verifier)
    thresholds = measure_thresholds(
        embeddings,
        np.array(persons),
        verifier,
        scores,
        SETTINGS,
        "synthetic people",
    )
    catalogue = read_catalogue()
    models = BundleModels(
        embedder=model,
        embedder_weight=WeightFile(sha256="", licence=catalogue["sface"].licence, source="sface"),
        verifier=verifier,
        thresholds=thresholds,
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
