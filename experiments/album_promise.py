"""Is the budget of strangers kept in albums that nothing was calibrated on?

    python -m experiments.album_promise --bundle build/export --work WORK lfw=DIR pins=DIR ...
    python -m experiments.album_promise ... --table sizes | coverage | children | relatives | bands

Sets of labelled photos (person/photo). Leave one out: thresholds for a set are calibrated on the
other sets only, for the release's embedder and verifier. Each person is in the half `choose`, on
which constants of the method were chosen, or in `judge` (--half; all: both). An album is a set
without its labels: people are enrolled from random photos, all their other photos and everybody
else's are to be named. `raw` is the threshold that the release itself has for its gallery size
without looking at the album. DIR is the share of known people's photos that get the right name, at
a true budget where the threshold is chosen with the labels (`at best`).

`bands` are the quarters of an album's photos by the quality of the face, the worst first: is the
budget kept in each? A band is kept, undecided or broken as in `album_scores`, by an interval
over people.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import parser, run
from faceops.base.errors import FaceOpsError
from faceops.evaluation.protocols.album_scores import draw_galleries, search_album, verdict
from faceops.release.evaluate.embed_photos import embed_photos, labelled_photos
from faceops.release.evaluate.measured_model import MeasuredModel, open_model
from faceops.verification.error_rates import share_interval
from faceops.verification.measure_thresholds import measure_normalisation
from faceops.verification.pairs import codes
from faceops.verification.thresholds import Thresholds

BUDGET, CHILD, AGES = 0.01, 13, "estimated_ages.csv"


@dataclass(frozen=True)
class Faces:
    """One set: embeddings float32 (N, D); person, path (text) and quality of each face, (N,)."""

    name: str
    embeddings: np.ndarray
    persons: np.ndarray
    paths: np.ndarray
    quality: np.ndarray

    def where(self, rows: np.ndarray) -> "Faces":
        """Return the faces `rows`."""
        columns = self.embeddings, self.persons, self.paths, self.quality
        return Faces(self.name, *(column[rows] for column in columns))

    def half(self, which: str) -> "Faces":
        """Return the people of `choose`, `judge` or `all`; members of a family stay together."""
        families = [person.partition("_MID")[0] for person in self.persons.tolist()]
        judged = np.array([hashlib.sha256(key.encode()).digest()[0] & 1 for key in families])
        return self if which == "all" else self.where(np.flatnonzero(judged == (which == "judge")))


def calibrate(model: MeasuredModel, sets: list[Faces]) -> Thresholds:
    """Return the release's thresholds with the normalisation that `sets` give."""
    assert model.thresholds is not None  # of a release
    found = measure_normalisation(
        np.concatenate([one.embeddings for one in sets]),
        np.concatenate([np.char.add(one.name + "/", one.persons) for one in sets]),
        model.verifier,
        model.thresholds.pair_tail,
        np.repeat([one.name for one in sets], [len(one.persons) for one in sets]),
    )
    return model.thresholds.model_copy(update={"normalisation": found})


@dataclass(frozen=True)
class Outcome:
    """Rates of one album: FPIR and DIR, raw and with the album's threshold, and its interval."""

    raw_fpir: float
    raw_dir: float
    fpir: float
    dir: float
    best_dir: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        """Whether the album's interval has the true FPIR; True where it cannot say."""
        return bool(np.isnan(self.low) or self.low <= self.fpir <= self.high)


def albums(
    model: MeasuredModel, faces: Faces, thresholds: Thresholds, enrolled: int, photos: int,
    size: int | None, draws: int,
) -> Iterator[Outcome]:  # fmt: skip
    """Yield the outcomes of `draws` albums of at most `size` faces with `enrolled` people."""
    person = codes(faces.persons)
    able = np.flatnonzero(np.bincount(person) > photos)
    enrolled = min(enrolled, len(able) // 2)
    for seed in range(draws):
        (draw,) = draw_galleries(person, able, enrolled, gallery_photos=photos, seed=seed, draws=1)
        probes = np.sort(np.random.default_rng(seed).permutation(draw.probes)[:size])
        search = (faces.embeddings, probes, draw.gallery, person[draw.gallery], model.verifier)
        known, whose = np.isin(person[probes], person[draw.gallery]), person[probes]
        rates: list[float] = []
        for one in (thresholds.model_copy(update={"normalisation": None}), thresholds):
            result = search_album(*search, one)
            right = result.person == whose
            rates += [result.named[~known].mean(), (result.named & right)[known].mean()]
        strangers = np.sort(result.best[~known])[::-1]
        at_best = strangers[int(BUDGET * len(strangers))]
        right_at_best = ((result.best > at_best) & right)[known].mean()
        found = result.threshold
        assert found is not None
        ends = (np.nan, np.nan) if found.low is None else (found.low, found.high)
        yield Outcome(*map(float, (*rates, right_at_best, *ends)))


def show(title: str, outcomes: list[Outcome]) -> None:
    """Print one row of a table: means over the albums."""
    names = ("raw_fpir", "raw_dir", "fpir", "dir", "best_dir", "low", "high")
    means = [np.nanmean([getattr(one, name) for one in outcomes]) for name in names]
    raw, raw_dir, fpir, right, best, low, high = means
    error = np.std([one.fpir for one in outcomes]) / np.sqrt(len(outcomes))
    covered = np.mean([one.covered for one in outcomes])
    cells = f"{raw:.2%} | {raw_dir:.3f} | {fpir:.2%} ± {error:.2%} | {right:.3f} | {best:.3f}"
    print(f"| {title} | {cells} | {low:.2%} to {high:.2%} | {covered:.0%} |", flush=True)


HEAD = (
    "| album | raw: strangers named | right names | now: strangers named | right names | at best "
    "| its own estimate | covered |\n" + "| --- " * 8 + "|"
)


def main() -> None:
    """Embed, calibrate without each set in turn, print a table."""
    options = parser(__doc__)
    options.add_argument("sets", nargs="+", metavar="NAME=DIR")
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--half", choices=("choose", "judge", "all"), default="judge")
    tables = ("main", "sizes", "coverage", "children", "relatives", "bands")
    options.add_argument("--table", choices=tables, default="main")
    options.add_argument("--draws", type=int, default=5)
    args = options.parse_args()
    model = open_model(args.bundle)
    if model.thresholds is None:
        raise FaceOpsError(f"{args.bundle} is not a release with thresholds.")
    named = dict(text.split("=", 1) for text in args.sets)
    sets = {}
    for name, data in named.items():
        there = labelled_photos(Path(data))
        found = embed_photos(model, there, frozenset(), args.work, threads=2, duplicates=True)
        one = found.faces
        sets[name] = Faces(name, one.embeddings, one.persons, one.paths, found.quality)
    print(BAND_HEAD if args.table == "bands" else HEAD)
    for name, whole in sets.items():
        others = [one.half("choose") for other, one in sets.items() if other != name]
        thresholds = calibrate(model, others)
        faces = whole.half(args.half)
        if args.table == "relatives":
            for photos in (1, 2) if "_MID" in faces.persons[0] else ():
                relatives(model, faces, thresholds, photos, args.draws)
            continue
        if args.table == "bands":
            bands(model, faces, thresholds, args.draws)
            continue
        for title, enrolled, photos, size in table(args.table, name, faces, Path(named[name])):
            draws = 100 if args.table == "coverage" else args.draws
            chosen = faces
            if args.table == "children":
                chosen = faces.where(np.flatnonzero(children(faces, Path(named[name]) / AGES)))
            show(title, list(albums(model, chosen, thresholds, enrolled, photos, size, draws)))


def relatives(
    model: MeasuredModel, faces: Faces, thresholds: Thresholds, photos: int, draws: int
) -> None:
    """Enrol all members of 40 families (person folders F0001_MID1, ...); print wrong names."""
    person = codes(faces.persons)
    family = np.array([name.partition("_MID")[0] for name in np.unique(faces.persons).tolist()])
    counts = np.zeros((2, 5))
    for seed in range(draws):
        chosen = np.random.default_rng(seed).permutation(np.unique(family))[:40]
        able = np.flatnonzero((np.bincount(person) > photos) & np.isin(family, chosen))
        (draw,) = draw_galleries(person, able, len(able), gallery_photos=photos, seed=seed, draws=1)
        whose, enrolled = person[draw.probes], person[draw.gallery]
        raw = thresholds.model_copy(update={"normalisation": None})
        for row, one in enumerate((raw, thresholds)):
            found = search_album(
                faces.embeddings, draw.probes, draw.gallery, enrolled, model.verifier, one
            )
            wrong = found.named & draw.known & (found.person != whose)
            related = wrong & (family[found.person] == family[whose])
            right = found.named & draw.known & (found.person == whose)
            strangers = found.named & ~draw.known
            counts[row] += [right.sum(), wrong.sum(), related.sum(), draw.known.sum(), 0]
            counts[row, 4] += strangers.sum() / (~draw.known).sum() / draws
    for name, (right, wrong, related, known, strangers) in zip(
        ("before", "now"), counts, strict=True
    ):
        print(
            f"| {faces.name}, 40 families x {photos}, {name} | right names {right / known:.3f} | "
            f"wrong names {wrong:.0f} of {known:.0f} | of relatives {related:.0f} | "
            f"strangers named {strangers:.2%} |",
            flush=True,
        )


BANDS = ("worst quarter", "second", "third", "best quarter")
BAND_HEAD = (
    "| album, band | quality, median | strangers named | verdict | right names |\n"
    + "| --- " * 5
    + "|"
)


def bands(model: MeasuredModel, faces: Faces, thresholds: Thresholds, draws: int) -> None:
    """Print the rates of the quarters of the probes by quality: 100 people, two photos each."""
    person = codes(faces.persons)
    able = np.flatnonzero(np.bincount(person) > 2)
    enrolled = min(100, len(able) // 2)
    parts = []
    for draw in draw_galleries(person, able, enrolled, gallery_photos=2, seed=0, draws=draws):
        probes, whose = draw.probes, person[draw.probes]
        gallery = draw.gallery, person[draw.gallery]
        found = search_album(faces.embeddings, probes, *gallery, model.verifier, thresholds)
        quality = faces.quality[probes]
        band = np.searchsorted(np.quantile(quality, (0.25, 0.5, 0.75)), quality, side="right")
        right = found.named & (found.person == whose)
        parts.append((whose, quality, band, draw.known, found.named, right))
    whose, quality, band, known, named, right = map(np.concatenate, zip(*parts, strict=True))
    for number, title in enumerate(BANDS):
        strangers, own = (band == number) & ~known, (band == number) & known
        rate = float(named[strangers].mean())
        ends = share_interval(named[strangers], whose[strangers], seed=0)
        cells = f"{rate:.2%} ({ends['low']:.2%} to {ends['high']:.2%})"
        middle = np.median(quality[band == number])
        print(
            f"| {faces.name}, {enrolled} people x 2, {title} | {middle:.2f} | {cells} "
            f"| {verdict(rate, ends['low'], BUDGET)} | {right[own].mean():.3f} |",
            flush=True,
        )


Row = tuple[str, int, int, int | None]  # title, people enrolled, photos of each, faces at most


def table(which: str, name: str, faces: Faces, data: Path) -> list[Row]:
    """Return the rows of a table for one set."""
    if which == "children":
        title = f"{name}, estimated age under {CHILD}"
        return [(title, 50, 1, None)] if (data / AGES).is_file() else []
    if which == "coverage":
        return [(f"{name}, 1,000 faces, 30 people x 2", 30, 2, 1000)]
    if which == "sizes":
        return [
            (f"{name}, {size:,} faces, {enrolled} people x {photos}", enrolled, photos, size)
            for size in (200, 2000, 13_000)
            for enrolled in (10, 50, 200)
            for photos in (1, 2, 5)
        ]
    count = len(faces.persons)
    return [(f"{name}, {count:,} faces, {n} people x 2", n, 2, None) for n in (100, 20)]


def children(faces: Faces, ages: Path) -> np.ndarray:
    """Return bool (N,): the estimated age is below `CHILD`."""
    with ages.open(encoding="utf-8", newline="") as file:
        young = {row["photo"] for row in csv.DictReader(file) if int(row["estimated_age"]) < CHILD}
    return np.isin(faces.paths, list(young))


if __name__ == "__main__":
    run(main)
