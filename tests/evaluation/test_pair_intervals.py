"""Intervals of all-pairs figures equal those of a plain resampling of people with all pairs."""

from dataclasses import replace

import numpy as np
import pytest

from faceops.evaluation.protocols import all_pairs as module
from faceops.evaluation.protocols.all_pairs import pair_intervals, scan_pairs
from tests.evaluation.simulated import VERIFIER, people


def by_loop(seed: int, repeats: int, fars: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Resample as `pair_intervals` does, but weigh every single pair anew."""
    faces = people(25, 3, 1.1)
    first, second = np.triu_indices(len(faces), 1)
    scores = VERIFIER.logit_matrix(faces.embeddings, faces.embeddings)[first, second]
    one, two = (np.unique(faces.persons, return_inverse=True)[1][side] for side in (first, second))
    same = one == two
    draw = np.random.default_rng(seed)
    aucs, tars = [], []
    for _ in range(repeats):
        times = np.bincount(draw.integers(0, 25, 25), minlength=25)
        genuine = np.repeat(scores[same], times[one[same]])
        strangers = np.repeat(scores[~same], (times[one] * times[two])[~same])
        won = (genuine[:, None] > strangers).mean() + (genuine[:, None] == strangers).mean() / 2
        aucs.append(won)
        row = []
        for far in fars:
            cuts = np.append(np.unique(scores), np.inf)
            passed = np.array([(strangers >= cut).mean() for cut in cuts])
            row.append((genuine >= cuts[np.argmax(passed <= far + 1e-12)]).mean())
        tars.append(row)
    return np.array(aucs), np.array(tars)


def test_intervals_equal_a_plain_resampling() -> None:
    fars = [0.1, 0.02]
    scan = scan_pairs(people(25, 3, 1.1), VERIFIER, fars)
    found = pair_intervals(scan, fars, seed=3, repeats=20)
    aucs, tars = by_loop(3, 20, fars)
    for far, column in zip(fars, tars.T, strict=True):
        low, high = np.quantile(column, [0.025, 0.975])
        assert found.tar[far] == pytest.approx({"low": low, "high": high}, abs=0.03)
    low, high = np.quantile(aucs, [0.025, 0.975])
    # To first order only: the ends are off by little of the interval's width.
    assert found.auc["low"] == pytest.approx(low, abs=0.25 * (high - low))
    assert found.auc["high"] == pytest.approx(high, abs=0.25 * (high - low))
    assert found.auc["low"] < scan.roc.auc < found.auc["high"]


def test_resampled_rates_of_two_models_are_paired() -> None:
    faces = people(25, 3, 1.1)
    turned = replace(faces, embeddings=np.ascontiguousarray(-faces.embeddings))
    first, second = (
        pair_intervals(scan_pairs(part, VERIFIER, [0.1]), [0.1], seed=3, repeats=20).resampled
        for part in (faces, turned)
    )
    assert first.shape == (20, 1)
    assert np.ptp(first) > 0
    np.testing.assert_allclose(first, second, atol=1e-6)  # the same distances, the same people


def test_sample_of_the_highest_pairs_gives_nearly_the_same(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    scan = scan_pairs(people(60, 3, 1.1), VERIFIER, [0.1])
    whole = pair_intervals(scan, [0.1], seed=3).tar[0.1]
    monkeypatch.setattr(module, "_MOST", 2000)
    sampled = pair_intervals(scan, [0.1], seed=3).tar[0.1]
    assert sampled == pytest.approx(whole, abs=0.03)


def test_threshold_is_held_where_too_few_pairs_were_kept() -> None:
    scan = scan_pairs(people(60, 3, 1.1), VERIFIER)  # the 100 highest only
    interval = pair_intervals(scan, [0.1], seed=3).tar[0.1]
    assert interval["low"] < scan.roc.tar(0.1) < interval["high"]


def test_more_people_tell_more() -> None:
    widths = []
    for count in (20, 120):
        scan = scan_pairs(people(count, 3, 1.1), VERIFIER, [0.05])
        ends = pair_intervals(scan, [0.05], seed=0)
        widths.append(
            (ends.auc["high"] - ends.auc["low"], ends.tar[0.05]["high"] - ends.tar[0.05]["low"])
        )
    assert widths[1][0] < widths[0][0]
    assert widths[1][1] < widths[0][1]
