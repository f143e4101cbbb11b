"""Metrics agree with scikit-learn and with plain loops, with ties; protocols leak nothing."""

import numpy as np
import pytest

from faceops.config.sections import Evaluate
from faceops.errors import FaceOpsError
from faceops.evaluation.bootstrap import share_interval
from faceops.evaluation.calibration import reliability
from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.evaluate import Evaluation, evaluate
from faceops.evaluation.open_set import best_two, open_set
from faceops.evaluation.roc import roc_auc, roc_curve, tar_at_far
from faceops.verification.log_odds import clipped_log_odds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.thresholds import Thresholds, measure_thresholds
from faceops.verification.verifier import Verifier

VERIFIER = Verifier(np.full(16, -12, np.float32), 9.0, "distance")


def people(count: int, photos: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = np.repeat(draw.normal(size=(count, 16)), photos, axis=0)
    rows = centres + noise * draw.normal(size=centres.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat([f"P{i:03}" for i in range(count)], photos)


def thresholds(rows: np.ndarray, persons: np.ndarray) -> Thresholds:
    scores = all_pair_scores(rows, persons, VERIFIER.probability)
    return measure_thresholds(
        scores.genuine, scores.impostor, far_budgets=[0.01], default_budget=0.05,
        runner_up_margin=0.0, data="simulated", people=1, photos=1,
    )  # fmt: skip


def tied(seed: int, size: int, shift: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, size).round(1).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, 1.0, 10.0])
def test_roc_auc_equals_scikit_learn(shift: float) -> None:
    from sklearn.metrics import roc_auc_score

    genuine, impostor = tied(0, 300, shift), tied(1, 500, 0)
    labels = np.repeat([1, 0], [300, 500])
    wanted = roc_auc_score(labels, np.concatenate([genuine, impostor]))
    assert roc_auc(genuine, impostor) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("far", [0.001, 0.01, 0.1, 0.5])
def test_tar_at_far_equals_a_search_over_all_thresholds(far: float) -> None:
    genuine, impostor = tied(0, 300, 1), tied(1, 500, 0)
    best = 0.0
    for cut in [*np.unique(np.concatenate([genuine, impostor])), np.inf]:
        if (impostor >= cut).mean() <= far:
            best = max(best, float((genuine >= cut).mean()))
    assert tar_at_far(genuine, impostor, far)[0] == best


def test_roc_curve_rises_and_meets_tar_at_far() -> None:
    genuine, impostor = tied(0, 3000, 1), tied(1, 5000, 0)
    far, tar = roc_curve(genuine, impostor)
    assert (np.diff(far) >= 0).all()
    assert (np.diff(tar) >= 0).all()
    for f, t in zip(far[::40], tar[::40], strict=True):
        assert tar_at_far(genuine, impostor, f)[0] == pytest.approx(t)


def test_closed_set_ranks_equal_a_loop() -> None:
    rows, persons = people(12, 3, 0.9, 1)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    rows, persons = rows[shuffled], persons[shuffled]
    result = closed_set(rows, persons, VERIFIER.probability)
    gallery = {p: int(np.flatnonzero(persons == p)[0]) for p in np.unique(persons)}
    wanted = []
    for i in range(len(rows)):
        if i in gallery.values():
            continue
        scores = {p: float(VERIFIER.probability(rows[i], rows[g])) for p, g in gallery.items()}
        wanted.append(sum(s >= scores[persons[i]] for s in scores.values()))
    assert result.ranks.tolist() == wanted
    assert result.people == 12


def test_best_two_takes_each_persons_best_face() -> None:
    scores = np.array([[0.1, 0.9, 0.3, 0.8], [0.5, 0.2, 0.5, 0.4]], np.float32)
    best, runner_up, person = best_two(scores, np.array([7, 3, 3, 7]))
    np.testing.assert_allclose(best, [0.9, 0.5])
    np.testing.assert_allclose(runner_up, [0.8, 0.5])
    assert person[0] == 3
    one = best_two(scores, np.array([4, 4, 4, 4]))
    np.testing.assert_array_equal(one[1], [0, 0])


def test_the_margin_over_the_runner_up_is_in_log_odds() -> None:
    lead = np.diff(clipped_log_odds(np.array([0.9990, 0.9997, 1.0], np.float32)))
    assert (lead > 1).all()  # of .0007 and .0003 in probability
    assert np.diff(clipped_log_odds(np.array([0.5, 0.6], np.float32)))[0] < 1
    assert np.isfinite(clipped_log_odds(np.array([0.0, 1.0], np.float32))).all()
    rows, persons = people(40, 4, 0.4, 2)
    cuts = thresholds(*people(40, 4, 0.4, 1))
    named = [
        open_set(
            rows, persons, VERIFIER.probability,
            cuts.model_copy(update={"runner_up_margin": margin}),
            gallery_photos=1, unknown_share=0.5, seed=0,
        ).named.sum()
        for margin in (0.0, 1.0, 100.0)
    ]  # fmt: skip
    assert named[0] > named[1] > named[2] == 0


def test_open_set_keeps_the_budget_on_other_people() -> None:
    # Dimensions are few, so that strangers do resemble the gallery.
    cuts = thresholds(*people(120, 4, 0.4, 1))
    rows, persons = people(200, 4, 0.4, 2)
    result = open_set(
        rows, persons, VERIFIER.probability, cuts, gallery_photos=1, unknown_share=0.5, seed=0
    )
    assert result.gallery_faces == result.known_people == 100
    assert len(result.best) == 5 * (800 - 100)
    strangers = ~result.known
    assert 0.01 < result.named[strangers].mean() < 0.07
    assert result.identified[result.known].mean() > 0.3
    assert result.rate_at(0.5) >= result.rate_at(0.01)


def test_people_with_too_few_photos_are_strangers() -> None:
    rows, persons = people(20, 3, 0.2, 1)
    single, lonely = people(10, 1, 0.2, 2)
    cuts = thresholds(rows, persons)
    result = open_set(
        np.concatenate([rows, single]), np.concatenate([persons, np.char.add("S", lonely)]),
        VERIFIER.probability, cuts, gallery_photos=2, unknown_share=0.5, seed=0, draws=1,
    )  # fmt: skip
    assert result.known_people == 10
    assert (~result.known).sum() == 10 * 3 + 10
    with pytest.raises(FaceOpsError, match="gallery_photos"):
        open_set(
            rows, persons, VERIFIER.probability, cuts, gallery_photos=3, unknown_share=0.5, seed=0
        )


def test_bootstrap_interval_covers_the_share_and_widens_with_fewer_people() -> None:
    draw = np.random.default_rng(0)
    hits = draw.random(2000) < 0.8
    many = share_interval(hits, np.arange(2000) // 2, 0)
    few = share_interval(hits, np.arange(2000) // 200, 0)
    assert many["low"] < hits.mean() < many["high"]
    assert many["high"] - many["low"] == pytest.approx(4 * np.sqrt(0.16 / 2000), rel=0.2)
    assert few["high"] >= few["low"]


def test_reliability_of_true_probabilities_is_on_the_diagonal() -> None:
    draw = np.random.default_rng(0)
    probability = draw.random(40_000)
    same = draw.random(40_000) < probability
    bins = reliability(probability[same], probability[~same])
    assert bins.expected_error < 0.02
    assert bins.pairs.sum() == 40_000


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    cuts = thresholds(*people(60, 4, 0.4, 1))
    return evaluate(*people(60, 4, 0.4, 2), VERIFIER.probability, cuts, Evaluate(pairs=400))


def test_evaluation_is_the_same_twice_and_complete(evaluation: Evaluation) -> None:
    cuts = thresholds(*people(60, 4, 0.4, 1))
    again = evaluate(*people(60, 4, 0.4, 2), VERIFIER.probability, cuts, Evaluate(pairs=400))
    assert again.figures == evaluation.figures
    figures = evaluation.figures
    assert figures["verification"]["accuracy_pairs"] == 400
    assert {"tar_at_far_0.01", "tar_at_far_0.001", "roc_auc"} <= set(figures["verification"])
    assert figures["verification"]["tar_at_far_0.001_supported"]
    assert {"dir", "fpir", "misidentified", "dir_at_fpir_0.01"} <= set(figures["open_set"])
    interval = figures["open_set"]["dir_interval"]
    assert interval["low"] <= figures["open_set"]["dir"] <= interval["high"]


def test_curves_and_pictures_have_the_same_bytes_twice(evaluation: Evaluation, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from faceops.evaluation.curves import score_histogram, write_curves
    from faceops.evaluation.plots import write_plots

    cuts = thresholds(*people(60, 4, 0.4, 1))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_curves(evaluation, tmp_path / name)
        write_plots(evaluation, cuts, [0.01, 0.001], tmp_path / name)
    written = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert written == [
        "calibration.csv", "calibration.png", "cmc.csv", "roc.csv", "roc.png", "scores.csv",
        "scores.png",
    ]  # fmt: skip
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    _, same, different = score_histogram(evaluation)
    assert same.sum() == len(evaluation.scores.genuine)
    assert different.sum() == len(evaluation.scores.impostor)
