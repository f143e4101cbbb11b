"""The figures that compare epochs are those of the curve over all pairs."""

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
