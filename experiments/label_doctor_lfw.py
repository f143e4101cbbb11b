"""Swap labels of LFW at random and see what the label doctor finds; then look at LFW itself.

    python experiments/label_doctor_lfw.py build/export --crops build/crop --out build/doctor

Needs LFW through the crop and split stages and a bundle. Only labels are swapped: those of 2 % of
the photos are permuted so that none keeps its own, once for each seed. A swap can show where the
true or the new label has another photo left ("detectable"). LFW's own errors stay in: precision
is given as it is, and without the suspicions that the untouched labels raise as well.

As in the command, the verifier is calibrated on the labels in doubt, tolerant of wrong ones. For
comparison: the bundle's own calibration, on validation people, who are people of this same LFW
with right labels; and one that took the swapped labels of those people for right.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.evaluation.label_doctor.cropped_photos import read_cropped_photos
from faceops.evaluation.label_doctor.diagnose import SHARE, diagnose
from faceops.evaluation.label_doctor.noise_tolerant_calibration import calibrate_on_doubtful
from faceops.evaluation.label_doctor.suspicion import Suspicion
from faceops.release.bundle import Bundle
from faceops.release.embed_crops import embed_crops
from faceops.release.verifier_of_graph import pair_verifier
from faceops.verification.platt import platt
from faceops.verification.verifier import Verifier


def swapped_labels(persons: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels with `share` of them permuted, and whose they are: str (N,), bool (N,)."""
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


def calibrated_on(embeddings: np.ndarray, labels: np.ndarray) -> Verifier:
    """Return the plain distance, calibrated (Platt) on all pairs of these photos."""
    plain = Verifier(np.full(embeddings.shape[1], -1, np.float32), 0.0, "distance")
    scores = plain.logit_matrix(embeddings, embeddings)
    upper = np.triu(np.ones(scores.shape, bool), 1)
    one = labels[:, None] == labels[None]
    scale, bias = platt(scores[upper & one], scores[upper & ~one])
    return Verifier((plain.weight * scale).astype(np.float32), bias, "distance")


def tolerant(embeddings: np.ndarray, labels: np.ndarray, verifier: Verifier) -> Verifier:
    """Return `verifier` calibrated on doubtful labels."""
    found = calibrate_on_doubtful(embeddings, labels, verifier)
    if found is None:
        raise FaceOpsError("too few pairs of photos of one person; give more photos.")
    print(f"  pairs of one name that look like two people: {found.wrong_pairs:.4f}")
    return found.verifier


def figures(
    found: list[Suspicion],
    persons: np.ndarray,
    labels: np.ndarray,
    swapped: np.ndarray,
    known: set[int],
) -> dict[str, float]:
    """Return what the list is worth; `known` are photos in doubt with the untouched labels."""
    right = np.array([swapped[list(doubt.photos)].any() for doubt in found], bool)
    own = np.array([not known.isdisjoint(doubt.photos) for doubt in found], bool)
    rows = list(dict.fromkeys(photo for doubt in found for photo in doubt.photos))
    left = Counter(labels[~swapped].tolist())
    detectable = np.array(
        [left[a] + left[b] > 0 for a, b in zip(persons, labels, strict=True)], bool
    )
    listed = np.zeros(len(persons), bool)
    listed[rows] = True
    suggested = [
        doubt.suggestion == persons[doubt.photos[0]]
        for doubt, is_right in zip(found, right, strict=True)
        if is_right and doubt.suggestion and len(doubt.photos) == 1
    ]
    first = rows[: int(swapped.sum())]
    return {
        "suspicions": len(found),
        "photos in doubt": len(rows),
        "precision": float(right.mean()),
        "precision, LFW's own aside": float(right[right | ~own].mean()),
        "precision of photos": float(swapped[rows].mean()),
        "precision at k swapped": float(swapped[first].mean()),
        "recall": float(listed[swapped].mean()),
        "detectable": float(detectable[swapped].mean()),
        "recall of detectable": float(listed[swapped & detectable].mean()),
        "suggestion right": float(np.mean(suggested)),
    }


def table(title: str, runs: list[dict[str, float]]) -> None:
    """Print mean and standard deviation over the seeds."""
    print(f"\n{title}")
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        print(f"  {name:<27} {values.mean():8.3f}  +- {values.std(ddof=1):.3f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--crops", type=Path, default=Path("build/crop"))
    parser.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    parser.add_argument("--out", type=Path, default=Path("build/doctor"), help="keeps embeddings")
    parser.add_argument("--swap", type=float, default=0.02, help="share of labels to swap")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    photos = read_cropped_photos(args.crops)
    bundle = Bundle.load(args.bundle, threads=2)
    verifier = pair_verifier(bundle)
    embeddings = embed_crops(bundle, args.crops / "crops.npy", args.out)
    persons = photos.persons
    split = pq.read_table(args.split, columns=["path", "split"]).to_pydict()
    val_paths = {p for p, s in zip(split["path"], split["split"], strict=True) if s == "val"}
    val = np.array([path in val_paths for path in photos.paths.tolist()])
    start = time.perf_counter()
    untouched = diagnose(embeddings, persons, tolerant(embeddings, persons, verifier))
    seconds = time.perf_counter() - start
    kinds = Counter(doubt.kind.value for doubt in untouched)
    print(
        f"untouched: {len(persons)} photos of {len(np.unique(persons))} people, "
        f"{len(untouched)} suspicions {dict(sorted(kinds.items()))} in {seconds:.1f} s"
    )
    known = {photo for doubt in untouched for photo in doubt.photos}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        labels, swapped = swapped_labels(persons, args.swap, seed)
        anew = calibrated_on(embeddings[val], labels[val])
        judges = {
            "calibrated on the swapped labels, tolerant of them (as the command does)": tolerant(
                embeddings, labels, anew
            ),
            "calibrated on validation people with right labels": verifier,
            "calibrated on validation people with swapped labels": anew,
        }
        default = next(iter(judges.values()))
        ways = [(f"{title}; share {SHARE:g}", judge, SHARE) for title, judge in judges.items()]
        ways += [(f"tolerant; share {s:g}", default, s) for s in (SHARE / 10, 0.05)]
        for title, judge, share in ways:
            found = diagnose(embeddings, labels, judge, share)
            run = figures(found, persons, labels, swapped, known)
            runs.setdefault(title, []).append(run)
    print(f"{round(args.swap * len(persons))} labels swapped, {args.seeds} seeds: mean +- s.d.")
    for title, of_seeds in runs.items():
        table(title, of_seeds)


if __name__ == "__main__":
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
