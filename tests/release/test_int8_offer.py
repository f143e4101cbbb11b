"""Int8 is offered if its loss on validation people is small."""

import re

import numpy as np
import pytest

from faceops.config.sections import Quantise
from faceops.release.int8_offer import measure_int8, true_accept_rate, why_not
from faceops.verification.pairs import PairScores

UNIT = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("people", "tar_int8", "allowed", "sentence"),
    [
        (400, 0.9985, 0.002, ""),
        (400, 0.9990, 0.0, ""),  # it gained
        (400, 0.9985, 0.0, "falls by 0.0005 .from 0.9990 to 0.9985. on 400 validation people"),
        (400, 0.9970, 0.002, r"must fall by less than quantise\.max_tar_loss = 0\.002"),
        (100, 0.9985, 0.002, "TAR at FAR 0.001 needs .* validation people, not 100"),
    ],
)
def test_it_is_offered_where_validation_people_lose_little(
    people: int, tar_int8: float, allowed: float, sentence: str
) -> None:
    tar_float32 = 0.9989 if tar_int8 == 0.9990 else 0.9990
    measured = measure_int8(
        (np.tile(UNIT, (people, 1)), np.tile(UNIT, (people, 1))),
        (tar_float32, tar_int8),
        np.repeat(np.arange(people), 4).astype(str),
        Quantise(max_tar_loss=allowed),
        64,
    )
    assert measured.people == people and measured.photos == 4 * people
    reason = why_not(measured)
    if not sentence:
        assert reason == ""
    else:
        assert re.search(sentence, reason)


def test_cosines_are_of_a_crops_two_embeddings() -> None:
    turned = UNIT.copy()
    turned[0] = [0.6, 0.8, 0, 0]
    measured = measure_int8((UNIT, turned), (1, 1), np.array(list("aabb")), Quantise(), 8)
    assert measured.min_cosine == pytest.approx(0.6)
    assert measured.mean_cosine == pytest.approx(0.9)


def test_the_true_accept_rate_keeps_the_false_accept_rate() -> None:
    impostor = np.arange(1000, dtype=np.float32)
    scores = PairScores(np.array([500, 995, 998.5, 1200], np.float32), impostor, False)
    assert true_accept_rate(scores, 0.001) == 0.5  # one of a thousand, 999, may pass
    assert true_accept_rate(scores, 0.01) == 0.75
