"""LFW View 2 with SFace on this package's crops: does the alignment do what it should?

Usage: python experiments/lfw_view2_sface.py LFW_FOLDER [--threads 2] [--no-refine]

Prints the accuracy over the ten folds of pairs.txt: mean and standard error, each fold's
threshold chosen on the other nine; and, as 33 or so errors in 6,000 pairs tell little apart, the
true accept rate over all pairs of the same photos (8,101 of one person, 29.6 million of two).
Seen data: SFace was trained by its publishers on
MS-Celeb-1M-like collections, not on LFW; nothing here is fitted to LFW but those thresholds.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from faceops.faces.align import align
from faceops.faces.choose_face import choose_face
from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.ordered_map import ordered_map
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.photos.open_photo import open_photo
from faceops.progress import track
from faceops.weights.settings import weight_path

Photo = tuple[str, int]  # person, number


def read_pairs(path: Path) -> list[tuple[Photo, Photo, bool]]:
    """Return the pairs of LFW's pairs.txt in their order: two photos, and whether one person."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        part = line.split()
        if len(part) == 3:
            pairs.append(((part[0], int(part[1])), (part[0], int(part[2])), True))
        elif len(part) == 4:
            pairs.append(((part[0], int(part[1])), (part[2], int(part[3])), False))
    return pairs


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the threshold of the highest accuracy; the middle one where several are."""
    candidates = np.unique(scores)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    right = genuine.size - np.searchsorted(genuine, candidates)
    right = right + np.searchsorted(impostor, candidates)
    best = candidates[right == right.max()]
    return float(best[best.size // 2])


def true_accept_rate(
    embeddings: np.ndarray, people: np.ndarray, false_accept_rate: float
) -> tuple[float, float]:
    """Return the rate and the cosine threshold over all pairs of rows, in bins of 1e-5."""
    edges = np.linspace(-1, 1, 200_001)
    counts = np.zeros((2, edges.size - 1), dtype=np.int64)  # two people, one person
    for start in range(0, len(embeddings), 500):
        rows = np.arange(start, min(start + 500, len(embeddings)))
        cosine = np.clip(embeddings[rows] @ embeddings.T, -1, 1)
        once = np.arange(len(embeddings))[None] > rows[:, None]
        same = people[rows, None] == people[None]
        for kind, chosen in enumerate((once & ~same, once & same)):
            counts[kind] += np.histogram(cosine[chosen], edges)[0]
    false, true = counts[:, ::-1].cumsum(axis=1)[:, ::-1] / counts.sum(axis=1, keepdims=True)
    at = int(np.argmax(false <= false_accept_rate))
    return float(true[at]), float(edges[at])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path, help="folder with lfw-deepfunneled/ and pairs.txt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-refine", action="store_true", help="the detector's own landmarks")
    arguments = parser.parse_args()

    pairs = read_pairs(arguments.lfw / "pairs.txt")
    photos = sorted({photo for a, b, _ in pairs for photo in (a, b)})
    detector = Detector(with_symbolic_size(weight_path("yunet").read_bytes()))
    finder = FaceFinder(detector, LandmarkRefiner(weight_path("onet")))
    sface = open_session(weight_path("sface"), 1)

    def embed(photo: Photo) -> np.ndarray | None:
        person, number = photo
        folder = arguments.lfw / "lfw-deepfunneled" / person
        pixels = open_photo(folder / f"{person}_{number:04d}.jpg").pixels
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
    without = sum(embedding is None for embedding in found)
    # A photo without a face matches nobody.
    embeddings = np.stack([np.zeros(128) if row is None else row for row in found])
    row_of = {photo: row for row, photo in enumerate(photos)}
    first = embeddings[[row_of[a] for a, _, _ in pairs]]
    second = embeddings[[row_of[b] for _, b, _ in pairs]]
    scores = (first * second).sum(axis=1)
    same = np.array([one for _, _, one in pairs])
    fold = np.arange(len(pairs)) * 10 // len(pairs)
    accuracy = []
    for number in range(10):
        held_out = fold == number
        threshold = best_threshold(scores[~held_out], same[~held_out])
        accuracy.append(((scores[held_out] >= threshold) == same[held_out]).mean())
    error = np.std(accuracy, ddof=1) / np.sqrt(len(accuracy))
    print(f"LFW View 2, SFace: accuracy {np.mean(accuracy):.4f} +- {error:.4f} (standard error)")
    people = np.unique([person for person, _ in photos], return_inverse=True)[1]
    for budget in (1e-3, 1e-4, 1e-5):
        rate, threshold = true_accept_rate(embeddings.astype(np.float32), people, budget)
        print(f"TAR at FAR {budget:.0e} over all pairs: {rate:.4f} (cosine {threshold:.3f})")
    print(f"landmarks: {'YuNet' if arguments.no_refine else 'O-Net'}; SFace was not trained on LFW")
    print(f"{len(photos)} photos, {without} without a face, {len(photos) / seconds:.1f} photos/s")


if __name__ == "__main__":
    main()
