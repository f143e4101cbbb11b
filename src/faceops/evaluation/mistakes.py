"""The worst mistakes: the most similar impostor pairs, the least similar genuine pairs.

Wrong labels come first in both lists, so they are the first thing to check.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from faceops.base.files import write_csv
from faceops.evaluation.protocols.all_pairs import PairScan
from faceops.evaluation.report.document import shown_probability
from faceops.faces import crop_photos as sheets
from faceops.verification.embedded_faces import CropRows, EmbeddedFaces
from faceops.verification.pairs import genuine_pairs, score_pairs
from faceops.verification.verifier import Verifier, sigmoid

TWO_PEOPLE, ONE_PERSON = "two people", "one person"


@dataclass(frozen=True)
class MistakenPair:
    """Two photos and their score; crops uint8 (112, 112, 3)."""

    kind: str  # TWO_PEOPLE or ONE_PERSON, by the labels
    log_odds: float  # the negative squared distance without calibration
    similarity: str  # the same in words
    persons: tuple[str, str]
    paths: tuple[str, str]
    crops: tuple[np.ndarray | None, np.ndarray | None]


def worst_mistakes(
    faces: EmbeddedFaces, crops: np.ndarray | CropRows | None, verifier: Verifier,
    scan: PairScan, *, calibrated: bool, most: int = 25,
) -> list[MistakenPair]:  # fmt: skip
    """Return up to `most` pairs of each kind, those of two people first, the worst first.

    A photo is in one pair of a list, its worst: else one wrong label would fill the list. Pairs of
    two people are among the highest that `scan` of `faces` has kept. Without calibration the score
    of a pair is its negative squared distance.
    """
    highest = np.stack([scan.top.first, scan.top.second], axis=1).astype(np.int64)
    genuine = genuine_pairs(faces.persons)
    scores = score_pairs(faces.embeddings, genuine, verifier, log_odds=True)
    rising = np.argsort(scores, kind="stable")
    found = []
    for kind, pairs, log_odds in (
        (TWO_PEOPLE, highest, scan.top.score),
        (ONE_PERSON, genuine[rising], scores[rising]),
    ):
        for row in _photos_once(pairs, most):
            a, b = pairs[row]
            score = float(log_odds[row])
            similarity = f"distance {-score:.3f}"
            if calibrated:
                similarity = f"p {shown_probability(float(sigmoid(log_odds[row])))}"
            persons = (str(faces.persons[a]), str(faces.persons[b]))
            paths = (str(faces.paths[a]), str(faces.paths[b]))
            photos = (None, None) if crops is None else (crops[a], crops[b])
            found.append(MistakenPair(kind, score, similarity, persons, paths, photos))
    return found


def _photos_once(pairs: np.ndarray, most: int) -> Iterator[int]:
    """Yield the rows of the first `most` pairs that share no photo with one before them."""
    seen: set[int] = set()
    for row, pair in enumerate(pairs.tolist()):
        if len(seen) == 2 * most:
            return
        if seen.isdisjoint(pair):
            seen.update(pair)
            yield row


def write_mistakes_table(pairs: list[MistakenPair], path: Path) -> None:
    """Write a CSV of all pairs; of a calibrated model the scores are log odds."""
    header = ("labels", "score", "person", "path", "other_person", "other_path")
    rows = (
        (p.kind, f"{p.log_odds:.6g}", p.persons[0], p.paths[0], p.persons[1], p.paths[1])
        for p in pairs
    )
    write_csv(path, header, rows, errors="backslashreplace")


def write_mistake_sheets(pairs: list[MistakenPair], folder: Path) -> None:
    """Write mistakes_two_people.png and mistakes_one_person.png to `folder`."""
    for kind, name, title, note in (
        (TWO_PEOPLE, "two_people", "Two people, by their labels, with the most similar photos",
         "Left and right make a pair. Wrongly accepted at any lower threshold."),
        (ONE_PERSON, "one_person", "One person, by the labels, with the least similar photos",
         "Left and right make a pair. Wrongly refused at any higher threshold."),
    ):  # fmt: skip
        tiles = [tile for pair in pairs if pair.kind == kind for tile in _tiles(pair)]
        section = sheets.ThumbnailSection(f"{title}: {len(tiles) // 2} pairs", tiles, note)
        sheets.write_sheet(sheets.draw_sections([section]), folder / f"mistakes_{name}.png")


def _tiles(pair: MistakenPair) -> Iterator[sheets.Thumbnail]:
    colour = sheets.BAD if pair.kind == TWO_PEOPLE else sheets.GOOD
    for side, caption in enumerate((f"   {pair.similarity}", "")):
        crop = pair.crops[side]
        picture = None if crop is None else Image.fromarray(np.asarray(crop))
        number = PurePosixPath(pair.paths[side]).stem.rpartition("_")[2]
        yield sheets.Thumbnail(picture, pair.persons[side], f"{number}{caption}", colour)
