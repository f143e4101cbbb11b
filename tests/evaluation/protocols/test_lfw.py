"""LFW's lists and views: read as published, equal to loops, errors in a list name the line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.protocols.lfw import (
    PairsList,
    best_threshold,
    lfw_view1,
    lfw_view2_figures,
    read_pairs_list,
    score_list,
)
from faceops.verification.embedded_faces import EmbeddedFaces
from tests.evaluation.simulated import VERIFIER, people, shuffled

FACES = shuffled(people(40, 3, 1.0))


def lines(seed: int, count: int) -> list[str]:
    draw = np.random.default_rng(seed)
    same = [f"P{p:03}\t1\t{n}" for p, n in zip(draw.integers(0, 40, count),
                                              draw.integers(2, 4, count), strict=True)]  # fmt: skip
    others = [draw.choice(40, 2, replace=False) for _ in range(count)]
    return same + [f"P{a:03}\t2\tP{b:03}\t3" for a, b in others]


def written(path: Path, head: str, folds: int, each: int, seed: int = 0) -> PairsList:
    rows = [line for fold in range(folds) for line in lines(seed + fold, each)]
    path.write_text("\n".join([head, *rows]) + "\n")
    return read_pairs_list(path)


def score_of(faces: EmbeddedFaces, one: str, other: str) -> float:
    names = [path.split("/")[-1][:-4] for path in faces.paths]
    if one not in names or other not in names:
        return -np.inf
    a, b = (faces.embeddings[names.index(name)] for name in (one, other))
    return float(VERIFIER.logit(a, b))


def most_right(scores: np.ndarray, same: np.ndarray) -> float:
    return max(((scores >= cut) == same).mean() for cut in np.unique(scores))


def test_view_2_equals_a_loop(tmp_path):
    pairs = written(tmp_path / "pairs.txt", "10\t6", 10, 6)
    with pytest.raises(FaceOpsError, match=r"1 of the \d+ photos .* the first is P003_0001.jpg"):
        pairs.rows(FACES.of(FACES.paths != "photos/P003/P003_0001.jpg"))
    assert pairs.fold.tolist() == [i // 12 for i in range(120)]
    gone = replace(FACES.of(FACES.paths != "photos/P003/P003_0001.jpg"),
                   missing=("photos/P003/P003_0001.jpg",))  # fmt: skip
    for faces in (FACES, gone):
        figures = lfw_view2_figures(faces, VERIFIER, pairs, seed=0)
        expected = [score_of(faces, a, b) for a, b in zip(pairs.first, pairs.second, strict=True)]
        scores = score_list(faces, VERIFIER, pairs).scores
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        accuracy = []
        for number in range(10):
            fold = pairs.fold == number
            cut = best_threshold(scores[~fold], pairs.same[~fold])
            right = (scores >= cut) == pairs.same
            assert right[~fold].mean() == most_right(scores[~fold], pairs.same[~fold])
            accuracy.append(right[fold].mean())
        assert figures["accuracy"] == pytest.approx(np.mean(accuracy))
        error = np.std(accuracy, ddof=1) / np.sqrt(10)
        assert figures["accuracy_standard_error"] == pytest.approx(error)
        assert figures["accuracy_interval"]["low"] < figures["accuracy"]
        named = set(pairs.photos.tolist())
        assert figures["all_pairs"]["photos"] == len(named)
        assert figures["all_pairs"]["photos_without_face"] == len(faces.missing)
        counts = np.bincount([int(name[1:4]) for name in named])
        assert figures["all_pairs"]["genuine_pairs"] == (counts * (counts - 1) // 2).sum()


def test_view_1_sets_the_threshold_on_one_list_and_scores_the_other(tmp_path):
    train = written(tmp_path / "pairsDevTrain.txt", "50", 1, 50, 1)
    test = written(tmp_path / "pairsDevTest.txt", "30", 1, 30, 2)
    result = lfw_view1(FACES, VERIFIER, train, test, seed=0)
    chosen = score_list(FACES, VERIFIER, train)
    right = (chosen.scores >= result.threshold) == chosen.same
    assert right.mean() == most_right(chosen.scores, chosen.same)
    figures = result.figures(0)
    test_right = (result.test.scores >= result.threshold) == result.test.same
    assert figures["accuracy"] == test_right.mean()
    assert figures["pairs"] == 60
    low, high = figures["accuracy_interval"].values()
    assert low <= figures["accuracy"] <= high


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is not a pair count"),
        ("many\n", "line 1 is not a pair count"),
        ("1\nA\t1\t2\nA\tx\tB\t2\n", "line 3 is not a pair"),
        ("1\nA\t1\t2\nA\n", "line 3 is not a pair"),
        ("2\nA\t1\t2\nA\t1\tB\t2\n", "says 1 x 2 pairs .* has 1 and 1"),
        ("1\nA\t1\tB\t2\nA\t1\t2\n", "another order"),
    ],
)
def test_a_damaged_list_is_refused_by_line(text, message, tmp_path):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(FaceOpsError, match="cannot be read as a list of pairs"):
        read_pairs_list(tmp_path / "none.txt")
    with pytest.raises(FaceOpsError, match=message):
        read_pairs_list(tmp_path / "pairs.txt")
