"""The blockwise scan and its intervals equal plain loops over all pairs and resamples."""

from dataclasses import replace

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.protocols import all_pairs as module
from faceops.evaluation.protocols.all_pairs import (
    HISTOGRAM_EDGES,
    TopPairsCollector,
    pair_intervals,
    scan_pairs,
)
from faceops.verification.calibration import bin_sums, reliability_of
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.verifier import sigmoid
from tests.evaluation.simulated import VERIFIER, coarse, people, shuffled

FARS = [0.3, 0.1, 0.01]


def all_pairs(faces: EmbeddedFaces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log odds, rows first and second of every pair, one by one."""
    pairs = [(i, j) for i in range(len(faces)) for j in range(i)]
    rows = faces.embeddings
    scores = [VERIFIER.logit_matrix(rows[i : i + 1], rows[j : j + 1])[0, 0] for i, j in pairs]
    return np.array(scores), *np.array(pairs).T


def area(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Return the share of pairs of a genuine and an impostor score that are in order."""
    return (genuine[:, None] > impostor).mean() + (genuine[:, None] == impostor).mean() / 2


@pytest.fixture(params=[64, 1 << 21])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceops.verification.pairs.BLOCK", request.param)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("ties", [False, True])
def test_scan_equals_a_loop_over_all_pairs(ties):
    faces = shuffled(people(12, 4, 1.0))
    faces = faces.of(np.arange(len(faces)) != 3)  # people of different sizes
    faces = coarse(faces) if ties else faces
    scores, first, second = all_pairs(faces)
    same = faces.persons[first] == faces.persons[second]
    scan = scan_pairs(faces, VERIFIER, FARS)
    if ties:
        assert len(np.unique(scores)) < len(scores) / 4
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    np.testing.assert_allclose(scan.roc.genuine, genuine, atol=1e-4)
    assert scan.roc.impostors == len(impostor)
    assert scan.roc.auc == pytest.approx(area(genuine, impostor), abs=2e-5)
    for far in FARS:
        cuts = [cut for cut in [*scores, np.inf] if (impostor >= cut).mean() <= far]
        best = max((scores[same] >= cut).mean() for cut in cuts)
        assert scan.roc.tar(far) == best
        cut = scan.threshold(far)
        assert cut is not None and (scan.roc.genuine >= cut).mean() == best
        assert (scan.top.score >= cut).sum() <= far * len(impostor)
    kept = min(3 * int(0.3 * len(impostor)) + 100, len(impostor))
    np.testing.assert_allclose(scan.top.score, impostor[::-1][:kept], atol=1e-4)
    pairs = VERIFIER.logit(faces.embeddings[scan.top.first], faces.embeddings[scan.top.second])
    np.testing.assert_allclose(pairs, scan.top.score, atol=1e-4)
    assert (faces.persons[scan.top.first] != faces.persons[scan.top.second]).all()
    photos = np.array([(faces.persons == person).sum() for person in faces.persons])
    weights = (2 / (photos * (photos - 1)))[first[same]]
    bins = reliability_of(bin_sums(sigmoid(scores[same]), weights), bin_sums(sigmoid(impostor)))
    np.testing.assert_allclose(scan.reliability.expected_error, bins.expected_error, atol=1e-4)
    assert scan.reliability.pairs.tolist() == bins.pairs.tolist()
    for counts, part in ((scan.same, genuine), (scan.different, impostor)):
        least, most = (part.searchsorted(HISTOGRAM_EDGES[1:-1] + e) for e in (-1e-4, 1e-4))
        assert (least <= counts.cumsum()[:-1]).all()
        assert (counts.cumsum()[:-1] <= most).all()
        assert counts.sum() == len(part)


@pytest.mark.usefixtures("small_blocks")
def test_what_each_person_costs_adds_up_to_the_area_above_the_curve():
    for faces in (people(30, 4, 1.0), with_missing(people(30, 4, 1.0))):
        scan = scan_pairs(faces, VERIFIER)
        above = scan.lost.sum() / (2 * scan.roc.impostors)
        assert above == pytest.approx(1 - scan.roc.auc, rel=2e-3)


def with_missing(faces: EmbeddedFaces) -> EmbeddedFaces:
    return replace(faces, missing=("photos/P001/x.jpg", "photos/P001/y.jpg", "photos/Q/z.jpg"))


def test_photo_without_a_face_matches_nobody():
    faces = people(8, 3, 1.0)
    whole, scan = scan_pairs(faces, VERIFIER), scan_pairs(with_missing(faces), VERIFIER)
    # P001's two missing photos make 3 pairs each with the faces, and one with each other.
    assert len(scan.roc.genuine) == len(whole.roc.genuine) + 7
    assert scan.roc.impostors == whole.roc.impostors + 2 * 21 + 24 + 2
    pairs = len(scan.roc.genuine)
    for far in (0.05, 0.2):
        same_count = far * scan.roc.impostors / whole.roc.impostors
        accepted = whole.roc.tar(same_count) * len(whole.roc.genuine)
        assert scan.roc.tar(far) == pytest.approx(accepted / pairs)
    scores = np.concatenate([np.full(7, -99.0), whole.roc.genuine])
    none = np.full(scan.roc.impostors - whole.roc.impostors, -99.0)
    everyone, first, second = all_pairs(faces)
    strangers = everyone[faces.persons[first] != faces.persons[second]]
    strangers = np.concatenate([none, strangers])
    assert scan.roc.auc == pytest.approx(area(scores, strangers), abs=1e-4)


def test_tiny_sets():
    faces = people(2, 2, 0.1)
    one_of_each = scan_pairs(faces.of(np.array([0, 1, 2])), VERIFIER)
    assert (len(one_of_each.roc.genuine), one_of_each.roc.impostors) == (1, 2)
    assert one_of_each.roc.auc == one_of_each.roc.tar(0.1) == 1
    with pytest.raises(FaceOpsError, match=r"1 pairs of one person and 0 of two"):
        scan_pairs(faces.of(np.array([0, 1])), VERIFIER)
    with pytest.raises(FaceOpsError, match=r"0 pairs of one person and 1 of two"):
        scan_pairs(faces.of(np.array([0, 2])), VERIFIER)


def test_collector_keeps_the_highest_whatever_the_order():
    draw = np.random.default_rng(0)
    scores = draw.integers(0, 50, (40, 30)).astype(np.float32)
    collector = TopPairsCollector(77)
    for row in range(0, 40, 3):
        rows = np.arange(row, min(row + 3, 40))
        collector.add(scores[rows], rows, np.arange(30))
    top = collector.top()
    assert top.score.tolist() == np.sort(scores, axis=None)[::-1][:77].tolist()
    assert (scores[top.first, top.second] == top.score).all()
    assert len({*zip(top.first.tolist(), top.second.tolist(), strict=True)}) == 77


def resampled_by_loop(seed: int, repeats: int, fars: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Resample as `pair_intervals` does, but weigh every pair again."""
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
        aucs.append(area(genuine, strangers))
        cuts = np.append(np.unique(scores), np.inf)
        passed = np.array([(strangers >= cut).mean() for cut in cuts])
        first_cuts = [cuts[np.argmax(passed <= far + 1e-12)] for far in fars]
        tars.append([(genuine >= cut).mean() for cut in first_cuts])
    return np.array(aucs), np.array(tars)


def test_intervals_equal_a_plain_resampling():
    fars = [0.1, 0.02]
    scan = scan_pairs(people(25, 3, 1.1), VERIFIER, fars)
    found = pair_intervals(scan, fars, seed=3, repeats=20)
    aucs, tars = resampled_by_loop(3, 20, fars)
    for far, column in zip(fars, tars.T, strict=True):
        low, high = np.quantile(column, [0.025, 0.975])
        assert found.tar[far] == pytest.approx({"low": low, "high": high}, abs=0.03)
    low, high = np.quantile(aucs, [0.025, 0.975])
    # To first order only: the ends are off by little of the interval's width.
    assert found.auc["low"] == pytest.approx(low, abs=0.25 * (high - low))
    assert found.auc["high"] == pytest.approx(high, abs=0.25 * (high - low))
    assert found.auc["low"] < scan.roc.auc < found.auc["high"]


def test_resampled_rates_of_two_models_are_paired():
    faces = people(25, 3, 1.1)
    turned = replace(faces, embeddings=np.ascontiguousarray(-faces.embeddings))
    first, second = (
        pair_intervals(scan_pairs(part, VERIFIER, [0.1]), [0.1], seed=3, repeats=20).resampled
        for part in (faces, turned)
    )
    assert first.shape == (20, 1)
    assert np.ptp(first) > 0
    np.testing.assert_allclose(first, second, atol=1e-6)  # the same distances, the same people


def test_the_threshold_is_kept_where_too_few_pairs_were_kept_and_of_many_a_sample(monkeypatch):
    many = scan_pairs(people(60, 3, 1.1), VERIFIER, [0.1])
    whole = pair_intervals(many, [0.1], seed=3).tar[0.1]
    monkeypatch.setattr(module, "_MOST_RESAMPLED", 2000)
    assert pair_intervals(many, [0.1], seed=3).tar[0.1] == pytest.approx(whole, abs=0.03)
    scan = scan_pairs(people(60, 3, 1.1), VERIFIER)  # the 100 highest only
    assert scan.threshold(0.1) is None
    interval = pair_intervals(scan, [0.1], seed=3).tar[0.1]
    assert interval["low"] < scan.roc.tar(0.1) < interval["high"]
