"""Data-parallel processes compute the gradients of one process, and keep the same weights."""

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from faceops.base.errors import FaceOpsError
from faceops.embedding.embedder import Embedder
from faceops.embedding.training.processes import Processes
from faceops.embedding.training.training_loop import Trainer
from tests.embedding.faces_for_training import (
    coloured_people,
    pixel_inputs,
    small_network,
    tiny_training,
)


def train_small_network(normalised: bool, processes: Processes, folder: Path) -> Embedder:
    """Train by classification and by mined triplets, with or without batch normalisation."""
    train = coloured_people(6, 4, singles=3, seed=1, noise=90)
    val = coloured_people(6, 3, seed=2, noise=150)
    settings = tiny_training(
        learning_rate=0.001,
        photos_per_person=3,
        miners={"batch_hard": 0.5, "global": 1.0},
        triplet_margin=2.0,
        ema_decay=0.5,
    )
    model = small_network(torch.nn.BatchNorm2d(4) if normalised else None)
    inputs = pixel_inputs(train, val, settings)
    result = Trainer(model, inputs, settings, folder, processes).fit()
    assert result.best_epoch > 1  # whose weights, those of a triplet epoch, are returned
    return model


def work(rank: int, folder: Path) -> None:
    """Train both networks as one of two processes, and write their weights."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=2),
    )
    processes = Processes(rank, 2)
    for normalised in (False, True):
        model = train_small_network(normalised, processes, folder / f"run-{normalised}")
        save_file(model.state_dict(), folder / f"{normalised}-{rank}.safetensors")
    processes.leave()


@pytest.mark.slow
def test_two_processes_equal_one_and_end_with_the_same_weights(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (tmp_path,), nprocs=2)
    for normalised in (False, True):
        first, second = (
            load_file(tmp_path / f"{normalised}-{rank}.safetensors") for rank in (0, 1)
        )
        assert all(torch.equal(value, second[name]) for name, value in first.items())
    # Without batch normalisation, which each process does over its own share on a CPU, the
    # gradients of two shares are those of the whole batch.
    alone = train_small_network(False, Processes(), tmp_path / "alone").state_dict()
    shared = load_file(tmp_path / "False-0.safetensors")
    for name, value in alone.items():
        assert torch.allclose(shared[name], value, atol=1e-5), name


def test_too_many_processes_for_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FaceOpsError, match=r"processes = 8 leaves .* the \d+ faces of a batch"):
        train_small_network(False, Refusing(0, 8), tmp_path)


class Refusing(Processes):
    """Eight processes that never meet: scoring the start needs no others here."""

    def agree(self, value: object) -> object:
        return value

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        pass
