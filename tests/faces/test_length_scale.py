"""The length of an embedding as a figure of a face's quality."""

import numpy as np

from faceops.faces.quality import LengthScale
from tests.evaluation.simulated import thresholds


def test_the_share_rises_with_the_length_in_the_scale_of_the_embedder():
    lengths = np.exp(np.random.default_rng(0).normal(2.5, 0.1, 1000)).astype(np.float32)
    scale = LengthScale.of(lengths)
    assert scale is not None
    at = np.array([0, scale.low, scale.median, 1e9, np.nan], np.float32)
    np.testing.assert_allclose(scale.share(at), [0, 0.8 / 1.8, 2 / 3, 1, np.nan], atol=1e-4)
    rising = scale.share(np.sort(lengths))
    assert (np.diff(rising) > 0).all() and 0 < rising[0] < rising[-1] < 1
    times_7 = LengthScale.of(7 * lengths)
    assert times_7 is not None
    np.testing.assert_allclose(times_7.share(7 * lengths), scale.share(lengths), atol=1e-3)
    nearly_alike = LengthScale(low=10.69, median=10.7)
    np.testing.assert_allclose(nearly_alike.share(np.array([1, 10.7, 30])), [0, 2 / 3, 1])


def test_lengths_that_say_nothing_make_no_scale():
    for lengths in (np.ones(9), np.full(9, np.nan), np.zeros(9)):
        assert LengthScale.of(lengths.astype(np.float32)) is None


def test_quality_after_embedding_is_the_mean_with_the_share_where_both_are_known():
    scale = LengthScale(low=9.0, median=12.0)
    release = thresholds().model_copy(update={"length_scale": scale})
    before, lengths = np.array([0.6, 0.6]), np.array([scale.median, np.nan], np.float32)
    np.testing.assert_allclose(release.quality_after(before, lengths), [0.4**0.5, 0.6])
    np.testing.assert_array_equal(thresholds().quality_after(before, lengths), before)
