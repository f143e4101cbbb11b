"""Does the quality of a face predict the errors of recognition?

    python -m experiments.face_quality --bundle BUNDLE --work WORK --seen peopleDevTrain.txt
        lfw=DIR families=DIR pins=DIR

Error versus reject (Grother and Tabassi 2007): the quality of a genuine pair is that of its worse
photo, and the pairs of the lowest quality are rejected. A useful figure rejects those that fail: by
chance, 20 % of the pairs hold 20 % of the false non-matches. The threshold is that of all impostor
pairs of the set; each person counts alike; 95 % intervals over people at a fixed threshold and
fixed rejected pairs. `photos`: the worst 20 % of the photos are rejected instead, and with them all
their pairs, by chance 36 % of the false non-matches. `misses`: the share of the known people's
photos without their right name, at the release's budget in galleries of 100 people with two photos,
that are among the 20 % worst photos.

Of a set with people of the list `--seen` only the others are judged. `length` is that of the first
network's embedding before it is normalised.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import parser, run
from faceops.base.errors import FaceOpsError
from faceops.base.figures import threshold_at
from faceops.evaluation.protocols.album_scores import search_album
from faceops.evaluation.protocols.identification import draw_galleries
from faceops.release.evaluate.embed_photos import embed_photos, labelled_photos
from faceops.release.evaluate.measured_model import MeasuredModel, open_model
from faceops.verification.error_rates import percentile_interval, resampled_people
from faceops.verification.pairs import all_pair_scores, codes, genuine_pairs, genuine_weights
from faceops.verification.verifier import Verifier

REJECTED, FARS = 0.2, (1e-3, 1e-4)


@dataclass(frozen=True)
class Faces:
    """One set: embeddings float32 (N, D), people (N,), and by name the figures compared (N,).

    Higher figures are better.
    """

    name: str
    embeddings: np.ndarray
    persons: np.ndarray
    figures: dict[str, np.ndarray]

    def of(self, kept: np.ndarray) -> "Faces":
        """Return the faces `kept`, bool (N,)."""
        figures = {name: values[kept] for name, values in self.figures.items()}
        return Faces(self.name, self.embeddings[kept], self.persons[kept], figures)


def embed(model: MeasuredModel, name: str, data: Path, work: Path) -> Faces:
    """Embed the photos below `data`; faces and embeddings are kept in `work`."""
    photos = labelled_photos(data)
    found = embed_photos(model, photos, frozenset(), work, threads=1, duplicates=True)
    if np.isnan(found.lengths).any():
        raise FaceOpsError(
            f"{model.name} does not tell the lengths of embeddings; export it again."
        )
    figures = {
        "quality before embedding": np.array([one.overall for one in found.qualities]),
        "the detector's score": np.array([one.score for one in found.qualities]),
        "length": found.lengths,
        "quality after embedding": found.quality,
    }
    return Faces(name, found.faces.embeddings, found.faces.persons, figures)


@dataclass(frozen=True)
class GenuinePairs:
    """Genuine pairs int (P, 2), their weights, people, and whether they fail, (P,)."""

    rows: np.ndarray
    weight: np.ndarray
    person: np.ndarray
    failed: np.ndarray

    def rejected(self, quality: np.ndarray, *, photos: bool) -> np.ndarray:
        """Return bool (P,): the pairs rejected by the `quality` (N,) of their photos."""
        rank = quality.argsort(kind="stable").argsort(kind="stable")
        worse = rank[self.rows].min(1)
        if photos:
            used = np.sort(rank[np.unique(self.rows)])
            return worse < used[int(REJECTED * len(used))]
        order = worse.argsort(kind="stable")
        part = np.cumsum(self.weight[order]) <= REJECTED * self.weight.sum()
        rejected = np.zeros(len(order), bool)
        rejected[order[part]] = True
        return rejected

    def fnmr(self, kept: np.ndarray | None = None) -> float:
        """Return the false non-match rate, of the pairs `kept` bool (P,) where given."""
        weight = self.weight if kept is None else self.weight * kept
        return float(weight @ self.failed / weight.sum())

    def removed(self, rejected: np.ndarray) -> tuple[float, float, float]:
        """Return the share of false non-matches that are `rejected`, and its interval."""
        people = self.person.max() + 1
        errors = np.bincount(self.person, self.weight * self.failed, people)
        gone = np.bincount(self.person, self.weight * self.failed * rejected, people)
        drawn = resampled_people(people, 0, accept=lambda times: bool(times @ errors > 0))
        low, high = percentile_interval(
            np.array([(times @ gone) / (times @ errors) for times in drawn])
        )
        return float(gone.sum() / errors.sum()), low, high


def misses(model: MeasuredModel, faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """Return the known probes of five albums, rows int (P,), and whether they get no right name."""
    person = codes(faces.persons)
    able = np.flatnonzero(np.bincount(person) > 2)
    rows, missed = [], []
    draws = draw_galleries(
        person, able, min(100, len(able) // 2), gallery_photos=2, seed=0, draws=5
    )
    for draw in draws:
        found = search_album(
            faces.embeddings, draw.probes, draw.gallery, person[draw.gallery], model.verifier,
            model.thresholds,
        )  # fmt: skip
        rows.append(draw.probes[draw.known])
        missed.append(~(found.named & (found.person == person[draw.probes]))[draw.known])
    return np.concatenate(rows), np.concatenate(missed)


def judge(model: MeasuredModel, faces: Faces) -> None:
    """Print a row for each candidate and false accept rate."""
    plain = Verifier(np.full(faces.embeddings.shape[1], -1, np.float32), 0.0, "distance")
    scores = all_pair_scores(faces.embeddings, faces.persons, plain, log_odds=True)
    impostor = np.sort(scores.impostor)[::-1]
    rows, weight = genuine_pairs(faces.persons), genuine_weights(faces.persons)
    probes, missed = misses(model, faces)
    for far in FARS:
        failed = scores.genuine < threshold_at(impostor, far)
        pairs = GenuinePairs(rows, weight, codes(faces.persons)[rows[:, 0]], failed)
        for name, quality in faces.figures.items():
            rejected = pairs.rejected(quality, photos=False)
            share, low, high = pairs.removed(rejected)
            by_photos = pairs.removed(pairs.rejected(quality, photos=True))[0]
            worst = quality[probes] <= np.quantile(quality[probes], REJECTED)
            of_misses = f"{(missed & worst).sum() / missed.sum():.2f} of {missed.sum()}"
            print(
                f"| {faces.name}, FAR {far:g}, {name} | {pairs.fnmr():.4f} | "
                f"{pairs.fnmr(~rejected):.4f} | {share:.2f} ({low:.2f} to {high:.2f}) | "
                f"{by_photos:.2f} | {of_misses} |",
                flush=True,
            )


def main() -> None:
    """Embed and judge each set."""
    options = parser(__doc__)
    options.add_argument("sets", nargs="+", metavar="NAME=DIR")
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--seen", type=Path, required=True, help="names, one a line")
    args = options.parse_args()
    model = open_model(args.bundle)
    seen = [line.split("\t")[0] for line in args.seen.read_text("utf-8").splitlines()]
    print("| figure | FNMR | 20 % of pairs rejected | errors removed | photos | misses |")
    print("| --- " * 6 + "|")
    for text in args.sets:
        name, data = text.split("=", 1)
        faces = embed(model, name, Path(data), args.work)
        judge(model, faces.of(~np.isin(faces.persons, seen)))


if __name__ == "__main__":
    run(main)
