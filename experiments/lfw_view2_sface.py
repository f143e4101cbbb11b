"""LFW View 2 with SFace on this package's crops: does the alignment do what it should?

Usage: python experiments/lfw_view2_sface.py LFW_FOLDER [--threads 2] [--no-refine]

Prints the accuracy over the ten folds of pairs.txt: mean and standard error, each fold's
threshold chosen on the other nine; and, as 33 or so errors in 6,000 pairs tell little apart, the
true accept rate over all pairs of the same photos (8,101 of one person, 29.6 million of two) and
rank-1 among their people. `faceops evaluate --protocol lfw-view2` does the same for a bundle;
here the photos need no pipeline, and the landmarks can be the detector's own.
Seen data: SFace was trained by its publishers on
MS-Celeb-1M-like collections, not on LFW; nothing here is fitted to LFW but those thresholds.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from faceops.base.progress import track
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.lfw_view2 import lfw_view2
from faceops.evaluation.listed_pairs import FARS
from faceops.evaluation.pairs_list import read_pairs_list
from faceops.faces.align import align
from faceops.faces.choose_face import choose_face
from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.ordered_map import ordered_map
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.photos.open_photo import open_photo
from faceops.verification.tail import log_odds_of
from faceops.verification.verifier import Verifier
from faceops.weights.settings import weight_path

SEED = 7
SIZE = 128


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path, help="folder with lfw-deepfunneled/ and pairs.txt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-refine", action="store_true", help="the detector's own landmarks")
    arguments = parser.parse_args()

    pairs = read_pairs_list(arguments.lfw / "pairs.txt")
    photos = pairs.photos.tolist()
    detector = Detector(with_symbolic_size(weight_path("yunet").read_bytes()))
    finder = FaceFinder(detector, LandmarkRefiner(weight_path("onet")))
    sface = open_session(weight_path("sface"), 1)

    def embed(photo: str) -> np.ndarray | None:
        pixels = open_photo(arguments.lfw / "lfw-deepfunneled" / _path(photo)).pixels
        height, width = pixels.shape[:2]
        face = choose_face(finder.find(pixels), width, height, "most_central", 24)
        if face is None:
            return None
        crop = face.crop
        if arguments.no_refine:
            near = min(
                detector.detect(pixels),
                key=lambda other: np.abs(np.subtract(other.box, face.detection.box)).sum(),
            )
            crop = align(pixels, near.landmarks)
        net_input = crop.transpose(2, 0, 1)[None].astype(np.float32)
        embedding = sface.run(None, {"data": net_input})[0][0]
        return np.asarray(embedding / np.linalg.norm(embedding))

    start = time.monotonic()
    found = list(track(ordered_map(embed, photos, arguments.threads), "embed", len(photos)))
    seconds = time.monotonic() - start
    usable = {photo: row for photo, row in zip(photos, found, strict=True) if row is not None}
    faces = EmbeddedFaces(
        embeddings=np.stack(list(usable.values())).astype(np.float32),
        persons=np.array([photo.rpartition("_")[0] for photo in usable]),
        paths=np.array([_path(photo) for photo in usable]),
        missing=tuple(_path(photo) for photo in photos if photo not in usable),
    )
    distance = Verifier(-np.ones(SIZE, np.float32), 0.0, "distance")
    figures = lfw_view2(faces, distance, pairs, SEED).figures(SEED)
    print(
        f"LFW View 2, SFace: accuracy {figures['accuracy']:.4f} "
        f"+- {figures['accuracy_standard_error']:.4f} (standard error)"
    )
    over_all = figures["all_pairs"]
    for far in FARS:
        low, high = over_all[f"tar_at_far_{far:g}_interval"].values()
        rate = over_all[f"tar_at_far_{far:g}"]
        cosine = 1 + log_odds_of(over_all[f"tar_at_far_{far:g}_threshold"]) / 2
        print(
            f"TAR at FAR {far:.0e} over all pairs: {rate:.4f} ({low:.4f} to {high:.4f}; "
            f"cosine {cosine:.3f})"
        )
    people = over_all["gallery_people"]
    print(f"rank-1 among {people:,} people: {over_all['rank_1']:.4f}")
    print(f"landmarks: {'YuNet' if arguments.no_refine else 'O-Net'}; SFace was not trained on LFW")
    without = len(faces.missing)
    print(f"{len(photos)} photos, {without} without a face, {len(photos) / seconds:.1f} photos/s")


def _path(photo: str) -> str:
    return f"{photo.rpartition('_')[0]}/{photo}.jpg"


if __name__ == "__main__":
    main()
