"""The worst mistakes: pairs of two people that look alike most, of one person that do least.

Wrong labels stand at the top of both lists, so they are the first thing to look at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from faceops.base.tables import write_csv
from faceops.evaluation.embedded_faces import CropRows, EmbeddedFaces
from faceops.evaluation.figures import shown_probability
from faceops.evaluation.protocols.all_pairs import PairScan
from faceops.faces.contact_sheets import BAD, GOOD, Section, Tile, draw_sections, write_sheet
from faceops.verification.pairs import genuine_pairs, score_pairs
from faceops.verification.verifier import Verifier, sigmoid

MOST = 25


@dataclass(frozen=True)
class Mistakes:
    """Pairs of rows int (K, 2) and their log odds float32 (K,), the worst first."""

    two_people: np.ndarray
    two_people_log_odds: np.ndarray
    one_person: np.ndarray
    one_person_log_odds: np.ndarray


def worst_mistakes(
    faces: EmbeddedFaces, verifier: Verifier, scan: PairScan, most: int = MOST
) -> Mistakes:
    """Return up to `most` pairs of each kind.

    A photo stands in one pair of a list, its worst: else one wrong label would fill the list.
    Those of two people are among the highest pairs that `scan` of `faces` has kept.
    """
    top = np.stack([scan.top.first, scan.top.second], axis=1).astype(np.int64)
    genuine = genuine_pairs(faces.persons)
    scores = score_pairs(faces.embeddings, genuine, verifier, log_odds=True)
    order = np.argsort(scores, kind="stable")
    alike, unlike = _photos_once(top, most), order[_photos_once(genuine[order], most)]
    return Mistakes(
        two_people=top[alike],
        two_people_log_odds=scan.top.score[alike],
        one_person=genuine[unlike],
        one_person_log_odds=scores[unlike],
    )


def _photos_once(pairs: np.ndarray, most: int) -> np.ndarray:
    """Return positions int (K,) of the first pairs that share no photo with one before them."""
    seen: set[int] = set()
    kept: list[int] = []
    for position, (first, second) in enumerate(pairs.tolist()):
        if len(kept) == most:
            break
        if first not in seen and second not in seen:
            kept.append(position)
            seen |= {first, second}
    return np.array(kept, np.int64)


TWO_PEOPLE, ONE_PERSON = "two people", "one person"


@dataclass(frozen=True)
class Pair:
    """Two photos and how alike they are, in words; crops uint8 (112, 112, 3)."""

    kind: str  # TWO_PEOPLE or ONE_PERSON, by the labels
    log_odds: float
    likeness: str
    persons: tuple[str, str]
    paths: tuple[str, str]
    crops: tuple[np.ndarray | None, np.ndarray | None]


def mistaken_pairs(
    faces: EmbeddedFaces,
    crops: np.ndarray | CropRows | None,
    mistakes: Mistakes,
    *,
    calibrated: bool,
) -> list[Pair]:
    """Return the pairs of both lists, those of two people first.

    Without calibration the score of a pair is its negative squared distance and no log odds.
    """
    return [
        Pair(
            kind,
            float(score),
            _likeness(float(score), calibrated),
            (str(faces.persons[a]), str(faces.persons[b])),
            (str(faces.paths[a]), str(faces.paths[b])),
            (None, None) if crops is None else (crops[a], crops[b]),
        )
        for kind, pairs, scores in (
            (TWO_PEOPLE, mistakes.two_people, mistakes.two_people_log_odds),
            (ONE_PERSON, mistakes.one_person, mistakes.one_person_log_odds),
        )
        for (a, b), score in zip(pairs, scores, strict=True)
    ]


def write_mistakes_table(pairs: list[Pair], path: Path) -> None:
    """Write a CSV of all pairs; of a calibrated model the scores are log odds."""
    header = ("labels", "score", "person", "path", "other_person", "other_path")
    rows = (
        (pair.kind, f"{pair.log_odds:.6g}", person, first, other, second)
        for pair in pairs
        for (person, other), (first, second) in [(pair.persons, pair.paths)]
    )
    write_csv(path, header, rows, errors="backslashreplace")


def write_mistake_sheets(pairs: list[Pair], folder: Path) -> None:
    """Write mistakes_two_people.png and mistakes_one_person.png to `folder`."""
    for kind, name, title, note in (
        (TWO_PEOPLE, "two_people", "Two people, by their labels, who look alike most",
         "Left and right make a pair. Accepted wrongly where the threshold lies below."),
        (ONE_PERSON, "one_person", "One person, by the labels, whose photos look alike least",
         "Left and right make a pair. Refused wrongly where the threshold lies above."),
    ):  # fmt: skip
        tiles = [tile for pair in pairs if pair.kind == kind for tile in _tiles(pair)]
        sheet = draw_sections([Section(f"{title}: {len(tiles) // 2} pairs", tiles, note)])
        write_sheet(sheet, folder / f"mistakes_{name}.png")


def _tiles(pair: Pair) -> Iterator[Tile]:
    colour = BAD if pair.kind == TWO_PEOPLE else GOOD
    for person, path, crop, end in zip(
        pair.persons, pair.paths, pair.crops, (f"   {pair.likeness}", ""), strict=True
    ):
        picture = None if crop is None else Image.fromarray(np.asarray(crop))
        yield Tile(picture, person, f"{_number(path)}{end}", colour)


def _likeness(score: float, calibrated: bool) -> str:
    if not calibrated:
        return f"distance {-score:.3f}"
    return f"p {shown_probability(float(sigmoid(np.array([score]))[0]))}"


def _number(path: str) -> str:
    return PurePosixPath(path).stem.rpartition("_")[2]
