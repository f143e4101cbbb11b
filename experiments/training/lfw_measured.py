"""A model on LFW's people: all protocols of the LFW experiments, and two models compared."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.training.built_faces import BuiltFaces
from experiments.training.figures_table import Figure
from experiments.training.held_out_people import PEOPLE, UNKNOWN, HeldOut, held_out_people
from experiments.training.paired_gain import Gain, pairs_gain, search_gain, share_gain, tar_gains
from faceops.config import Params
from faceops.evaluation.closed_set import ClosedSet, closed_set
from faceops.evaluation.lfw_view1 import LfwView1, lfw_view1
from faceops.evaluation.one_against_ten import OneAgainstTen, one_against_ten
from faceops.evaluation.open_set import OpenSet, open_set
from faceops.evaluation.pair_intervals import pair_intervals
from faceops.evaluation.pair_scan import PairScan, scan_pairs
from faceops.evaluation.pairs_list import read_pairs_list
from faceops.evaluation.random_pairs import RandomPairs, random_pairs
from faceops.evaluation.roc import tar_at_far
from faceops.verification.configured_thresholds import configured_thresholds
from faceops.verification.fit import fit_verifier
from faceops.verification.pairs import codes
from faceops.verification.split_crops import SplitCrops, at_most

FAR = 0.01
FARS = (FAR, 1e-3)
GALLERY_PHOTOS = (1, 2)
LISTS = ("pairsDevTrain.txt", "pairsDevTest.txt")


@dataclass(frozen=True)
class Published:
    """What others publish of a figure, and what ours is to reach, if anything."""

    published: float
    aim: float | None = None
    above: bool = False


@dataclass(frozen=True)
class LfwMeasured:
    """What the protocols gave; people of DevTest only, but for thresholds."""

    view: LfwView1
    scan: PairScan  # all pairs of test photos
    ranks: ClosedSet  # among all test people
    against: OneAgainstTen
    pairs: RandomPairs
    held_out: list[HeldOut]  # by gallery photos
    search: OpenSet  # of half of all test people with two photos, one photo each
    verifier: str
    budget: float

    @property
    def listed_right(self) -> np.ndarray:
        """bool (N,): pairs of pairsDevTest.txt decided rightly by View 1's threshold."""
        right: np.ndarray = (self.view.test.scores >= self.view.threshold) == self.view.test.same
        return right

    @property
    def listed_right_at_even_odds(self) -> np.ndarray:
        """bool (N,): the same by the probability, which validation people calibrated."""
        right: np.ndarray = (self.view.test.scores >= 0) == self.view.test.same
        return right

    def figures(self, stated: dict[str, Published], seed: int) -> list[Figure]:
        """Return the rows of the table; `stated` gives what is published, by key."""
        test = self.view.test
        all_pairs = pair_intervals(self.scan, FARS, seed).tar
        one, first = self.against.figures(seed), self.held_out[0]
        means = [held.means() for held in self.held_out]

        def row(key: str, name: str, ours: float, **varies: object) -> Figure:
            known = stated.get(key)
            beside = (
                {"published": known.published, "aim": known.aim, "above": known.above}
                if known
                else {}
            )
            return Figure(name, ours, **beside, **varies)  # type: ignore[arg-type]

        def drawn(key: str, name: str, what: str, number: int = 0) -> Figure:
            rate = means[number][what]
            return row(key, name, rate["mean"], spread=rate["spread"])

        who = f"{PEOPLE} people, {first.gallery_photos} gallery photo"
        return [
            row("accuracy", "View 1 accuracy, threshold from pairsDevTrain", self.view.accuracy,
                interval=test.interval(self.listed_right, seed)),
            row("accuracy", "View 1 accuracy, threshold from validation people",
                float(self.listed_right_at_even_odds.mean()),
                interval=test.interval(self.listed_right_at_even_odds, seed)),
            row("tar", f"TAR at FAR {FAR:g}, pairs of pairsDevTest",
                tar_at_far(test.scores[test.same], test.scores[~test.same], FAR)),
            *(row("", f"TAR at FAR {far:g}, all pairs of test people", self.scan.roc.tar(far),
                  interval=all_pairs[far]) for far in FARS),
            drawn("rank_1", f"rank-1, {who}", "rank_1"),
            drawn("open_set", f"right name, open set, {who}", "identified"),
            drawn("", "the same at FPIR as promised, on these strangers", "identified_at_fpir"),
            *(drawn("", f"right name, open set, {held.gallery_photos} gallery photos",
                    "identified", number)
              for number, held in enumerate(self.held_out) if number),
            row("against", "1 positive against 10 negatives", one["accuracy"],
                interval=one["accuracy_interval"]),
            row("verifier", "balanced verification accuracy, even odds",
                float(self.pairs.accuracy(0.0).mean()),
                spread=float(self.pairs.accuracy(0.0).std(ddof=1))),
        ]  # fmt: skip

    def told(self) -> str:
        """Return the protocol of the identification rows in words."""
        named = ", ".join(
            f"{held.means()['strangers_named']['mean']:.4f} with {held.gallery_photos} gallery"
            f" photo{'s' * (held.gallery_photos > 1)}"
            for held in self.held_out
        )
        return (
            f"Identification: {len(self.held_out[0].rank_1)} draws of {PEOPLE} DevTest people,"
            " seeded, of those with more photos than the gallery takes; mean and deviation over"
            " draws. Rank-1: the first photo of each is enrolled, all others are probes. Open"
            " set: half of the people are enrolled, the photos of the others are strangers; a"
            f" name is given at the threshold that validation people set for {self.budget:g} of"
            " strangers named, with the release's lead over the runner-up. Strangers named in"
            f" fact: {named}. Verifier: {self.verifier}, fitted on training people, calibrated"
            " and its thresholds set on validation people."
        )


def measure_lfw(
    faces: BuiltFaces, embeddings: np.ndarray, params: Params, lists: Path
) -> LfwMeasured:
    """Run all protocols on `embeddings` float32 (N, D) of `faces`.

    Raises:
        FaceOpsError: a list is not there or names a photo that is not, or too few people.
    """
    verify, seed = params.verify, params.evaluate.seed
    parts = {split: np.flatnonzero(faces.splits == split) for split in ("train", "val", "test")}
    train, val, test = parts["train"], parts["val"], parts["test"]
    fewer = at_most(SplitCrops(train, faces.persons[train]), verify.faces, verify.seed)
    fit = fit_verifier(
        embeddings[fewer.crops], fewer.persons, embeddings[val], faces.persons[val], verify
    )
    thresholds = configured_thresholds(
        embeddings[val], faces.persons[val], fit.verifier, fit.scores, verify
    )
    all_faces = faces.embedded(embeddings)
    unseen = replace(all_faces.of(test), missing=())
    chosen_on, scored = (read_pairs_list(lists / name) for name in LISTS)
    return LfwMeasured(
        view=lfw_view1(all_faces, fit.verifier, chosen_on, scored, seed),
        scan=scan_pairs(unseen, fit.verifier, FARS),
        ranks=closed_set(unseen, fit.verifier),
        against=one_against_ten(unseen, fit.verifier),
        pairs=random_pairs(
            unseen, fit.verifier, params.evaluate.pairs, seed, params.evaluate.draws
        ),
        held_out=[
            held_out_people(unseen, fit.verifier, thresholds, gallery_photos=number, seed=seed)
            for number in GALLERY_PHOTOS
        ],
        search=open_set(
            unseen, fit.verifier, thresholds, gallery_photos=1, unknown_share=UNKNOWN, seed=seed
        ),
        verifier=f"{fit.verifier.kind}, {fit.calibration.method}",
        budget=thresholds.default_budget,
    )


def compared(old: LfwMeasured, new: LfwMeasured, seed: int) -> list[Gain]:
    """Return each figure of two models on the same people, new minus old."""
    test = new.view.test
    drawn = [
        (pairs.first, pairs.second, (before >= 0) == pairs.same, (after >= 0) == pairs.same)
        for pairs, before, after in zip(
            new.pairs.draws, old.pairs.scores, new.pairs.scores, strict=True
        )
    ]
    first, second, before, after = (np.concatenate(part) for part in zip(*drawn, strict=True))
    whose = new.pairs.person
    people = np.arange(len(new.against.chances))
    return [
        pairs_gain("View 1 accuracy", old.listed_right, new.listed_right,
                   test.first_person, test.second_person, seed),
        *tar_gains("all pairs of test people", old.scan, new.scan, FARS, seed),
        share_gain("rank-1 among all test people", old.ranks.ranks == 1, new.ranks.ranks == 1,
                   codes(new.ranks.probe_person), seed),
        share_gain("1 positive against 10 negatives", old.against.chances, new.against.chances,
                   people, seed),
        pairs_gain("balanced verification accuracy", before, after, whose[first], whose[second],
                   seed),
        search_gain(f"right name at FPIR {FAR:g}, {new.search.known_people} of all test people"
                    " enrolled with 1 photo", old.search, new.search, FAR, seed),
    ]  # fmt: skip
