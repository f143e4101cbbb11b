"""What a person's score is made of: right names at a true FPIR with 1, 2 and 5 enrolled photos.

    python -m experiments.scores --work WORK lfw=DIR pins=DIR families=DIR
    python -m experiments.scores ... --only lfw=peopleDevTest.txt --enrolled 1000

Folders of labelled photos (person/photo). A table is of the half `judge` of a set's people, see
`album_promise`; with --only of the people of a list. Half of those who have more photos than are
enrolled, at most --enrolled, are enrolled, everything else is to be named. Printed are the right
names where labels choose the threshold that names 1 % and .1 % of strangers' photos, and how many
times as many pairs of a stranger and an enrolled person reach a fixed score with 2 and 5 photos as
with 1. Scores are normalised with one face of each of 1,500 people, by the labels; the mean
embeddings, of which SFace's is subtracted, are of the other sets' half `choose`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from experiments import parser, run
from experiments.album_promise import Faces
from experiments.embedders import distance, embed_folder, joined, mean_sface
from faceops.base.errors import UsageError
from faceops.base.figures import roc
from faceops.base.work import track
from faceops.config.sections import Export
from faceops.dataset.names import read_people_list
from faceops.evaluation.protocols.identification import draw_galleries
from faceops.verification.normalisation import Cohort, Normalisation, mean_rows, unit
from faceops.verification.pairs import codes
from faceops.verification.verifier import Part, Verifier

PHOTOS, FPIRS, COHORT, SKIPPED, PAIR_RATE = (1, 2, 5), (0.01, 0.001), 1500, 10, 1e-3


@dataclass(frozen=True, eq=False)
class Comparison:
    """Faces of one set, float32 (N, D), compared as they are or normalised with a cohort.

    `normalisation` has the mean embedding and the networks; nothing else of it is used.
    """

    embeddings: np.ndarray
    normalisation: Normalisation
    cohort: Cohort | None

    @cached_property
    def verifier(self) -> Verifier:
        """Compares the rows that `describe` returns."""
        return distance(self.embeddings.shape[1]) if self.cohort is None else self.cohort.verifier

    @cached_property
    def described(self) -> np.ndarray:
        """All faces, described."""
        return self.describe(self.embeddings)

    def describe(self, embeddings: np.ndarray) -> np.ndarray:
        """Return what `verifier` compares, float32 (N, ...)."""
        return embeddings if self.cohort is None else self.cohort.describe(embeddings)

    def scores(self, probes: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield ways to score a person, and the scores float32 (P, people).

        `probes` int (P,) and `gallery` int (people, photos) are rows.
        """
        people, photos = gallery.shape
        rows, own = gallery.ravel(), np.repeat(np.arange(people), photos)
        faces, enrolled = self.described[probes], self.embeddings[rows]
        each = self.verifier.logit_matrix(faces, self.described[rows])
        nearest = each.reshape(len(probes), people, photos).max(2)
        means = mean_rows(enrolled, own)
        of_length_1 = np.concatenate(
            [share**0.5 * unit(means[:, at]) for at, share in self.normalisation.columns], axis=1
        )
        templates = self.normalisation.templates(enrolled, own)
        mean, template = (
            self.verifier.logit_matrix(faces, self.describe(one))
            for one in (of_length_1, templates)
        )
        yield "nearest face", nearest
        yield "mean of length 1", mean
        yield "nearest and mean, averaged", (nearest + mean) / 2
        yield "template", template
        yield "nearest and template, averaged", (nearest + template) / 2


def comparisons(faces: Faces, others: np.ndarray, share: float) -> dict[str, Comparison]:
    """Return the comparisons of a table; `others` float32 (M, D) give the mean embeddings."""
    mean = mean_sface(others)
    one_each = np.unique(codes(faces.persons), return_index=True)[1]
    cohort = np.random.default_rng(0).permutation(one_each)[:COHORT]

    def of(
        share: float, *parts: Part, normalised: bool = True, mean: np.ndarray | float = mean
    ) -> Comparison:
        embeddings = joined(faces.embeddings, share, mean)
        centre = joined(others, share, mean).mean(axis=0)
        known = Normalisation(
            parts=list(parts), weight=[-1.0] * len(centre), centre=centre.tolist(),
            link=0, scale=1, shift=0, shape=[], populations=[],
        )  # fmt: skip
        people = Cohort(known, embeddings[cohort], SKIPPED) if normalised else None
        return Comparison(embeddings, known, people)

    parts = Part(128, 1 - share), Part(128, share)
    return {
        "SFace, cosine": of(0, normalised=False),
        "joined, cosine": of(share, normalised=False),
        "SFace, normalised": of(0),
        "joined, normalised as one": of(share),
        "joined, each normalised": of(share, *parts),
        "the same, not centred": of(share, *parts, mean=0.0),
    }


def galleries(
    person: np.ndarray, photos: int, more_than: int, enrolled: int, draws: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows: probes int (P,) and gallery int (people, `photos`) of people in rising order.

    Drawn are half of those with more than `more_than` photos, at most `enrolled`. One draw has the
    same people for all numbers of photos, and of each the same photos first.
    """
    able = np.flatnonzero(np.bincount(person) > more_than)
    for seed in range(draws):
        (draw,) = draw_galleries(
            person, able, min(enrolled, len(able) // 2), gallery_photos=photos, seed=seed, draws=1
        )
        rows = draw.gallery[np.argsort(person[draw.gallery], kind="stable")]
        yield draw.probes, rows.reshape(-1, photos)


def right_names(scores: np.ndarray, whose: np.ndarray, enrolled: np.ndarray) -> list[float]:
    """Return DIR at each of `FPIRS`; scores (P, people), `whose` (P,), `enrolled` (people,)."""
    best, known = scores.max(axis=1), np.isin(whose, enrolled)
    right = known & (enrolled[scores.argmax(axis=1)] == whose)
    curve = roc(best[right], best[~known])
    return [curve.tar(fpir) * right.sum() / known.sum() for fpir in FPIRS]


def measure(
    compared: Comparison, person: np.ndarray, enrolled: int, draws: int
) -> dict[str, list[np.ndarray]]:
    """Return by way: mean DIR (2,) with each of `PHOTOS`, and the strangers (2,) with 2 and 5."""
    rates: dict[str, list[np.ndarray]] = {}
    for photos in PHOTOS:
        found: dict[str, list[list[float]]] = {}
        for probes, gallery in galleries(person, photos, photos, enrolled, draws):
            for way, scores in compared.scores(probes, gallery):
                rate = right_names(scores, person[probes], person[gallery[:, 0]])
                found.setdefault(way, []).append(rate)
        for way, values in found.items():
            rates.setdefault(way, []).append(np.mean(values, axis=0))
    more: dict[str, list[list[float]]] = {way: [] for way in rates}
    drawn = [galleries(person, photos, max(PHOTOS), enrolled, draws) for photos in PHOTOS]
    for several in zip(*drawn, strict=True):
        strangers = np.flatnonzero(~np.isin(person, person[several[0][1]]))
        counted = [compared.scores(strangers, gallery) for _, gallery in several]
        for (way, single), *others in zip(*counted, strict=True):
            cut = np.quantile(single, 1 - PAIR_RATE)
            more[way].append([(one >= cut).mean() / PAIR_RATE for _, one in others])
    return {way: [*rates[way], np.mean(more[way], axis=0)] for way in rates}


def main() -> None:
    """Embed, compare, print a table for each set."""
    options = parser(__doc__)
    options.add_argument("sets", nargs="+", metavar="NAME=DIR")
    options.add_argument(
        "--only", metavar="NAME=LIST", help="people of one set, and only its table"
    )
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--enrolled", type=int, default=100, help="people at most")
    options.add_argument("--draws", type=int, default=5)
    args = options.parse_args()
    folders = dict(text.split("=", 1) for text in args.sets)
    only, _, people = (args.only or "").partition("=")
    if len(folders) < 2 or (only and only not in folders):
        raise UsageError("Name two sets or more; --only takes the name of one of them.")
    sets = {}
    for name, data in folders.items():
        photos = embed_folder(Path(data), args.work)
        found = photos.faces
        sets[name] = Faces(name, found.embeddings, found.persons, found.paths, photos.quality)
    for name in [only] if only else sets:
        chosen = [other.half("choose") for key, other in sets.items() if key != name]
        others = [one.embeddings[np.unique(one.persons, return_index=True)[1]] for one in chosen]
        faces = sets[name].half("judge")
        if only:
            faces = sets[name].where(np.isin(sets[name].persons, read_people_list(Path(people))))
        if not len(faces.persons):
            raise UsageError(f"Nobody of {people or 'the half judge'} is in the set {name}.")
        person = codes(faces.persons)
        print(f"\n{name}: {len(person):,} photos of {person.max() + 1:,} people\n")
        print(
            "| score | a person's | 1 photo | 2 | 5 | strangers with 2, 5 |\n" + "| --- " * 6 + "|"
        )
        table = comparisons(faces, np.concatenate(others), Export().dlib_share)
        for score, compared in track(table.items(), "comparisons"):
            for way, values in measure(compared, person, args.enrolled, args.draws).items():
                cells = [" / ".join(f"{rate:.3f}" for rate in pair) for pair in values[:-1]]
                cells.append(", ".join(f"{times:.2f}" for times in values[-1]))
                print(f"| {score} | {way} | {' | '.join(cells)} x |", flush=True)


if __name__ == "__main__":
    run(main)
