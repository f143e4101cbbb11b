"""Cross-entropy, ArcFace and triplets on one closed set: LFW's people with 10 photos or more.

    python -m experiments.lfw_closed_set --build build --out OUT [--set train.backbone=resnet18]

BUILD is what `dvc repro split` leaves for LFW; its split of people plays no part. Each person's
photos are shared out, seeded: three fifths train, a fifth chooses the epoch, a fifth tests. The
runs have one backbone, schedule and augmentation, those of experiments/lfw_closed_set.yaml with
--set over it. Triplets from nothing are batch-hard throughout; after three fifths of the epochs of
cross-entropy they are semi-hard for two fifths of the rest, then batch-hard.

Accuracy is the same for all: a test photo's person is the one whose training photos' mean
embedding is nearest. Beside it, for those that end with a classification head, what the head says;
the head is the last epoch's, with the weights of that epoch.

The table goes to experiments/results/lfw_closed_set.md and .json. A killed run goes on after its
last epoch when it is started again with the same --out.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.training.built_faces import BuiltFaces, read_build
from experiments.training.figures_table import (
    RESULTS,
    Figure,
    figures_table,
    table,
    write_results,
)
from experiments.training.fit import Fitted, fit, last_epoch_head, with_objective
from experiments.training.nearest_centre import nearest
from experiments.training.paired_gain import share_gain
from experiments.training.photos_of_each_person import split_photos
from experiments.training.read_settings import read_settings
from experiments.training.run_experiment import run_experiment
from experiments.training.run_facts import run_facts
from faceops.base.files import sha256_file
from faceops.config.sections import Train
from faceops.embedding.class_centres import class_centres
from faceops.embedding.device import choose_device
from faceops.embedding.embed_crops import embed_crops
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.build_inputs import build_inputs
from faceops.embedding.training.start_model import start_model
from faceops.evaluation.bootstrap import share_interval
from faceops.weights.settings import weight_path

NAME = "lfw_closed_set"
# Objective -> name, and what is published for it on 500 people of CelebA.
OBJECTIVES = {
    "softmax": ("cross-entropy", 0.70),
    "triplet": ("triplets from nothing", 0.79),
    "warm_triplet": ("cross-entropy, then triplets", 0.79),
    "arcface": ("ArcFace", 0.80),
}


def faces_of(faces: BuiltFaces, splits: np.ndarray, split: str) -> LabelledCrops:
    """Return the photos of `split` by `splits` (N,); the people have the same numbers in each."""
    part = splits == split
    persons = faces.persons[part].tolist()
    return LabelledCrops.of(faces.crops, faces.rows[part], persons, np.zeros(len(persons), bool))


def measure(
    objective: str,
    fitted: Fitted,
    settings: Train,
    train: LabelledCrops,
    test: LabelledCrops,
    seed: int,
    device: torch.device,
) -> tuple[list[Figure], np.ndarray]:
    """Return the rows of one run, and which test photos found their nearest centre, bool (N,).

    The rows: nearest centre over photos, over people, and what the head says.
    """
    title, published = OBJECTIVES[objective]
    labels = test.labels

    def embed(which: LabelledCrops) -> np.ndarray:
        return embed_crops(fitted.model, which.crops[which.rows], 64, device)

    said = nearest(embed(test), class_centres(embed(train), train.labels)) == labels
    by_person = np.bincount(labels, said) / np.bincount(labels)
    rows = [
        Figure(f"{title}, nearest centre", float(said.mean()), published, published, above=True,
               interval=share_interval(said, labels, seed)),
        Figure(f"{title}, nearest centre, people weighing alike", float(by_person.mean())),
    ]  # fmt: skip
    own = with_objective(settings, objective)
    if own.triplet_epochs == 0:
        weight, bias = last_epoch_head(fitted, own)
        hits = (embed(test) @ weight.T + bias).argmax(1) == labels
        name = f"{title}, head of the last epoch"
        rows.append(Figure(name, float(hits.mean()), interval=share_interval(hits, labels, seed)))
    return rows, said


def differences(settings: Train, objective: str) -> str:
    """Return in words what the run of `objective` has other than `settings`."""
    own, given = with_objective(settings, objective).model_dump(), settings.model_dump()
    return ", ".join(f"{key} {own[key]}" for key in own if own[key] != given[key])


def run(
    objective: str,
    settings: Train,
    train: LabelledCrops,
    val: LabelledCrops,
    out: Path,
    data: list[str],
    device: torch.device,
) -> Fitted:
    """Train by one objective."""
    own = with_objective(settings, objective)
    sface = weight_path("sface") if own.backbone == "pretrained" else None
    model = start_model(own, sface)
    return fit(
        model,
        lambda: build_inputs(model, train, val, own, out, device),
        train, val, own, out, [*data, sha256_file(sface) if sface else "", objective],
        device,
    )  # fmt: skip


def main() -> None:
    """Train by each objective, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--out", type=Path, required=True, help="checkpoints")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    args = parser.parse_args()
    settings = read_settings(NAME, args.set, args.out).train
    device, seed = choose_device(settings.device), settings.seed
    faces = read_build(args.build)
    splits = split_photos(faces.persons, seed)
    train, val, test = (faces_of(faces, splits, split) for split in ("train", "val", "test"))
    figures: list[Figure] = []
    found: dict[str, np.ndarray] = {}
    own: dict[str, str] = {}
    runs: dict[str, dict[str, Any]] = {}
    for objective in args.objectives:
        data = [*faces.hashes, f"photos split by {seed}"]
        fitted = run(objective, settings, train, val, args.out, data, device)
        title = OBJECTIVES[objective][0]
        runs[title] = fitted.facts
        own[f"settings of {title}"] = differences(settings, objective) or "these"
        rows, found[title] = measure(objective, fitted, settings, train, test, seed, device)
        figures += rows
    first, *others = found
    gains = [share_gain(title, found[first], found[title], test.labels, seed) for title in others]
    parts = [figures_table(figures), "Published: on 500 people of CelebA."]
    if gains:
        parts += [
            f"Nearest centre, each against {first} on the same photos. Standard errors are over"
            " people.",
            table(
                ("", first, "this", "difference", "standard error", "finding"),
                [gain.row() for gain in gains],
            ),
        ]
    seen = (
        f"LFW, {train.people} people with 10 photos or more, the photos of each shared out"
        f" (seed {seed}): {len(train.rows)} train, {len(val.rows)} choose the epoch,"
        f" {len(test.rows)} test. Photos of one occasion may stand on both sides."
    )
    changed = "".join(f" --set {change}" for change in args.set)
    print(
        write_results(
            NAME,
            f"Closed set: {train.people} people of LFW, one network, four ways to train it",
            f"python -m experiments.lfw_closed_set --build BUILD --out OUT{changed}",
            parts,
            run_facts(seen, settings, runs, device) | own,
            {
                "figures": [figure.as_dict() for figure in figures],
                "gains": [vars(gain) | {"finding": gain.finding} for gain in gains],
                "training": runs,
            },
            args.results,
        )
    )


if __name__ == "__main__":
    run_experiment(main)
