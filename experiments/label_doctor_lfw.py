"""Swap labels of LFW at random and measure what the label doctor finds.

    python -m experiments.label_doctor_lfw build/export --crops build/crop --out build/doctor

Needs LFW through the stages crop and split, and a release. The labels of 2 % of the photos are
permuted so that none keeps its own, once for each seed. A swap is detectable if another photo of
the true or of the new label is left. LFW's own label errors remain: precision is given as it is,
and without the suspicions that the original labels raise too.

As in `faceops data doctor`, the verifier is calibrated on the doubtful labels.
"""

import time
from collections import Counter
from pathlib import Path

import numpy as np

from experiments import parser, run
from faceops.base.errors import FaceOpsError
from faceops.evaluation.label_doctor.calibration import calibrate_with_label_noise
from faceops.evaluation.label_doctor.compare import read_cropped_photos
from faceops.evaluation.label_doctor.diagnose import Suspicion, diagnose
from faceops.release.bundle import Bundle, embed_crops_file
from faceops.release.export import pair_verifier
from faceops.verification.verifier import Verifier


def swapped_labels(persons: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels with `share` of them permuted, str (N,), and which ones, bool (N,)."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(persons), round(share * len(persons)), replace=False)
    source = random.permutation(chosen)
    while len(same := np.flatnonzero(persons[chosen] == persons[source])):
        other = int(random.integers(len(chosen)))
        source[[same[0], other]] = source[[other, same[0]]]
    labels = persons.copy()
    labels[chosen] = persons[source]
    swapped = np.zeros(len(persons), bool)
    swapped[chosen] = True
    return labels, swapped


def suspicions(embeddings: np.ndarray, labels: np.ndarray, verifier: Verifier) -> list[Suspicion]:
    """Return the label doctor's list for `labels`."""
    calibrated = calibrate_with_label_noise(embeddings, labels, verifier)
    if calibrated is None:
        raise FaceOpsError("too few pairs of photos of one person; give more photos.")
    return diagnose(embeddings, labels, calibrated.verifier)


def figures(
    found: list[Suspicion],
    persons: np.ndarray,
    labels: np.ndarray,
    swapped: np.ndarray,
    known: set[int],
) -> dict[str, float]:
    """Return precision and recall; `known` are the photos in doubt with the original labels."""
    right = np.array([swapped[list(doubt.photos)].any() for doubt in found], bool)
    own = np.array([not known.isdisjoint(doubt.photos) for doubt in found], bool)
    rows = list(dict.fromkeys(photo for doubt in found for photo in doubt.photos))
    left = Counter(labels[~swapped].tolist())
    detectable = np.array(
        [left[a] + left[b] > 0 for a, b in zip(persons, labels, strict=True)], bool
    )
    listed = np.zeros(len(persons), bool)
    listed[rows] = True
    return {
        "suspicions": len(found),
        "precision": float(right.mean()),
        "precision without LFW's own": float(right[right | ~own].mean()),
        "recall": float(listed[swapped].mean()),
        "recall of detectable": float(listed[swapped & detectable].mean()),
    }


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("bundle", type=Path)
    options.add_argument("--crops", type=Path, default=Path("build/crop"))
    options.add_argument("--out", type=Path, required=True, help="caches embeddings")
    options.add_argument("--swap", type=float, default=0.02, help="share of labels to swap")
    options.add_argument("--seeds", type=int, default=5)
    args = options.parse_args()
    persons = read_cropped_photos(args.crops).persons
    bundle = Bundle.load(args.bundle, threads=2)
    verifier = pair_verifier(bundle)
    embeddings = embed_crops_file(bundle, args.crops / "crops.npy", args.out)
    start = time.perf_counter()
    original = suspicions(embeddings, persons, verifier)
    print(
        f"original labels: {len(persons)} photos of {len(np.unique(persons))} people,"
        f" {len(original)} suspicions in {time.perf_counter() - start:.1f} s"
    )
    known = {photo for doubt in original for photo in doubt.photos}
    runs = []
    for seed in range(args.seeds):
        labels, swapped = swapped_labels(persons, args.swap, seed)
        found = suspicions(embeddings, labels, verifier)
        runs.append(figures(found, persons, labels, swapped, known))
    print(f"{round(args.swap * len(persons))} labels swapped, {args.seeds} seeds\n")
    print("| figure | mean | s.d. |\n| --- | ---: | ---: |")
    for name in runs[0]:
        values = np.array([each[name] for each in runs])
        print(f"| {name} | {values.mean():.3f} | {values.std(ddof=1):.3f} |")


if __name__ == "__main__":
    run(main)
