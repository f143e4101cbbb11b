"""Cross-entropy, ArcFace and triplets on a closed set: LFW's people with 10 photos or more.

    python -m experiments.lfw_closed_set --build build --out OUT [--set train.backbone=resnet18]

BUILD is the result of `dvc repro split` for LFW; its split of people is not used. The photos of
each person are split at random: 60 % train, 20 % choose the epoch, 20 % test. All runs share one
backbone, schedule and augmentation, those of experiments/lfw_closed_set.yaml. "Triplets from
scratch" mine batch-hard throughout (Hermans et al. 2017); "cross-entropy, then triplets" classifies
for three fifths of the epochs, then mines semi-hard for two fifths of the rest, then batch-hard.

Accuracy: a test photo is assigned to the person whose training photos' mean embedding is nearest.

The tables are printed and written to OUT. An interrupted run continues after its last epoch when it
is started again with the same --out.
"""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import parser, run
from experiments.results import FIGURES, GAINS, Figure, print_results, share_gain, table
from experiments.training import BuiltFaces, fit, read_build, read_settings, run_facts
from faceops.config.sections import Train
from faceops.embedding.embedder import choose_device, embed_crops
from faceops.embedding.heads import class_centres
from faceops.embedding.training.dataset import FaceDataset
from faceops.embedding.training.inputs import build_inputs
from faceops.embedding.training.training_loop import start_model
from faceops.verification.bootstrap import share_interval

NAME = "lfw_closed_set"
MIN_PHOTOS = 10  # a person
VAL, TEST = 0.2, 0.2  # shares of each person's photos
# Objective -> name, and the accuracy published for it on 500 people of CelebA.
OBJECTIVES = {
    "softmax": ("cross-entropy", 0.70),
    "triplet": ("triplets from scratch", 0.79),
    "warm_triplet": ("cross-entropy, then triplets", 0.79),
    "arcface": ("ArcFace", 0.80),
}


def split_photos(persons: np.ndarray, seed: int) -> np.ndarray:
    """Return "train", "val" or "test" for each photo, "" for people with fewer than 10 photos.

    Photos of one occasion may be on both sides, so a closed set is easier than verification of
    unseen people.
    """
    draw = np.random.default_rng(seed)
    splits = np.full(len(persons), "", dtype="<U5")
    for person in np.unique(persons):
        rows = draw.permutation(np.flatnonzero(persons == person))
        if len(rows) < MIN_PHOTOS:
            continue
        val, test = (max(1, round(share * len(rows))) for share in (VAL, TEST))
        splits[rows[:test]] = "test"
        splits[rows[test : test + val]] = "val"
        splits[rows[test + val :]] = "train"
    return splits


def faces_of(faces: BuiltFaces, part: np.ndarray) -> FaceDataset:
    """Return the photos of `part`, bool (N,); a person has the same label in every split."""
    persons = faces.persons[part].tolist()
    return FaceDataset.of(faces.crops, faces.rows[part], persons, np.zeros(len(persons), bool))


def with_objective(settings: Train, objective: str) -> Train:
    """Return the settings that spend all epochs on one of OBJECTIVES."""
    epochs = settings.warmup_epochs + settings.triplet_epochs
    warmup = {"triplet": 0, "warm_triplet": round(0.6 * epochs)}.get(objective, epochs)
    changes: dict[str, object] = {"warmup_epochs": warmup, "triplet_epochs": epochs - warmup}
    if warmup < epochs:
        miners = {"semi_hard": 0.4, "batch_hard": 1.0} if warmup else {"batch_hard": 1.0}
        changes |= {"head": "softmax", "head_loss_weight": 0.0, "miners": miners}
    else:
        changes["head"] = objective
    return Train.model_validate(settings.model_dump() | changes)


def main() -> None:
    """Train by each objective, measure, print."""
    options = parser(__doc__)
    options.add_argument("--build", type=Path, default=Path("build"))
    options.add_argument("--out", type=Path, required=True, help="checkpoints, tables")
    options.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = options.parse_args()
    settings = read_settings(NAME, args.set, args.out).train
    device, seed = choose_device(settings.device), settings.seed
    faces = read_build(args.build)
    splits = split_photos(faces.persons, seed)
    train, val, test = (faces_of(faces, splits == split) for split in ("train", "val", "test"))
    labels = test.labels
    figures: list[Figure] = []
    right: dict[str, np.ndarray] = {}
    runs: dict[str, dict[str, Any]] = {}
    for objective in args.objectives:
        title, published = OBJECTIVES[objective]
        own = with_objective(settings, objective)
        model = start_model(own, None)
        fitted = fit(
            model,
            lambda own=own, model=model: build_inputs(model, train, val, own, args.out, device),
            (*faces.hashes, f"photos split by {seed}", objective),
            own, args.out,
        )  # fmt: skip
        runs[title] = fitted.facts
        embedded, centres = (
            embed_crops(fitted.model, part.crops[part.rows], 64, device) for part in (test, train)
        )
        nearest = (embedded @ class_centres(centres, train.labels).T).argmax(1)
        right[title] = nearest == labels
        by_person = np.bincount(labels, right[title]) / np.bincount(labels)
        interval = share_interval(right[title], labels, seed)
        figures += [
            Figure(title, float(right[title].mean()), published, interval=interval),
            Figure(f"{title}, mean over people", float(by_person.mean())),
        ]
    first, *others = right
    compared = [share_gain(title, right[first], right[title], labels, seed) for title in others]
    parts = [
        table(FIGURES, figures),
        f"Published: on 500 people of CelebA. Compared with {first}, paired over people:",
        table(GAINS, compared),
    ]
    seen = (
        f"LFW, {train.people} people with {MIN_PHOTOS} photos or more, photos split by seed {seed}:"
        f" {len(train.rows)} train, {len(val.rows)} choose the epoch, {len(test.rows)} test"
    )
    facts = run_facts(seen, settings, runs, device)
    print_results(NAME, f"Closed set of {train.people} people", parts, facts, args.out)


if __name__ == "__main__":
    run(main)
