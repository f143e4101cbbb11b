"""The moving average of weights equals the recurrence written out."""

import pytest
import torch

from faceops.embedding.training.weight_average import WeightAverage


def moved(module: torch.nn.Linear, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)


def test_it_is_the_recurrence_with_a_rising_decay() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    moved(module, 1.0)
    average = WeightAverage(module, 0.5)
    expected = 1.0
    for step, value in enumerate([2.0, 5.0, -3.0, 7.0, 4.0, 9.0, 1.0, 2.0, 8.0, 6.0]):
        moved(module, value)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        with average.in_place():
            assert module.weight.item() == pytest.approx(expected, rel=1e-6)
        assert module.weight.item() == value


def test_counts_are_copied_and_statistics_averaged() -> None:
    norm = torch.nn.BatchNorm1d(2)
    average = WeightAverage(norm, 0.9)
    norm(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    average.update()
    assert norm.running_mean is not None
    with average.in_place():
        assert norm.num_batches_tracked == 1
        inside = norm.running_mean.clone()
    assert torch.allclose(inside, 0.9 * norm.running_mean)  # decay 1 / 10 at the first step


def test_without_decay_the_weights_are_their_own_average() -> None:
    module = torch.nn.Linear(1, 1)
    average = WeightAverage(module, 0.0)
    average.update()
    moved(module, 3.0)
    with average.in_place():
        assert module.weight.item() == 3.0
    assert average.tensors() == {}
