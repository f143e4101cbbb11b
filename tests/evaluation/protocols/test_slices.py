"""Figures of groups, at the thresholds of all people together."""

import numpy as np
import pytest

from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.slices import (
    FAR,
    GALLERY,
    Attributes,
    chance_identified,
    measure_slices,
)
from faceops.verification.thresholds import SearchTail, TailPoint, Thresholds
from faceops.verification.verifier import Verifier

PLAIN = Verifier(-np.full(8, 20, np.float32), 6.0, "distance")


def faces(people: int = 60, photos: int = 3, noise: float = 0.15) -> EmbeddedFaces:
    draw = np.random.default_rng(0)
    persons = np.repeat([f"Ada_{number:03}" for number in range(people)], photos)
    vectors = np.repeat(draw.normal(size=(people, 8)), photos, 0)
    vectors += noise * draw.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = np.array([f"photos/{p}/{i % photos}.jpg" for i, p in enumerate(persons)])
    return EmbeddedFaces(vectors.astype(np.float32), persons, paths)


def release_thresholds() -> Thresholds:
    tail = [TailPoint(rate=0.9, probability=0.1), TailPoint(rate=1e-4, probability=0.99)]
    return Thresholds(
        data="nobody", people=5000, photos=5000, genuine_pairs=1, impostor_pairs=1, pairs=[],
        search=[], pair_tail=tail, search_tails=[SearchTail(gallery_faces=1, points=tail)],
        default_budget=0.1, runner_up_margin=1.0,
    )  # fmt: skip


def test_a_groups_rates_are_those_of_its_pairs_one_by_one() -> None:
    some = faces()
    group = np.where(np.arange(len(some)) % 9 < 6, "left", "right")
    figures = measure_slices(
        some, Attributes({"side": group}, 0), PLAIN, release_thresholds(), seed=0
    )
    cut = figures["about"]["threshold"]
    for value in ("left", "right"):
        rows = np.flatnonzero(group == value)
        probability = PLAIN.probability_matrix(some.embeddings[rows], some.embeddings[rows])
        same = some.persons[rows][:, None] == some.persons[rows]
        above = np.triu(np.ones_like(same), 1).astype(bool)
        found = figures["side"][value]
        assert found["genuine_pairs"] == (same & above).sum()
        assert found["tar"] == pytest.approx((probability[same & above] >= cut).mean())
        assert found["false_accept_rate"] == pytest.approx(
            (probability[~same & above] >= cut).mean()
        )
        at = release_thresholds().for_pairs(FAR)
        assert found["release_tar"] == pytest.approx((probability[same & above] >= at).mean())
        low, high = found["tar_interval"]["low"], found["tar_interval"]["high"]
        assert low <= found["tar"] <= high
    rates = {value: figures["side"][value]["tar"] for value in ("left", "right")}
    able = [value for value in rates if figures["side"][value]["tar_supported"]]
    assert able == ["left"]  # 40 people; 20 are too few
    assert figures["worst"]["tar"] == {
        "attribute": "side", "value": "left", "tar": rates["left"],
        "tar_interval": figures["side"]["left"]["tar_interval"],
    }  # fmt: skip
    assert "it takes 30" in figures["side"]["right"]["too_small"]
    assert figures["worst"]["false_accept_rate"] is None  # 142 people would be needed
    assert figures["side"]["left"]["people_needed"]["false_accept_rate"] == 142


def test_a_group_of_one_person_says_what_it_can() -> None:
    some = faces(5, 2)
    group = np.where(some.persons == "Ada_000", "one", "")
    figures = measure_slices(some, Attributes({"x": group}, 0), PLAIN, None, seed=0)
    assert list(figures["x"]) == ["one"]
    one = figures["x"]["one"]
    assert (one["people"], one["genuine_pairs"]) == (1, 1)
    assert one["false_accept_rate"] is None
    assert one["dir"] is None
    assert "nothing was calibrated" in one["search_refused"]
    assert figures["worst"] == {"tar": None, "false_accept_rate": None}


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_the_chance_of_the_right_name_is_that_of_many_galleries(margin: float) -> None:
    some = faces(25, 2, noise=0.45)
    cut = -4.0
    chance, whose = chance_identified(some, PLAIN, cut, margin, seed=4)
    assert len(chance) == len(whose) == 3 * 25
    draw = np.random.default_rng(5)
    order = np.random.default_rng(4).permutation(50)  # the first gallery that is drawn
    person = np.repeat(np.arange(25), 2)
    gallery = order[np.unique(person[order], return_index=True)[1]]
    probes = np.setdiff1d(np.arange(50), gallery)
    logits = PLAIN.logit_matrix(some.embeddings[probes], some.embeddings[gallery])
    named = np.zeros(25)
    for _ in range(600):
        for row in range(25):
            others = draw.permutation(np.delete(np.arange(25), row))[: GALLERY - 1]
            own, rival = logits[row, row], logits[row, others].max()
            right = own > rival if margin else own >= rival
            named[row] += own >= cut and right and own - rival >= margin
    assert 0.2 < chance.mean() < 0.98
    assert chance[:25] == pytest.approx(named / 600, abs=0.08)
