"""Verification and identification of LFW's DevTest people by the network that `train` made.

    faceops params use lfw_scratch && dvc repro train
    python -m experiments.lfw_training --lists LFW --out OUT [--mirrored]

The data are LFW in its official split, with a tenth of DevTrain's people for validation, and in
lfw_pins_families people of other sources too. LFW is the folder of pairsDevTrain.txt and
pairsDevTest.txt. Embeddings are kept in OUT.

DevTest is used for the final measurement only. Training people fit the network and the verifier;
validation people choose the epoch, calibrate, and set every threshold except that of View 1's
first row, which pairsDevTrain sets. With --mirrored an embedding is the mean of a crop's and its
mirror image's. The first table is of LFW's test people; with other sources a second one is of those
of each source and of all.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments import parser, run
from faceops.base.errors import FaceOpsError
from faceops.base.figures import roc
from faceops.base.files import atomic_path, sha256_file
from faceops.base.work import track
from faceops.config.params_file import read_params
from faceops.config.sections import Params
from faceops.dataset.data_folder import ACCEPTED
from faceops.embedding.backbones.build import load_model, weights_sha256
from faceops.embedding.embedder import choose_device, embed_crops
from faceops.evaluation.protocols.all_pairs import PairScan, pair_intervals, scan_pairs
from faceops.evaluation.protocols.identification import closed_set, open_set
from faceops.evaluation.protocols.lfw import LfwView1, lfw_view1, read_pairs_list
from faceops.evaluation.protocols.verification import (
    OneAgainstTen,
    RandomPairs,
    one_against_ten,
    random_pairs,
)
from faceops.evaluation.report.document import shown_interval, shown_share
from faceops.verification.embedded_faces import (
    EmbeddedFaces,
    SplitFaces,
    at_most,
    photo_sources,
    read_columns,
    read_split,
)
from faceops.verification.fit import fit_verifier
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import codes
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

LFW = "lfw"  # the name of the source
BLOCK = 2048  # faces a file of embeddings; a run that was stopped continues after the last one
FAR = 0.01
FARS = (FAR, 1e-3)
PEOPLE, DRAWS = 120, 20
STRANGERS = 0.5  # share of the people who are not enrolled, open set
LISTS = ("pairsDevTrain.txt", "pairsDevTest.txt")
# Of a model trained on LFW alone from an ImageNet start; the last two on other unseen people.
PUBLISHED = {
    "accuracy": 0.906,
    "tar": 0.728,
    "rank_1": 0.64,
    "open_set": 0.286,
    "against": 0.8505,
    "verifier": 0.9714,
}


@dataclass(frozen=True)
class Figure:
    """A rate, higher being better.

    spread: standard deviation over draws; interval: {"low", "high"}, 95 % over people.
    """

    name: str
    ours: float
    published: float | None = None
    spread: float | None = None
    interval: dict[str, Any] | None = None

    def row(self) -> tuple[str, ...]:
        """Return the cells of a table."""
        varies = shown_interval(self.interval) if self.spread is None else f"± {self.spread:.4f}"
        published = "" if self.published is None else shown_share(self.published)
        return self.name, published, shown_share(self.ours), varies


def table(figures: Sequence[Figure]) -> str:
    """Return a Markdown table."""
    head = ("figure", "published", "ours", "s.d. or 95 % interval")
    rows = [head, ("---",) * 4, *(figure.row() for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@dataclass(frozen=True)
class HeldOut:
    """Rates over draws of people, float64 (R,)."""

    rank_1: np.ndarray  # closed set: each person's first photo enrolled, the others are probes
    identified: np.ndarray  # open set: probes of enrolled people that got the right name
    strangers_named: np.ndarray  # open set, at the same threshold
    identified_at_fpir: np.ndarray  # at a threshold set on these strangers


def held_out_people(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds, gallery_photos: int, seed: int
) -> HeldOut:
    """Draw 120 people with more than `gallery_photos` photos, 20 times, and identify them.

    Open set: half of them are enrolled with `gallery_photos` photos each, the others are
    strangers. The threshold is that of the default budget, set on validation people, and a name
    must lead the runner-up by the release's margin.

    Raises:
        FaceOpsError: there are fewer than 120 such people.
    """
    person = codes(faces.persons)
    enough = np.flatnonzero(np.bincount(person) > gallery_photos)
    if len(enough) < PEOPLE:
        raise FaceOpsError(
            f"{len(enough)} test people have more than {gallery_photos} photos; {PEOPLE} are"
            " needed."
        )
    draw = np.random.default_rng(seed)
    rates = []
    for number in track(range(DRAWS), f"draws of {PEOPLE} people"):
        part = faces.of(np.isin(person, draw.permutation(enough)[:PEOPLE]))
        search = open_set(
            part, verifier, thresholds, gallery_photos=gallery_photos, unknown_share=STRANGERS,
            seed=seed + number, draws=1,
        )  # fmt: skip
        known = search.known
        rates.append((
            closed_set(part, verifier).rate(1),
            search.identified[known].mean(),
            search.named[~known].mean(),
            search.rate_at(thresholds.default_budget),
        ))  # fmt: skip
    return HeldOut(*np.array(rates).T)


@dataclass(frozen=True)
class Measured:
    """A model's results on DevTest's people."""

    view: LfwView1
    scan: PairScan  # all pairs of photos
    against: OneAgainstTen
    pairs: RandomPairs
    held_out: tuple[HeldOut, HeldOut]  # with one and with two gallery photos
    sources: list[Figure]  # of each source's test people and of all; empty of LFW alone
    verifier: str

    def figures(self, published: dict[str, float], seed: int) -> list[Figure]:
        """Return the rows of the table; `published` gives the figures of others, by key."""
        test, one = self.view.test, self.against.figures(seed)
        all_pairs = pair_intervals(self.scan, FARS, seed).tar
        balanced = np.array([correct.mean() for correct in self.pairs.correct(0.0)])

        def row(key: str, name: str, rates: np.ndarray) -> Figure:
            spread = float(rates.std(ddof=1))
            return Figure(name, float(rates.mean()), published.get(key), spread=spread)

        def view(name: str, threshold: float) -> Figure:
            right = (test.scores >= threshold) == test.same
            ours, known = float(right.mean()), published.get("accuracy")
            return Figure(name, ours, known, interval=test.interval(right, seed))

        first, second = self.held_out
        who = f"{PEOPLE} people, 1 gallery photo"
        return [
            view("View 1 accuracy, threshold of pairsDevTrain", self.view.threshold),
            view("View 1 accuracy, threshold of validation people", 0),
            Figure(f"TAR at FAR {FAR:g}, pairs of pairsDevTest",
                   roc(test.scores[test.same], test.scores[~test.same]).tar(FAR),
                   published.get("tar")),
            *(Figure(f"TAR at FAR {far:g}, all pairs of test people", self.scan.roc.tar(far),
                     interval=all_pairs[far]) for far in FARS),
            row("rank_1", f"rank-1, {who}", first.rank_1),
            row("open_set", f"DIR, open set, {who}", first.identified),
            row("", f"FPIR, open set, {who}", first.strangers_named),
            row("", f"DIR at the promised FPIR of these strangers, {who}",
                first.identified_at_fpir),
            row("", "DIR, open set, 2 gallery photos", second.identified),
            row("", "FPIR, open set, 2 gallery photos", second.strangers_named),
            Figure("1 genuine against 10 impostors", one["accuracy"], published.get("against"),
                   interval=one["accuracy_interval"]),
            row("verifier", "balanced verification accuracy, even odds", balanced),
        ]  # fmt: skip


def source_figures(
    faces: EmbeddedFaces, sources: np.ndarray, verifier: Verifier, params: Params
) -> list[Figure]:
    """Return the figures on the photos of each of the `sources`, text (N,), and on all `faces`."""
    settings, rows = params.evaluate, []
    for name in (*np.unique(sources), "all"):
        part = faces.of((sources == name) | (name == "all"))
        who = f"{name}, {part.people:,} people, {len(part):,} photos"
        one = one_against_ten(part, verifier).figures(settings.seed)
        pairs = random_pairs(part, verifier, settings.pairs, settings.seed, settings.pair_draws)
        correct = np.array([draw.mean() for draw in pairs.correct(0.0)])
        rows += [
            Figure(f"1 genuine against 10 impostors: {who}", one["accuracy"],
                   PUBLISHED["against"], interval=one["accuracy_interval"]),
            Figure(f"balanced verification accuracy: {who}", float(correct.mean()),
                   PUBLISHED["verifier"], interval=pairs.interval(0.0, settings.seed)),
        ]  # fmt: skip
    return rows


def embed(build: Path, out: Path, mirrored: bool, device: torch.device) -> np.ndarray:
    """Return the L2-normalised embeddings of all crops, float32 (N, D); they are kept in `out`."""
    file = build / "crop/crops.npy"
    model, crops = load_model(build / "train"), np.load(file, mmap_mode="r")
    key = hashlib.sha256((sha256_file(file) + weights_sha256(model)).encode()).hexdigest()
    home = out / f"embeddings-{key[:16]}{'-mirrored' * mirrored}"
    home.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in track(range(0, len(crops), BLOCK), "embed blocks of faces"):
        file = home / f"{start}.npy"
        if not file.exists():
            some = crops[start : start + BLOCK]
            block = embed_crops(model, some, 64, device)
            if mirrored:
                block += embed_crops(model, some[:, :, ::-1], 64, device)
                block /= np.linalg.norm(block, axis=1, keepdims=True)
            with atomic_path(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, block)
        parts.append(np.load(file))
    return np.concatenate(parts)


def measure(build: Path, embeddings: np.ndarray, params: Params, lists: Path) -> Measured:
    """Run all protocols on `embeddings` float32 (N, D) of the crops below `build`.

    Raises:
        FaceOpsError: a file is absent, a list names an unknown photo, or there are too few people.
    """
    verify, seed = params.verify, params.evaluate.seed
    splits = [read_split(build / "split/faces.parquet", name) for name in ("train", "val", "test")]

    def embedded(*parts: SplitFaces) -> EmbeddedFaces:
        rows, persons, paths = (
            np.concatenate([getattr(part, column) for part in parts])
            for column in ("rows", "persons", "paths")
        )
        return EmbeddedFaces(embeddings[rows], persons, paths)

    fewer = embedded(at_most(splits[0], verify.faces, verify.seed))
    val, everybody = embedded(splits[1]), embedded(splits[2])
    fitted = fit_verifier(fewer.embeddings, fewer.persons, val.embeddings, val.persons, verify)
    verifier = fitted.verifier
    thresholds = measure_thresholds(
        val.embeddings, val.persons, verifier, fitted.scores, verify, "validation people"
    )
    sources = photo_sources(build / "validate/manifest.parquet", everybody.paths)
    unseen = everybody.of(sources == LFW)
    cropped = read_columns(build / "crop/faces.parquet", ["path", "status"]).to_pylist()
    missing = tuple(row["path"] for row in cropped if row["status"] != ACCEPTED)
    chosen_on, scored = (read_pairs_list(lists / name) for name in LISTS)
    pairs, draws = params.evaluate.pairs, params.evaluate.pair_draws
    return Measured(
        view=lfw_view1(
            replace(embedded(*splits), missing=missing), verifier, chosen_on, scored, seed
        ),
        scan=scan_pairs(unseen, verifier, FARS),
        against=one_against_ten(unseen, verifier),
        pairs=random_pairs(unseen, verifier, pairs, seed, draws),
        held_out=(
            held_out_people(unseen, verifier, thresholds, 1, seed),
            held_out_people(unseen, verifier, thresholds, 2, seed),
        ),
        sources=source_figures(everybody, sources, verifier, params)
        if (sources != LFW).any()
        else [],
        verifier=f"{verifier.kind}, calibration {fitted.calibration.method}",
    )


def main() -> None:
    """Embed, measure, print."""
    options = parser(__doc__)
    options.add_argument("--build", type=Path, default=Path("build"))
    options.add_argument("--lists", type=Path, required=True, metavar="LFW")
    options.add_argument("--out", type=Path, required=True, help="keeps embeddings")
    options.add_argument("--mirrored", action="store_true")
    args = options.parse_args()
    params = read_params(Path("params.yaml"))
    device = choose_device(params.train.device)
    embeddings = embed(args.build, args.out, args.mirrored, device)
    measured = measure(args.build, embeddings, params, args.lists)
    # Nothing is published for images as small as those of NN2.
    published = {} if params.train.backbone == "facenet_nn2" else PUBLISHED
    print(table(measured.figures(published, params.evaluate.seed)))
    print(
        f"\nIdentification: {DRAWS} draws of {PEOPLE} DevTest people; mean and standard deviation"
        f" over draws. Open set: a threshold meant for FPIR {params.verify.default_budget:g}, set"
        f" on validation people. Verifier: {measured.verifier}."
    )
    if measured.sources:
        print("\nTest people of each source:\n\n" + table(measured.sources))
    print(f"\nTraining: {(args.build / 'train/train.json').read_text('utf-8')}")


if __name__ == "__main__":
    run(main)
