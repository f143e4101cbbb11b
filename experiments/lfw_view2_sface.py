"""LFW View 2 with SFace as published, on this package's detection, landmarks and alignment.

    python -m experiments.lfw_view2_sface LFW [--landmarks yunet] [--threads 2]

Prints the accuracy over the ten folds of pairs.txt (mean and standard error; each fold's threshold
is chosen on the other nine), and, over all pairs of the same photos (8,101 genuine, 29.6 million
impostor), the true accept rate and rank-1. `faceops evaluate --protocol lfw-view2` does the same
for a release; here no pipeline run is needed, and the landmarks may be the detector's own. SFace
was trained on photos of celebrities; nothing is fitted to LFW but those thresholds.
"""

import time
from pathlib import Path

import numpy as np

from experiments import parser, run
from faceops.base.parallel import ordered_map
from faceops.base.progress import track
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.lfw import FARS, lfw_view2_figures, read_pairs_list
from faceops.faces.align import align
from faceops.faces.crop_photos import choose_face
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.photos.open_photo import open_photo
from faceops.verification.verifier import Verifier
from faceops.weights.fetch import weight_path

SEED = 7
SIZE = 128


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("lfw", type=Path, help="folder with lfw-deepfunneled/ and pairs.txt")
    options.add_argument("--landmarks", choices=("onet", "yunet"), default="onet")
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args()
    pairs = read_pairs_list(args.lfw / "pairs.txt")
    detector = Detector(with_symbolic_size(weight_path("yunet").read_bytes()))
    finder = FaceFinder(detector, LandmarkRefiner(weight_path("onet")))
    sface = open_session(weight_path("sface"), 1)
    paths = [f"{photo.rpartition('_')[0]}/{photo}.jpg" for photo in pairs.photos.tolist()]

    def embed(path: str) -> np.ndarray | None:
        pixels = open_photo(args.lfw / "lfw-deepfunneled" / path).pixels
        height, width = pixels.shape[:2]
        face = choose_face(finder.find(pixels), width, height, "most_central", 24)
        if face is None:
            return None
        crop = face.crop
        if args.landmarks == "yunet":
            box = face.detection.box
            nearest = min(
                detector.detect(pixels), key=lambda other: np.abs(np.subtract(other.box, box)).sum()
            )
            crop = align(pixels, nearest.landmarks)
        net_input = crop.transpose(2, 0, 1)[None].astype(np.float32)
        embedding = sface.run(None, {"data": net_input})[0][0]
        return np.asarray(embedding / np.linalg.norm(embedding))

    start = time.monotonic()
    found = list(track(ordered_map(embed, paths, args.threads), "embed", len(paths)))
    speed = len(paths) / (time.monotonic() - start)
    usable = {path: row for path, row in zip(paths, found, strict=True) if row is not None}
    faces = EmbeddedFaces(
        embeddings=np.stack(list(usable.values())).astype(np.float32),
        persons=np.array([path.partition("/")[0] for path in usable]),
        paths=np.array(list(usable)),
        missing=tuple(path for path in paths if path not in usable),
    )
    distance = Verifier(-np.ones(SIZE, np.float32), 0.0, "distance")
    figures = lfw_view2_figures(faces, distance, pairs, SEED)
    every = figures["all_pairs"]
    print(f"landmarks: {args.landmarks}; {len(paths)} photos, {speed:.1f} photos/s")
    print(f"{len(faces.missing)} photos without a face")
    error = figures["accuracy_standard_error"]
    print(f"LFW View 2 accuracy: {figures['accuracy']:.4f} ± {error:.4f} (standard error)")
    for far in FARS:
        low, high = every[f"tar_at_far_{far:g}_interval"].values()
        rate = every[f"tar_at_far_{far:g}"]
        print(f"TAR at FAR {far:.0e}, all pairs: {rate:.4f} ({low:.4f} to {high:.4f})")
    print(f"rank-1 among {every['gallery_people']:,} people: {every['rank_1']:.4f}")


if __name__ == "__main__":
    run(main)
