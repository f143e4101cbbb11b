"""Train on the people of LFW's DevTrain, report verification and identification on DevTest's.

    python -m experiments.lfw_training lfw_scratch --build build --lists LFW --out OUT

OVERLAY is a name in experiments/ (lfw_scratch, lfw_pretrained, lfw_nn2, lfw_pins_families) or a
YAML file; --set changes single keys. BUILD is the result of `faceops params use lfw_scratch && dvc
repro split`: LFW's aligned faces in its official split, with a tenth of DevTrain's people for
validation. LFW is the folder of pairsDevTrain.txt and pairsDevTest.txt. The tables are printed and
written to OUT.

DevTest is used for the final measurement only. Training people fit the network and the verifier;
validation people choose the epoch, calibrate, and set every threshold except that of View 1's
first row, which pairsDevTrain sets. With --mirrored an embedding is the mean of a crop's and its
mirror image's.

BUILD may have people of other sources too, see lfw_pins_families.yaml. The first table is of LFW's
test people, a second one of those of each source and of all.

With backbone `pretrained` and no epoch better than SFace on the validation people, the result is
SFace.

An interrupted run continues after its last epoch when it is started again with the same --out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments import parser, run
from experiments.training import (
    LFW,
    BuiltFaces,
    embed_faces,
    fit,
    read_build,
    read_settings,
    run_facts,
)
from faceops.base.errors import FaceOpsError
from faceops.base.figures import roc
from faceops.base.work import track
from faceops.config.sections import Params
from faceops.embedding.embedder import choose_device
from faceops.embedding.model_file import weights_sha256
from faceops.embedding.training.inputs import build_inputs
from faceops.embedding.training.training_loop import start_model
from faceops.evaluation.embedded_faces import EmbeddedFaces
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
from faceops.verification.fit import fit_verifier
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import codes
from faceops.verification.split_faces import SplitFaces, at_most
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from faceops.weights.fetch import weight_path

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
        varies = shown_interval(self.interval)
        if self.spread is not None:
            varies = f"± {self.spread:.4f}"
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

    def view_decisions(self, threshold: float) -> np.ndarray:
        """Return which pairs of pairsDevTest are decided rightly at `threshold`, bool (N,)."""
        right: np.ndarray = (self.view.test.scores >= threshold) == self.view.test.same
        return right

    def figures(self, published: dict[str, float], seed: int) -> list[Figure]:
        """Return the rows of the table; `published` gives the figures of others, by key."""
        test, one = self.view.test, self.against.figures(seed)
        all_pairs = pair_intervals(self.scan, FARS, seed).tar
        by_list, even_odds = self.view_decisions(self.view.threshold), self.view_decisions(0)
        balanced = np.array([correct.mean() for correct in self.pairs.correct(0.0)])

        def row(key: str, name: str, rates: np.ndarray) -> Figure:
            spread = float(rates.std(ddof=1))
            return Figure(name, float(rates.mean()), published.get(key), spread=spread)

        def view(name: str, right: np.ndarray) -> Figure:
            ours, known = float(right.mean()), published.get("accuracy")
            return Figure(name, ours, known, interval=test.interval(right, seed))

        first, second = self.held_out
        who = f"{PEOPLE} people, 1 gallery photo"
        return [
            view("View 1 accuracy, threshold of pairsDevTrain", by_list),
            view("View 1 accuracy, threshold of validation people", even_odds),
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


def measure(faces: BuiltFaces, embeddings: np.ndarray, params: Params, lists: Path) -> Measured:
    """Run all protocols on `embeddings` float32 (N, D) of `faces`.

    Raises:
        FaceOpsError: a list is absent or names an unknown photo, or there are too few people.
    """
    verify, seed = params.verify, params.evaluate.seed
    train, val, test = (np.flatnonzero(faces.splits == split) for split in ("train", "val", "test"))
    fewer = at_most(
        SplitFaces(train, faces.persons[train], faces.paths[train]), verify.faces, verify.seed
    )
    fitted = fit_verifier(
        embeddings[fewer.rows], fewer.persons, embeddings[val], faces.persons[val], verify
    )
    verifier = fitted.verifier
    thresholds = measure_thresholds(
        embeddings[val], faces.persons[val], verifier, fitted.scores, verify, "validation people"
    )
    all_faces = faces.embedded(embeddings)
    everybody = replace(all_faces.of(test), missing=())
    sources = faces.sources[test]
    unseen = everybody.of(sources == LFW)
    chosen_on, scored = (read_pairs_list(lists / name) for name in LISTS)
    pairs, draws = params.evaluate.pairs, params.evaluate.pair_draws
    return Measured(
        view=lfw_view1(all_faces, verifier, chosen_on, scored, seed),
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
    """Train, measure, print."""
    options = parser(__doc__)
    options.add_argument("overlay", metavar="OVERLAY")
    options.add_argument("--build", type=Path, default=Path("build"))
    options.add_argument("--lists", type=Path, required=True, metavar="LFW")
    options.add_argument("--out", type=Path, required=True, help="checkpoints, embeddings, tables")
    options.add_argument("--mirrored", action="store_true")
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = options.parse_args()
    params = read_settings(args.overlay, args.set, args.out)
    settings, seed = params.train, params.evaluate.seed
    device = choose_device(settings.device)
    faces = read_build(args.build)
    pretrained = settings.backbone == "pretrained"
    model = start_model(settings, weight_path("sface") if pretrained else None)
    mirrored = args.mirrored
    digests = (*faces.hashes, weights_sha256(model))
    train, val = faces.labelled("train"), faces.labelled("val")
    fitted = fit(
        model,
        lambda: build_inputs(model, train, val, settings, args.out, device),
        digests, settings, args.out,
    )  # fmt: skip
    embeddings = embed_faces(fitted.model, faces, args.out, device, mirrored)
    measured = measure(faces, embeddings, params, args.lists)
    published = {} if settings.backbone == "facenet_nn2" else PUBLISHED  # none at this size
    parts = [
        table(measured.figures(published, seed)),
        f"Identification: {DRAWS} draws of {PEOPLE} DevTest people; mean and standard deviation"
        " over draws. Open set: a threshold meant for FPIR"
        f" {params.verify.default_budget:g}, set on validation people."
        f" Verifier: {measured.verifier}. Mirror images: {'yes' if mirrored else 'no'}.",
    ]
    if measured.sources:
        parts += ["Test people of each source:", table(measured.sources)]
    name = Path(args.overlay).stem
    names = ", ".join(np.unique(faces.sources))
    seen = f"{names}, LFW's official split: {faces.counts()}. Nothing was fitted to or chosen on"
    seen += " test people."
    if pretrained:
        seen += " SFace was trained on photos of celebrities, possibly some of these people."
    facts = run_facts(seen, settings, fitted.facts, device)
    title = f"# LFW, {name}: DevTrain to DevTest"
    text = "\n\n".join([title, *parts, "\n".join(f"- {key}: {facts[key]}" for key in facts)])
    (args.out / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run(main)
