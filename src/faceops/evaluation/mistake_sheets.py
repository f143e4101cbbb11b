"""The worst mistakes as two contact sheets, and as a table with every path."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.mistakes import Mistakes
from faceops.evaluation.shown import shown_probability
from faceops.faces.tile_sheet import BAD, GOOD, Section, Tile, draw_sections, write_sheet

TWO_PEOPLE, ONE_PERSON = "two people", "one person"


@dataclass(frozen=True)
class Pair:
    """Two photos and the probability that they show one person; crops uint8 (112, 112, 3)."""

    kind: str  # TWO_PEOPLE or ONE_PERSON, by the labels
    probability: float
    persons: tuple[str, str]
    paths: tuple[str, str]
    crops: tuple[np.ndarray | None, np.ndarray | None]


def mistaken_pairs(faces: EmbeddedFaces, mistakes: Mistakes) -> list[Pair]:
    """Return the pairs of both lists, those of two people first."""
    return [
        Pair(
            kind,
            float(probability),
            (str(faces.persons[a]), str(faces.persons[b])),
            (str(faces.paths[a]), str(faces.paths[b])),
            (None, None) if faces.crops is None else (faces.crops[a], faces.crops[b]),
        )
        for kind, pairs, probabilities in (
            (TWO_PEOPLE, mistakes.two_people, mistakes.two_people_probability),
            (ONE_PERSON, mistakes.one_person, mistakes.one_person_probability),
        )
        for (a, b), probability in zip(pairs, probabilities, strict=True)
    ]


def write_mistakes(pairs: list[Pair], folder: Path) -> None:
    """Write mistakes.csv, mistakes_two_people.png and mistakes_one_person.png to `folder`."""
    path = folder / "mistakes.csv"
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("labels", "probability", "person", "path", "other_person", "other_path"))
        for pair in pairs:
            (person, other), (first, second) = pair.persons, pair.paths
            writer.writerow((pair.kind, f"{pair.probability:.9g}", person, first, other, second))
    temporary.replace(path)
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
    probability = f"p {shown_probability(pair.probability)}"
    for person, path, crop, end in zip(
        pair.persons, pair.paths, pair.crops, (f"{probability}  ", ""), strict=True
    ):
        picture = None if crop is None else Image.fromarray(np.asarray(crop))
        yield Tile(picture, person, end + PurePosixPath(path).stem.rpartition("_")[2], colour)
