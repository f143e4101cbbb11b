"""Pack the untouched, published SFace as a release bundle with the plain-distance verifier.

    python experiments/sface_bundle.py build/sface_bundle --lfw ../shared/datasets/lfw

The bundle is the baseline that a rebuilt model is held against, and it names people in photos
without any training. Its thresholds are measured on people whom SFace's publisher does not
state to have trained on: either on embeddings (--embeddings FILE.npz with `embeddings` float32
(N, 128), L2-normalised, and `persons` (N,)), or on LFW's DevTest people (--lfw FOLDER, a few
minutes: 1,711 people of peopleDevTest.txt, each face found as in identification).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.progress import track
from faceops.faces.choose_face import choose_face
from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.photos.open_photo import open_photo
from faceops.release.contract import WeightFile
from faceops.release.export import serialise, write_bundle
from faceops.release.onnx_embedder import adapt_embedder
from faceops.verification.choose_calibration import fit_map
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.score_table import score_table
from faceops.verification.verifier import Verifier
from faceops.weights.catalogue import read_catalogue
from faceops.weights.settings import weight_path

DETECTOR_SIZE, DETECTOR_THRESHOLD, OPSET = 640, 0.6, 18
LIST = "peopleDevTest.txt"


def lfw_faces(lfw: Path, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return crops uint8 (N, 112, 112, 3) and names of LFW's DevTest people, most central face."""
    listed = lfw / LIST
    if not listed.is_file():
        raise UsageError(f"{listed} does not exist; --lfw names the folder with LFW's lists.")
    people = [line.split()[0] for line in listed.read_text().splitlines()[1:] if line.strip()]
    photos = [
        photo
        for person in people
        for photo in sorted((lfw / "lfw-deepfunneled" / person).glob("*.jpg"))
    ][: limit or None]
    finder = FaceFinder(
        Detector(
            with_symbolic_size(weight_path("yunet").read_bytes()), DETECTOR_SIZE, DETECTOR_THRESHOLD
        ),
        LandmarkRefiner(weight_path("onet")),
    )
    crops, names = [], []
    for photo in track(photos, "finding faces"):
        pixels = open_photo(photo).pixels
        height, width = pixels.shape[:2]
        face = choose_face(finder.find(pixels), width, height, "most_central", min_face=24)
        if face:
            crops.append(face.crop)
            names.append(photo.parent.name)
    return np.stack(crops), np.array(names)


def embed(model: onnx.ModelProto, crops: np.ndarray) -> np.ndarray:
    """Return embeddings float32 (N, D) of crops uint8 (N, 112, 112, 3)."""
    session = onnxruntime.InferenceSession(serialise(model), providers=["CPUExecutionProvider"])
    starts = track(range(0, len(crops), 32), "embedding")
    return np.concatenate([session.run(None, {"crops": crops[i : i + 32]})[0] for i in starts])


def main() -> None:
    """Measure, calibrate, pack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the bundle's folder; replaced")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--lfw", type=Path, help="LFW's folder, to measure thresholds on")
    source.add_argument("--embeddings", type=Path, help="embeddings to measure thresholds on")
    parser.add_argument("--limit", type=int, default=0, help="photos of LFW to use (0: all)")
    args = parser.parse_args()
    catalogue = read_catalogue()
    model = adapt_embedder(onnx.load(weight_path("sface")))
    if args.lfw:
        crops, persons = lfw_faces(args.lfw, args.limit)
        embeddings, data = embed(model, crops), "LFW, people of DevTest"
    else:
        with np.load(args.embeddings) as content:
            embeddings, persons = content["embeddings"], content["persons"]
        data = args.embeddings.name
    plain = Verifier(np.full(embeddings.shape[1], -1, np.float32), 0.0, "distance")
    logits = all_pair_scores(embeddings, persons, plain, log_odds=True)
    verifier = fit_map(score_table(logits.genuine, logits.impostor), "platt").of(plain)
    scores = all_pair_scores(embeddings, persons, verifier)
    thresholds = measure_thresholds(
        embeddings,
        persons,
        verifier,
        scores,
        far_budgets=[0.01, 0.001, 0.0001, 0.00001],
        search_budgets=[0.1, 0.01, 0.001],
        gallery_sizes=[50, 200, 1000, 5000],
        default_budget=0.01,
        runner_up_margin=1.0,
        data=data,
    )
    counts = {"people": thresholds.people, "photos": thresholds.photos}
    sface = catalogue["sface"]
    release = write_bundle(
        args.out,
        embedder=model,
        embedder_weight=WeightFile(sha256="", licence=sface.licence, source=f"sface: {sface.what}"),
        verifier=verifier,
        thresholds=thresholds,
        detector=weight_path("yunet"),
        landmarks=weight_path("onet"),
        catalogue=catalogue,
        opset=OPSET,
        detector_size=DETECTOR_SIZE,
        detector_threshold=DETECTOR_THRESHOLD,
        crop_mode="aligned",
        params={},
        data={"name": "none: SFace as published", "thresholds": {"name": data, **counts}},
    )
    print(f"{args.out}: contract {release.contract_id[:12]}, thresholds on {data} {counts}")
    for row in thresholds.pairs:
        print(
            f"pair FAR {row.budget:g}: refused, it takes {row.people_needed:,} people"
            if row.probability is None
            else f"pair FAR {row.budget:g}: probability {row.probability:.4f}, "
            f"TAR {row.true_accept_rate:.4f}"
        )
    for faces in (10, 100, 1000, 10000):
        print(
            f"1 % of strangers, {faces} faces: probability {thresholds.for_search(0.01, faces):.6f}"
        )


if __name__ == "__main__":
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
