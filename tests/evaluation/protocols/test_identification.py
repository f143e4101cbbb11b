"""Closed set, open set, gallery against query: equal to loops; the release's rule is applied."""

from dataclasses import replace

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.figures import roc
from faceops.config.sections import Evaluate
from faceops.evaluation.protocols.album_scores import best_two
from faceops.evaluation.protocols.identification import (
    OpenSet,
    closed_set,
    gallery_query_figures,
    open_set,
    open_set_figures,
    open_set_protocol,
)
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.verifier import clipped_log_odds
from tests.evaluation.simulated import VERIFIER, adapting, album_of, people, shuffled, thresholds
from tests.verification import population


def searched(faces: EmbeddedFaces, photos: int = 1, margin: float = 0.0, draws: int = 5) -> OpenSet:
    return open_set(
        faces, VERIFIER, thresholds(margin), gallery_photos=photos, unknown_share=0.5, seed=0,
        draws=draws,
    )  # fmt: skip


@pytest.mark.parametrize("block", [1, 40, 1 << 21])
def test_closed_set_ranks_equal_a_loop(block, monkeypatch):
    monkeypatch.setattr("faceops.verification.pairs.BLOCK", block)
    faces = shuffled(people(12, 3, 0.9, 1))
    rows, persons = faces.embeddings, faces.persons
    result = closed_set(faces, VERIFIER)
    gallery = {p: int(np.flatnonzero(persons == p)[0]) for p in np.unique(persons)}
    wanted = []
    for i in range(len(rows)):
        if i in gallery.values():
            continue
        scores = {p: float(VERIFIER.logit(rows[i], rows[g])) for p, g in gallery.items()}
        wanted.append(sum(s >= scores[persons[i]] - 1e-5 for s in scores.values()))
    assert result.ranks.tolist() == wanted
    assert result.people == 12
    assert result.cmc.tolist() == [np.mean(np.array(wanted) <= rank) for rank in range(1, 13)]


def test_probe_without_a_face_is_never_found():
    faces = replace(people(4, 2, 0.1), missing=("photos/P001/x.jpg", "photos/Q/y.jpg"))
    result = closed_set(faces, VERIFIER)
    # Q has no photo but the one that would be enrolled, so no probe.
    assert sorted(result.ranks.tolist()) == [1, 1, 1, 1, 5]
    assert result.rate(4) == 0.8


def test_best_two_takes_each_persons_best_face():
    scores = np.array([[0.1, 0.9, 0.3, 0.8], [0.5, 0.2, 0.5, 0.4]], np.float32)
    best, runner_up, person = best_two(scores, np.array([7, 3, 3, 7]))
    np.testing.assert_allclose(best, [0.9, 0.5])
    np.testing.assert_allclose(runner_up, [0.8, 0.5])
    assert person[0] == 3
    one = best_two(scores, np.array([4, 4, 4, 4]))
    np.testing.assert_array_equal(one[1], [0, 0])


def test_the_margin_over_the_runner_up_is_in_log_odds():
    lead = np.diff(clipped_log_odds(np.array([0.9990, 0.9997, 1.0], np.float32)))
    assert (lead > 1).all()  # of .0007 and .0003 in probability
    assert np.diff(clipped_log_odds(np.array([0.5, 0.6], np.float32)))[0] < 1
    assert np.isfinite(clipped_log_odds(np.array([0.0, 1.0], np.float32))).all()
    faces = people(40, 4, 0.4, 2)
    named = [searched(faces, margin=margin).named.sum() for margin in (0.0, 1.0, 100.0)]
    assert named[0] > named[1] > named[2] == 0


def test_open_set_keeps_the_budget_on_other_people():
    result = searched(people(200, 4, 0.4, 2))
    assert result.gallery_faces == result.known_people == 100
    assert len(result.best) == 5 * (800 - 100)
    strangers = ~result.known
    assert 0.005 < result.named[strangers].mean() < 0.08
    assert result.identified[result.known].mean() > 0.3
    assert result.rate_at(0.5) >= result.rate_at(0.01)


def test_each_draw_is_an_album_whose_own_estimate_is_compared_with_the_truth():
    settings = {"gallery_photos": 2, "unknown_share": 0.5, "seed": 0}
    faces = album_of(160, 4, 0.4)
    result = open_set(faces, population.VERIFIER, adapting(), draws=4, **settings)
    figures = open_set_figures(result, adapting(), 0)
    assert 0.02 / 10 < figures["fpir"] < 0.02 * 2
    assert figures["dir"] > 0.9
    assert figures["estimate_low"] < 0.02 < figures["estimate_high"]
    assert figures["estimated_albums"] == 4 and figures["estimate_covers"] >= 0.75
    assert figures["threshold_measured"] and not figures["fallback_population"]
    earlier = adapting().model_copy(update={"normalisation": None})
    raw = open_set_figures(
        open_set(faces, population.VERIFIER, earlier, draws=4, **settings), earlier, 0
    )
    assert raw["fpir"] > 2 * 0.02
    assert "estimate_covers" not in raw


def test_a_small_album_says_which_calibration_set_its_threshold_is_from():
    result = open_set(
        album_of(24), population.VERIFIER, adapting(), gallery_photos=1, unknown_share=0.5, seed=0
    )
    figures = open_set_figures(result, adapting(), 0)
    assert figures["fallback_population"] == "alike 0.4"
    assert figures["estimate_covers"] is None and figures["estimated_albums"] == 0
    assert figures["fpir"] <= 0.02 and not figures["threshold_measured"]


def test_people_with_too_few_photos_are_strangers():
    whole = people(30, 3, 0.2, 1)
    faces = whole.of((np.arange(90) < 60) | (np.arange(90) % 3 == 0))  # ten with one photo
    result = searched(faces, photos=2, draws=1)
    assert result.known_people == 10
    assert (~result.known).sum() == 10 * 3 + 10
    with pytest.raises(FaceOpsError, match="gallery_photos"):
        searched(faces, photos=3)


def test_table_of_gallery_sizes_gives_a_reason_if_no_person_has_enough_photos():
    settings = Evaluate(open_set_gallery_photos=[1, 2, 5])
    done, figures = open_set_protocol(people(60, 4, 0.4, 2), VERIFIER, thresholds(), settings)
    rows = figures["open_sets"]
    assert rows[1] == figures["open_set"] == open_set_figures(done, thresholds(), settings.seed)
    assert [row["gallery_photos"] for row in rows] == [1, 2, 5]
    assert [row.get("gallery_faces") for row in rows] == [30, 60, None]
    assert "have more than 5 photos" in rows[2]["reason"]
    assert rows[1]["dir_at_fpir_0.01"] > rows[0]["dir_at_fpir_0.01"]
    assert rows[0]["dir_interval"]["low"] <= rows[0]["dir"] <= rows[0]["dir_interval"]["high"]


def test_gallery_against_query_counts_names():
    outcome = OpenSet(
        person=np.array([0, 0, 1, 1, 2, 2]),
        known=np.array([1, 1, 1, 1, 0, 0], bool),
        right=np.array([1, 0, 1, 1, 0, 0], bool),
        best=np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.2], np.float32),
        named=np.array([1, 1, 1, 0, 1, 0], bool),
        gallery_photos=1, gallery_faces=2, known_people=2, threshold=0.5, draws=1,
    )  # fmt: skip
    figures = gallery_query_figures(outcome, seed=0)
    assert figures["identification_rate"] == 0.5
    assert figures["true_positive_rate"] == 0.75
    assert figures["false_positive_rate"] == 0.5
    assert figures["accuracy"] == 0.5
    assert figures["detection_auc"] == 7 / 8
    fpr, tpr, rate = outcome.curve()
    assert (fpr.tolist(), tpr.tolist(), rate.tolist()) == ([0.5, 1], [1, 1], [0.75, 0.75])


def test_curve_meets_the_rates_at_every_threshold():
    result = searched(people(60, 4, 0.6, 2))
    fpr, tpr, rate = result.curve()
    assert (np.diff(fpr) > 0).all()
    for f, t, r in zip(fpr[::20], tpr[::20], rate[::20], strict=True):
        known = result.best[result.known]
        assert t == pytest.approx(roc(known, result.best[~result.known]).tar(f))
        assert f == 1 or r == pytest.approx(result.rate_at(f))
        assert r <= t
