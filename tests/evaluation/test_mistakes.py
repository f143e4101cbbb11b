"""The worst mistakes are those that a plain loop finds, and no photo stands in two pairs."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.evaluation.mistakes import (
    Mistakes,
    mistaken_pairs,
    worst_mistakes,
    write_mistake_sheets,
    write_mistakes_table,
)
from faceops.evaluation.protocols.all_pairs import scan_pairs
from tests.evaluation.simulated import VERIFIER, coarse, people

FACES = people(30, 4, 0.5, 3)


def by_loop(wanted: bool, most: int) -> list[tuple[int, int]]:
    scores = VERIFIER.logit_matrix(FACES.embeddings, FACES.embeddings)
    pairs = [
        (float(scores[a, b]), a, b)
        for a in range(len(FACES))
        for b in range(a + 1, len(FACES))
        if (FACES.persons[a] == FACES.persons[b]) == wanted
    ]
    kept: list[tuple[int, int]] = []
    for _, a, b in sorted(pairs, reverse=not wanted):
        if len(kept) < most and not {a, b} & {row for pair in kept for row in pair}:
            kept.append((a, b))
    return kept


@pytest.fixture(scope="module")
def mistakes() -> Mistakes:
    return worst_mistakes(FACES, VERIFIER, scan_pairs(FACES, VERIFIER, [0.05]), most=12)


def test_they_are_those_of_a_loop(mistakes: Mistakes) -> None:
    for found, wanted in ((mistakes.two_people, False), (mistakes.one_person, True)):
        assert [tuple(sorted(pair)) for pair in found.tolist()] == by_loop(wanted, 12)
    assert (np.diff(mistakes.two_people_log_odds) <= 0).all()
    assert (np.diff(mistakes.one_person_log_odds) >= 0).all()


def test_ties_and_few_photos_give_what_there_is() -> None:
    few = coarse(people(3, 2), 1)
    found = worst_mistakes(few, VERIFIER, scan_pairs(few, VERIFIER, [0.01]))
    assert len(found.one_person) == 3
    assert 1 <= len(found.two_people) <= 3
    assert len(set(found.two_people.ravel().tolist())) == found.two_people.size


def test_table_and_sheets_show_every_pair(mistakes: Mistakes, tmp_path: Path) -> None:
    crops = np.zeros((len(FACES), 112, 112, 3), np.uint8)
    pairs = mistaken_pairs(FACES, crops, mistakes, calibrated=True)
    write_mistakes_table(pairs, tmp_path / "mistakes.csv")
    write_mistake_sheets(pairs, tmp_path)
    rows = list(csv.DictReader((tmp_path / "mistakes.csv").open()))
    assert [row["path"] for row in rows] == [pair.paths[0] for pair in pairs]
    assert len(rows) == 24
    with Image.open(tmp_path / "mistakes_two_people.png") as sheet:
        assert sheet.height > 3 * 150  # 24 faces in three lines
    plain = mistaken_pairs(FACES, None, mistakes, calibrated=False)
    assert plain[0].likeness == f"distance {-mistakes.two_people_log_odds[0]:.3f}"
    assert pairs[0].likeness.startswith("p 0.")
