"""Figures of batches and epochs; a run that learns nothing ends with advice; the map of faces."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceops.base.errors import FaceOpsError
from faceops.embedding.losses import batch_figures, epoch_means, squared_distances
from faceops.embedding.training import figures as training
from faceops.embedding.training.figures import check_collapse, validation_figures
from tests.verification.population import unit_rows


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    figures = {"loss": 0.3, "spread": 0.9, "positive_distance": 1.0, "negative_distance": 1.9}
    return {"epoch": epoch, "phase": "triplet"} | figures | changes


STUCK = {"loss": 0.8, "positive_distance": 1.79, "negative_distance": 1.8}


def test_figures_of_a_batch_are_those_of_the_loop():
    embeddings = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels, margin = [0, 0, 1, 1, 1, 2], 0.4
    far = squared_distances(embeddings)
    figures = batch_figures(embeddings, far, torch.tensor(labels), margin)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j and labels[i] == labels[j]]
    others = [(i, j) for i in range(6) for j in range(6) if labels[i] != labels[j]]
    active = [far[a, n] < far[a, p] + margin for a, p in pairs for b, n in others if a == b]
    assert figures["active_triplets"] == pytest.approx(sum(map(bool, active)) / len(active))
    for name, of in (("positive_distance", pairs), ("negative_distance", others)):
        assert figures[name] == pytest.approx(sum(float(far[i, j]) for i, j in of) / len(of))
    assert figures["spread"] == pytest.approx(float(embeddings.var(0, correction=0).sum()) ** 0.5)
    alone = batch_figures(embeddings, far, torch.arange(6), margin)
    assert math.isnan(alone["active_triplets"])
    assert epoch_means([figures, alone, alone])["active_triplets"] == figures["active_triplets"]
    assert math.isnan(epoch_means([alone])["positive_distance"])


def test_only_a_loss_stuck_at_the_margin_for_two_epochs_is_an_error():
    check_collapse([row(1), row(2)])
    check_collapse([{"epoch": 0, "phase": "start"}, row(1, **STUCK)])
    check_collapse([row(1, **STUCK), row(2), row(3, **STUCK)])
    check_collapse([row(1, phase="warmup", **STUCK), row(2, phase="warmup", **STUCK)])
    message = r"since epoch 4 the loss is stuck at the margin .* raise train.warmup_epochs"
    with pytest.raises(FaceOpsError, match=message):
        check_collapse([row(3), row(4, **STUCK), row(5, **STUCK)])


def test_figures_of_a_perfect_and_of_a_blind_embedding():
    labels = np.repeat(np.arange(10), 3)
    perfect = np.eye(10, dtype=np.float32)[labels]
    figures = validation_figures(perfect, labels)
    assert figures["val_tar"] == figures["val_auc"] == figures["val_score"] == 1
    blind = validation_figures(np.tile(np.array([1, 0], np.float32), (30, 1)), labels)
    assert blind["val_tar"] == 0
    assert blind["val_auc"] == pytest.approx(0.5)
    for people in (np.zeros(30), np.arange(30)):  # no impostor pair, no genuine pair
        assert np.isnan(validation_figures(perfect, people)["val_score"])


def test_each_person_counts_the_same_however_many_photos_they_have():
    labels = np.repeat(np.arange(6), [2, 2, 3, 3, 4, 30])
    embeddings = np.random.default_rng(0).normal(0, 0.4, (44, 6)) + np.eye(6)[labels]
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = embeddings @ embeddings.T
    people = [np.flatnonzero(labels == person) for person in range(6)]
    genuine = [cosines[np.ix_(own, own)][np.triu_indices(len(own), 1)] for own in people]
    impostor = [cosines[np.ix_(one, other)] for one, other in combinations(people, 2)]
    auc = np.mean([[(own[:, None] > pair.ravel()).mean() for pair in impostor] for own in genuine])
    figures = validation_figures(embeddings.astype(np.float32), labels)
    assert figures["val_auc"] == pytest.approx(float(auc), abs=1e-6)
    steps = np.unique(np.concatenate([pair.ravel() for pair in impostor]))
    passed = [np.mean([(pair >= step).mean() for pair in impostor]) for step in steps]
    above = steps[np.array(passed) > 0.01].max()  # a genuine score has to be above it
    tar = np.mean([(own > above).mean() for own in genuine])
    assert figures["val_tar_far_1e-2"] == pytest.approx(float(tar), abs=1e-6)


def clusters(people: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    return unit_rows(0, people, photos, np.full(16, 0.12))


def test_people_with_several_photos_are_chosen_and_their_photos_limited():
    rows = training.choose_faces(np.array(["one", *["two"] * 2, *["ten"] * 10]), 0)
    assert np.bincount((rows > 0).astype(int) + (rows > 2)).tolist() == [0, 2, 8]


def test_similar_faces_are_near_and_each_has_its_own_cell():
    embeddings, persons = clusters(10, 4)
    cells = training.place(embeddings, 0)
    assert len(np.unique(cells, axis=0)) == 40
    gaps = np.abs(cells[:, None] - cells).max(-1)
    same = persons[:, None] == persons
    assert np.median(gaps[same]) < np.median(gaps[~same]) / 3


@pytest.mark.parametrize("with_crops", [True, False])
def test_the_same_faces_give_the_same_map(with_crops):
    crops = np.full((12, 112, 112, 3), 200, np.uint8) if with_crops else None
    first, second = (training.draw_similarity_map(*clusters(4, 3), crops) for _ in range(2))
    assert first and second
    assert first.tobytes() == second.tobytes()
    assert ((200, 200, 200) in {colour for _, colour in first.getcolors(99_999)}) == with_crops


@pytest.mark.parametrize(
    ("people", "photos", "value"), [(2, 4, 1.0), (20, 1, 1.0), (0, 3, 1.0), (4, 3, np.nan)]
)
def test_there_is_no_map_of_too_few_faces(people, photos, value):
    embeddings, persons = clusters(people, photos)
    assert training.draw_similarity_map(embeddings * value, persons) is None
    collapsed = np.full((12, 16), 0.25, np.float32)
    assert training.draw_similarity_map(collapsed, clusters(4, 3)[1])  # is drawn too
