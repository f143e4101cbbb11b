"""The figures that compare epochs are those of the curve over all pairs."""

from itertools import combinations

import numpy as np
import pytest

from faceops.embedding.accept_rates import validation_figures


def test_figures_of_a_perfect_and_of_a_blind_embedding() -> None:
    labels = np.repeat(np.arange(10), 3)
    perfect = np.eye(10, dtype=np.float32)[labels]
    figures = validation_figures(perfect, labels)
    assert figures["val_tar"] == figures["val_auc"] == figures["val_score"] == 1
    blind = validation_figures(np.tile(np.array([1, 0], np.float32), (30, 1)), labels)
    assert blind["val_tar"] == 0
    assert blind["val_auc"] == pytest.approx(0.5)


def test_each_person_counts_the_same_however_many_photos_they_have() -> None:
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
