"""The blockwise scan equals a plain loop over all pairs, with ties, missing photos, tiny sets."""

from dataclasses import replace

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.all_pairs import PairScan, scan_pairs
from faceops.evaluation.protocols.roc import HISTOGRAM_EDGES, TopPairsCollector
from faceops.verification.reliability import bin_sums, reliability_of
from faceops.verification.verifier import sigmoid
from tests.evaluation.simulated import VERIFIER, coarse, people, shuffled

FARS = [0.3, 0.1, 0.01]


def all_pairs(faces: EmbeddedFaces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log odds, rows first and second of every pair, one by one."""
    pairs = [(i, j) for i in range(len(faces)) for j in range(i)]
    rows = faces.embeddings
    scores = [VERIFIER.logit_matrix(rows[i : i + 1], rows[j : j + 1])[0, 0] for i, j in pairs]
    return np.array(scores), *np.array(pairs).T


@pytest.fixture(params=[64, 1000, 1 << 21])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceops.verification.pairs.BLOCK", request.param)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("ties", [False, True])
def test_scan_equals_a_loop_and_scikit_learn(ties: bool) -> None:
    from sklearn.metrics import roc_auc_score

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
    assert scan.roc.auc == pytest.approx(roc_auc_score(same, scores), abs=2e-5)
    for far in FARS:
        best = max(
            (scores[same] >= cut).mean()
            for cut in [*scores, np.inf]
            if (impostor >= cut).mean() <= far
        )
        assert scan.roc.tar(far) == best
        cut = scan.threshold(far)
        assert cut is not None
        assert (scan.top.score >= cut).sum() <= far * len(impostor)
        assert (scan.roc.genuine >= cut).mean() == best
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
def test_what_each_person_costs_adds_up_to_the_area_above_the_curve() -> None:
    for faces in (people(30, 4, 1.0), with_missing(people(30, 4, 1.0))):
        scan = scan_pairs(faces, VERIFIER)
        above = scan.lost.sum() / (2 * scan.roc.impostors)
        assert above == pytest.approx(1 - scan.roc.auc, rel=2e-3)


def with_missing(faces: EmbeddedFaces) -> EmbeddedFaces:
    return replace(faces, missing=("photos/P001/x.jpg", "photos/P001/y.jpg", "photos/Q/z.jpg"))


def test_photo_without_a_face_matches_nobody() -> None:
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
    won = (scores[:, None] > strangers).mean() + (scores[:, None] == strangers).mean() / 2
    assert scan.roc.auc == pytest.approx(won, abs=1e-4)


def test_tiny_sets() -> None:
    faces = people(2, 2, 0.1)
    one_of_each = scan_pairs(faces.of(np.array([0, 1, 2])), VERIFIER)
    assert (len(one_of_each.roc.genuine), one_of_each.roc.impostors) == (1, 2)
    assert one_of_each.roc.auc == one_of_each.roc.tar(0.1) == 1
    with pytest.raises(FaceOpsError, match=r"1 pairs of one person and 0 of two"):
        scan_pairs(faces.of(np.array([0, 1])), VERIFIER)
    with pytest.raises(FaceOpsError, match=r"0 pairs of one person and 1 of two"):
        scan_pairs(faces.of(np.array([0, 2])), VERIFIER)


def test_collector_keeps_the_highest_whatever_the_order() -> None:
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


def test_scan_is_the_same_twice() -> None:
    faces = shuffled(people(20, 3))
    one, two = (scan_pairs(faces, VERIFIER, FARS) for _ in range(2))
    assert isinstance(one, PairScan)
    assert one.roc.below.tolist() == two.roc.below.tolist()
    assert one.top.first.tolist() == two.top.first.tolist()
    assert scan_pairs(faces, VERIFIER).threshold(0.9) is None  # the 100 highest were kept
