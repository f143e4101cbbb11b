"""The picture of a run: epochs on its axis, single steps behind them, phases marked."""

from typing import Any

import numpy as np

from faceops.embedding.training.run_log import MOST_STEPS, draw_training_curves

HISTORY: list[dict[str, Any]] = [
    {"epoch": 0, "phase": "start", "val_tar": 0.1, "val_score": 0.2},
    {"epoch": 1, "phase": "warmup", "loss": 12.0, "val_tar": 0.3, "val_score": 0.4, "spread": 0.9},
    {"epoch": 4, "phase": "triplet", "loss": 0.2, "val_tar": 0.5, "val_score": 0.6, "spread": 0.8},
]


def test_every_figure_lies_over_its_epoch() -> None:
    steps = [(number / 1000, 20.0) for number in range(5000)]
    loss, validation, _ = draw_training_curves(HISTORY, steps).axes
    thin, means = loss.get_lines()[:2]
    assert len(thin.get_xdata()) <= MOST_STEPS
    assert np.array_equal(means.get_xydata(), [[1, 12], [4, 0.2]])
    assert loss.get_yscale() == "log"
    (val_tar,) = (line for line in validation.get_lines() if line.get_label() == "val_tar")
    assert np.array_equal(val_tar.get_xydata(), [[0, 0.1], [1, 0.3], [4, 0.5]])
    assert [text.get_text() for text in loss.texts] == ["warmup", "triplet"]


def test_a_run_of_no_epochs_and_a_loss_of_0_are_drawn() -> None:
    assert len(draw_training_curves(HISTORY[:1]).axes) == 3
    lost = [*HISTORY[:1], {"epoch": 1, "phase": "triplet", "loss": 0.0}]
    assert draw_training_curves(lost).axes[0].get_yscale() == "linear"
