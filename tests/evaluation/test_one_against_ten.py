"""The exact chance equals the share of seeded draws of ten negatives, and chance without skill."""

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.protocols.verification import one_against_ten
from tests.evaluation.simulated import VERIFIER, coarse, people, shuffled


@pytest.mark.parametrize("block", [1, 500, 1 << 21])
@pytest.mark.parametrize("ties", [False, True])
def test_expectation_equals_drawn_trials(
    ties: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceops.verification.pairs.BLOCK", block)
    faces = shuffled(people(8, 3, 1.0))
    faces = faces.of(np.arange(len(faces)) != 3)
    faces = coarse(faces) if ties else faces
    result = one_against_ten(faces, VERIFIER, 4)
    scores = VERIFIER.logit_matrix(faces.embeddings, faces.embeddings).round(4)
    draw = np.random.default_rng(0)
    wanted = []
    for name in np.unique(faces.persons):
        own, others = (np.flatnonzero(faces.persons == name), np.flatnonzero(faces.persons != name))
        trials = [
            scores[a, b] > scores[a, draw.permutation(others)[:4]].max()
            for a in own for b in own if a != b for _ in range(300)
        ]  # fmt: skip
        wanted.append(np.mean(trials))
    np.testing.assert_allclose(result.chances, wanted, atol=0.05)
    assert result.accuracy == pytest.approx(np.mean(wanted), abs=0.015)
    assert result.trials == 7 * 6 + 2


def test_embeddings_that_say_nothing_win_one_time_in_eleven() -> None:
    faces = people(150, 2, 50.0)
    figures = one_against_ten(faces, VERIFIER).figures(0)
    assert figures["accuracy"] == pytest.approx(1 / 11, abs=0.02)
    assert figures["accuracy_interval"]["low"] < 1 / 11 < figures["accuracy_interval"]["high"]


def test_too_few_photos_of_others_is_a_sentence() -> None:
    with pytest.raises(FaceOpsError, match=r"10 photos of other people; there are 10 photos"):
        one_against_ten(people(5, 2), VERIFIER)
    with pytest.raises(FaceOpsError, match="two photos"):
        one_against_ten(people(20, 1), VERIFIER)
