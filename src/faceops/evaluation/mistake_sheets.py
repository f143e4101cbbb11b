"""The worst mistakes as two contact sheets, and as a table with every path."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from faceops.base.tables import write_csv
from faceops.evaluation.crop_rows import CropRows
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.mistakes import Mistakes
from faceops.evaluation.shown import shown_probability
from faceops.faces.tile_sheet import BAD, GOOD, Section, Tile, draw_sections, write_sheet
from faceops.verification.verifier import sigmoid

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
