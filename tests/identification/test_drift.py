"""Drift: a changed album is reported, a difference by chance is not."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from faceops.base.reasons import CODES, IDENTIFIED, NO_REASON, UNKNOWN, Reason
from faceops.faces.quality import QUALITY_VERSION
from faceops.identification.drift import QUALITY, SIMILARITY, UNNAMED, DriftMeter, compare
from faceops.identification.engine.decide import FaceDecisions, NamedBlock
from faceops.identification.summary import Drift
from faceops.release.bundle import Bundle
from faceops.verification.normalisation import Normalisation
from faceops.verification.thresholds import Thresholds, search_log_odds
from faceops.verification.verifier import clipped_log_odds
from tests.identification.columns import block, photo

GALLERY, BUDGET = 12, 0.2
draw = np.random.default_rng(2)


@pytest.fixture
def thresholds(bundle: Bundle) -> Thresholds:
    deciles = [round(value, 1) for value in np.arange(1, 10) / 10]
    return bundle.release.thresholds.model_copy(
        update={"quality_deciles": deciles, "quality_version": QUALITY_VERSION}
    )


Seen = tuple[str, float, float | None]  # name of the photo, quality, probability; None is named


def measured(thresholds: Thresholds, seen: Sequence[Seen], before: set[str]) -> dict[str, Drift]:
    """Drift of photos of one face."""
    meter = DriftMeter(thresholds, GALLERY, BUDGET, frozenset(name.encode() for name in before))
    for start in range(0, len(seen), 90):
        some = seen[start : start + 90]
        photos = block(*(photo(name.encode().hex(), [quality]) for name, quality, _ in some))
        named = np.array([probability is None for *_, probability in some])
        below = CODES[Reason.BELOW_THRESHOLD]
        decisions = replace(
            FaceDecisions.without_names(len(some)),
            kind=np.where(named, IDENTIFIED, UNKNOWN),
            reason=np.where(named, NO_REASON, below),
            best=np.zeros(len(some), np.int32),
            probability=np.array([probability or 1 for *_, probability in some], np.float32),
        )
        meter.add(NamedBlock(photos, [name for name, *_ in some], decisions, ["Ann"]))
    return {drift.what: drift for drift in meter.result()}


def as_calibrated(thresholds: Thresholds, count: int) -> list[Seen]:
    """Strangers whose quality and similarity are those of the calibration."""
    photos = []
    for number in range(count):
        share = BUDGET + (1 - BUDGET) * draw.random()  # not among those that are named
        odds = search_log_odds(thresholds.search_tails, min(share, 0.85), GALLERY)
        photos.append((f"p{number}", draw.random(), float(1 / (1 + np.exp(-odds)))))
    return photos


def test_faces_like_those_of_the_calibration_are_not_drift(thresholds):
    found = measured(thresholds, as_calibrated(thresholds, 2000), set())
    assert set(found) == {QUALITY, SIMILARITY}
    assert {drift.level for drift in found.values()} == {"none"}
    assert all(drift.psi < 0.05 and drift.advice == "" for drift in found.values())
    for drift in found.values():
        assert sum(drift.expected) == pytest.approx(1, abs=1e-3)
        assert sum(drift.seen) == pytest.approx(1, abs=1e-3)


def test_lower_face_quality_is_reported_with_advice_and_better_is_no_reason_to_doubt_thresholds(
    thresholds,
):
    for least, advice in ((0.0, "poorer"), (0.5, "better")):
        photos = [(f"p{number}", least + 0.5 * draw.random(), 0.001) for number in range(300)]
        drift = measured(thresholds, photos, set())[QUALITY]
        assert drift.level == "major" and advice in drift.advice
    assert "stricter" not in drift.advice


def test_small_faces_of_bystanders_are_not_poorer_photos(thresholds):
    meter = DriftMeter(thresholds, GALLERY, BUDGET)
    for number in range(300):
        both = photo(f"{number:04x}", [0.05, draw.random()])
        both.faces["box"][0] = (1, 2, 10, 12)  # narrower and lower than the other
        photos = block(both)
        meter.add(NamedBlock(photos, [""], FaceDecisions.without_names(2), ["Ann"]))
    found = {drift.what: drift for drift in meter.result()}
    assert (found[QUALITY].faces, found[QUALITY].level) == (300, "none")


def test_thresholds_that_adapt_are_only_compared_with_poorer_faces(thresholds):
    known = Normalisation(
        weight=[1.0], centre=[0.0], link=0, scale=1, shift=0, shape=[], populations=[]
    )
    adapting = thresholds.model_copy(update={"normalisation": known})
    for least, advice in ((0.5, ""), (0.0, "poorer")):
        qualities = least + 0.5 * draw.random(300)
        photos = [(f"p{number}", quality, 0.99) for number, quality in enumerate(qualities)]
        found = measured(adapting, photos, set())
        assert set(found) == {QUALITY} and found[QUALITY].level == "major"
        assert advice in found[QUALITY].advice and bool(advice) == bool(found[QUALITY].advice)


def test_unnamed_faces_close_to_an_enrolled_person_are_reported(thresholds):
    odds = search_log_odds(thresholds.search_tails, 0.25, GALLERY)
    near = float(1 / (1 + np.exp(-odds)))
    assert clipped_log_odds(near) == pytest.approx(odds, abs=1e-3)
    photos = [(f"p{number}", draw.random(), near) for number in range(300)]
    drift = measured(thresholds, photos, set())[SIMILARITY]
    assert drift.level == "major"
    assert "enrol more" in drift.advice


def test_new_photos_are_compared_with_earlier_ones(thresholds):
    old = [(f"old{number}", draw.random(), None) for number in range(200)]
    new = [(f"new{number}", draw.random(), 0.001) for number in range(100)]
    found = measured(thresholds, [*old, *new], {f"old{number}" for number in range(200)})
    assert found[UNNAMED].level == "major"
    assert "new people to enrol" in found[UNNAMED].advice
    assert found[QUALITY].faces == 100
    few = measured(thresholds, [*old, *new[:10]], {f"old{number}" for number in range(200)})
    assert UNNAMED not in few
    assert few[QUALITY].faces == 210


def test_few_faces_and_chance_differences_are_not_reported():
    tenths = [0.1] * 10
    assert compare(QUALITY, tenths, np.full(10, 4)) is None
    levels = []
    for _ in range(1000):
        counts = draw.multinomial(60, tenths)
        drift = compare(QUALITY, tenths, counts)
        assert drift is not None
        levels.append(drift.level)
    # Without the guard against chance about 84 % of these would be warnings.
    assert levels.count("none") > 960
    many = compare(QUALITY, [0.5, 0.5], np.array([25_000, 75_000]))
    assert many is not None and many.level == "major"
    assert many.psi == pytest.approx(-0.25 * np.log(0.5) + 0.25 * np.log(1.5), abs=1e-3)


@pytest.mark.parametrize("stated", [{"quality_deciles": []}, {"quality_version": 1}])
def test_a_release_that_states_no_quality_of_this_measure_is_not_compared(thresholds, stated):
    plain = thresholds.model_copy(update=stated)
    assert QUALITY not in measured(plain, as_calibrated(plain, 100), set())
