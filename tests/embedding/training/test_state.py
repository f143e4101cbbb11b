"""The learning rate over a run, the moving average of weights, and the memory bank."""

import math

import numpy as np
import pytest
import torch

from faceops.embedding.training.state import MemoryBank, build_average, build_schedule


def optimiser(peak: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), peak)


def test_the_rate_rises_linearly_and_falls_by_a_cosine():
    moved = optimiser(0.1)
    schedule = build_schedule(moved, 200)
    for step in range(200):
        cosine = 0.05 * (1 + math.cos(math.pi * (step - 10) / 190))
        expected = 0.01 * (step + 1) if step < 10 else cosine
        assert schedule.get_last_lr() == [pytest.approx(expected)]
        assert build_schedule(optimiser(0.1), 200, step).get_last_lr() == schedule.get_last_lr()
        moved.step()
        schedule.step()
    assert schedule.get_last_lr() == [0]


def test_the_average_is_the_recurrence_with_a_rising_decay():
    assert build_average(torch.nn.Linear(1, 1), 0.0) is None
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(expected := 1.0)
    average = build_average(module, 0.5)
    assert average is not None
    for step, value in enumerate([2.0, 5.0, -3.0, 7.0, 4.0, 9.0, 1.0, 2.0, 8.0, 6.0]):
        module.weight.data.fill_(value)
        average.update_parameters(module)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_running_statistics_are_averaged_and_counts_of_batches_copied():
    norm = torch.nn.BatchNorm1d(2)
    average = build_average(norm, 0.9)
    assert average is not None
    norm(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    average.update_parameters(norm)
    assert norm.running_mean is not None
    assert average.module.num_batches_tracked == 1
    # The decay of the first update is 1 / 10.
    assert torch.allclose(average.module.running_mean, 0.9 * norm.running_mean)


def test_memory_bank_keeps_the_latest_embedding_of_each_face():
    draw = torch.Generator().manual_seed(0)
    first, later = torch.randn(6, 4, generator=draw), torch.randn(2, 4, generator=draw)
    bank = MemoryBank(6, 4, "cpu")
    assert bank.stale().tolist() == [0, 1, 2, 3, 4, 5]
    bank.update(np.arange(6), first)
    bank.fresh.fill_(False)
    bank.update(np.array([4, 1]), later.bfloat16().requires_grad_())
    expected = first.clone()
    expected[4], expected[1] = later.bfloat16().float()
    assert torch.equal(bank.embeddings, expected)
    assert not bank.embeddings.requires_grad
    other = MemoryBank(6, 4, "cpu")
    other.load_state_dict({name: value.clone() for name, value in bank.state_dict().items()})
    assert torch.equal(other.embeddings, expected)
    assert bank.stale().tolist() == other.stale().tolist() == [0, 2, 3, 5]
