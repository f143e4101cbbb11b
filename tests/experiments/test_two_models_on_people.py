"""Held-out people and two models side by side, on simulated people."""

import numpy as np
import pytest

from experiments.training.held_out_people import held_out_people
from experiments.training.paired_gain import search_gain, tar_gains
from faceops.base.errors import FaceOpsError
from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.open_set import open_set
from faceops.evaluation.pair_scan import scan_pairs
from faceops.verification.tail import TailPoint
from faceops.verification.thresholds import SearchTail, Thresholds
from tests.evaluation.simulated import VERIFIER, people, shuffled

# Stated, not measured: that takes seconds.
TAIL = [TailPoint(rate=0.1, probability=0.9), TailPoint(rate=0.01, probability=0.99)]
THRESHOLDS = Thresholds(
    data="nobody",
    people=100,
    photos=200,
    genuine_pairs=100,
    impostor_pairs=1000,
    pairs=[],
    search=[],
    pair_tail=TAIL,
    search_tails=[SearchTail(gallery_faces=1, points=TAIL)],
    default_budget=0.05,
    runner_up_margin=0.0,
)


def test_drawing_everybody_gives_the_protocols_own_figures() -> None:
    faces = shuffled(people(30, 3, seed=5))
    held = held_out_people(
        faces, VERIFIER, THRESHOLDS, gallery_photos=1, seed=2, people=30, draws=2
    )
    search = open_set(
        faces, VERIFIER, THRESHOLDS, gallery_photos=1, unknown_share=0.5, seed=2, draws=1
    )
    assert held.rank_1.tolist() == [closed_set(faces, VERIFIER).rate(1)] * 2
    assert held.identified[0] == search.identified[search.known].mean()
    assert held.strangers_named[0] == search.named[~search.known].mean()


def test_draws_differ_and_take_people_with_enough_photos_alone() -> None:
    faces = people(30, 3, noise=0.8, seed=5)
    held = held_out_people(
        faces, VERIFIER, THRESHOLDS, gallery_photos=2, seed=2, people=20, draws=4
    )
    assert len(set(held.rank_1.tolist())) > 1
    with pytest.raises(FaceOpsError, match="0 people have more than 3 photos, and 20"):
        held_out_people(faces, VERIFIER, THRESHOLDS, gallery_photos=3, seed=2, people=20)


def test_a_gain_is_between_the_protocols_own_figures() -> None:
    searches, scans = [], []
    for noise in (0.6, 0.4):
        faces = people(40, 4, noise, seed=9)
        searches.append(
            open_set(faces, VERIFIER, None, gallery_photos=1, unknown_share=0.5, seed=1)
        )
        scans.append(scan_pairs(faces, VERIFIER, [0.01]))
    gain = search_gain("search", *searches, 0.02, 0)
    assert (gain.old, gain.new) == pytest.approx([one.rate_at(0.02) for one in searches])
    (tar,) = tar_gains("pairs", *scans, [0.01], 0)
    assert (tar.old, tar.new) == tuple(scan.roc.tar(0.01) for scan in scans)
    for one in (gain, tar):
        assert 0 < one.standard_error < one.new - one.old
        assert np.sign(one.new - one.old) == 1
