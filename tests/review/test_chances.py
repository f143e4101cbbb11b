"""The chance that a face shows somebody agrees with how often it does."""

import numpy as np
import pytest

from faceops.review.decided import MAX_FACES, MIN_FACES, Chances, in_words


@pytest.mark.parametrize(("faces", "within"), [(1000, 0.2), (4 * MAX_FACES, 0.1)])
@pytest.mark.parametrize("strangers", [0.2, 0.8])
def test_chances_are_as_often_right_as_they_say(faces, within, strangers):
    draw = np.random.default_rng(0)
    is_stranger = draw.random(faces) < strangers
    shares = np.where(is_stranger, draw.random(faces), draw.beta(0.3, 30, faces))
    chances = Chances(shares).of(shares)
    assert (np.diff(chances[np.argsort(shares)]) <= 0).all()
    checked = 0
    for low, high in ((0.0, 0.2), (0.2, 0.6), (0.6, 0.95), (0.95, 1.0)):
        some = (chances >= low) & (chances < high)
        if some.sum() > 30:
            assert (~is_stranger[some]).mean() == pytest.approx(chances[some].mean(), abs=within)
            checked += 1
    assert checked >= 2


def test_among_strangers_alone_and_without_them_no_stranger_is_likely():
    shares = np.random.default_rng(2).random(2000)
    assert np.quantile(Chances(shares).of(shares), 0.99) < 0.5
    chances = Chances(np.linspace(0, 0.05, 300)).of(np.array([0.001, 0.3, 0.9]))
    assert [in_words(chance) for chance in chances] == ["almost certain", "unlikely", "unlikely"]


def test_in_a_small_album_the_share_of_strangers_decides():
    chances = Chances(np.linspace(0, 1, MIN_FACES - 1)).of(np.array([0, 0.01, 0.1, 0.9, np.nan]))
    assert [in_words(chance) for chance in chances[:4]] == [
        "almost certain", "very likely", "likely", "unlikely",
    ]  # fmt: skip
    assert np.isnan(chances[4])
