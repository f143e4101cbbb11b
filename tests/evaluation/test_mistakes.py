"""The worst mistakes are those that a plain loop finds, and no photo is in two pairs."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.evaluation.protocols.all_pairs import scan_pairs
from faceops.evaluation.report.report import (
    ONE_PERSON,
    TWO_PEOPLE,
    MistakenPair,
    worst_mistakes,
    write_mistake_sheets,
    write_mistakes_table,
)
from tests.evaluation.simulated import VERIFIER, coarse, people

FACES = people(30, 4, 0.5, 3)


def by_loop(wanted: bool, most: int) -> list[tuple[int, int]]:
    scores = VERIFIER.logit_matrix(FACES.embeddings, FACES.embeddings)
    rows, whose = combinations(range(len(FACES)), 2), FACES.persons
    pairs = [(scores[a, b], a, b) for a, b in rows if (whose[a] == whose[b]) == wanted]
    kept: list[tuple[int, int]] = []
    for _, a, b in sorted(pairs, reverse=not wanted):
        if len(kept) < most and not {a, b} & {row for pair in kept for row in pair}:
            kept.append((a, b))
    return kept


@pytest.fixture(scope="module")
def pairs() -> list[MistakenPair]:
    crops = np.zeros((len(FACES), 112, 112, 3), np.uint8)
    scan = scan_pairs(FACES, VERIFIER, [0.05])
    return worst_mistakes(FACES, crops, VERIFIER, scan, calibrated=True, most=12)


def test_they_are_those_of_a_loop(pairs: list[MistakenPair]) -> None:
    row_of = {path: row for row, path in enumerate(FACES.paths.tolist())}
    for kind, same in ((TWO_PEOPLE, False), (ONE_PERSON, True)):
        own = [pair for pair in pairs if pair.kind == kind]
        rows = [tuple(sorted(row_of[path] for path in pair.paths)) for pair in own]
        assert rows == by_loop(same, 12)
        scores = [pair.log_odds for pair in own]
        assert scores == sorted(scores, reverse=not same)


def test_ties_and_few_photos_give_what_there_is() -> None:
    few = coarse(people(3, 2), 1)
    scan = scan_pairs(few, VERIFIER, [0.01])
    found = worst_mistakes(few, None, VERIFIER, scan, calibrated=False)
    assert sum(pair.kind == ONE_PERSON for pair in found) == 3
    photos = [path for pair in found if pair.kind == TWO_PEOPLE for path in pair.paths]
    assert 2 <= len(photos) == len(set(photos)) <= 6
    assert found[0].similarity == f"distance {-found[0].log_odds:.3f}"


def test_table_and_sheets_show_every_pair(pairs: list[MistakenPair], tmp_path: Path) -> None:
    write_mistakes_table(pairs, tmp_path / "mistakes.csv")
    write_mistake_sheets(pairs, tmp_path)
    rows = list(csv.DictReader((tmp_path / "mistakes.csv").open()))
    assert [row["path"] for row in rows] == [pair.paths[0] for pair in pairs]
    assert len(rows) == 24
    with Image.open(tmp_path / "mistakes_two_people.png") as sheet:
        assert sheet.height > 3 * 150  # 24 faces in three lines
    assert pairs[0].similarity.startswith("p 0.")
