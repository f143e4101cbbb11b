"""torchrun on two hosts: the loss curve of one process, also when a host dies on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceops.embedding.training.processes import Processes
from faceops.embedding.training.training_loop import Trainer, TrainingLog
from tests.embedding.faces_for_training import (
    coloured_people,
    pixel_inputs,
    small_network,
    tiny_training,
)
from tests.embedding.training.hosts import ADDRESSES, WIRE, ip, two_hosts

ROOT = Path(__file__).parents[3]


class Losses(TrainingLog):
    """Adds step and loss to a file, which a continued run goes on with."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        with self.file.open("a") as opened:
            opened.write(json.dumps([step, figures["loss"]]) + "\n")


def train(folder: Path, processes: Processes, log: TrainingLog) -> list[dict[str, Any]]:
    """Train a network without batch normalisation, which on a CPU sees a process's share only."""
    people = coloured_people(8, 4, seed=1, noise=90), coloured_people(6, 3, seed=2, noise=150)
    settings = tiny_training(learning_rate=0.001, warmup_epochs=2, miners={"batch_hard": 1.0})
    inputs = pixel_inputs(*people, settings)
    checkpoints = folder / "checkpoints"
    return Trainer(small_network(), inputs, settings, checkpoints, processes, log).fit().history


def losses(folder: Path) -> dict[int, float]:
    """Return the loss of each step; of a step that was taken again, the last."""
    lines = (folder / "losses.jsonl").read_text().splitlines()
    return dict(map(json.loads, lines))


def start(host: str, rank: int, folder: Path) -> subprocess.Popen[str]:
    """Start torchrun on a host, whose disk is `folder`."""
    folder.mkdir(exist_ok=True)
    command = ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run"]
    command += ["--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"]
    command += ["--master-addr", ADDRESSES[0], "--master-port", "29400"]
    command += ["-m", "tests.embedding.training.on_a_host", str(folder)]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": WIRE, "PYTHONPATH": f"{ROOT}/src:{ROOT}"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_two_hosts_train_as_one_process_does_though_one_dies(tmp_path: Path) -> None:
    alone = train(tmp_path, Processes(), Losses(tmp_path / "losses.jsonl"))
    folders = tmp_path / "a", tmp_path / "b"
    with two_hosts() as hosts:
        folders[1].mkdir()
        (folders[1] / "dies").touch()
        running = [start(host, rank, folders[rank]) for rank, host in enumerate(hosts)]
        said, _ = (process.communicate(timeout=600)[1] for process in running)
        assert [process.returncode != 0 for process in running] == [True, True]
        (sentence,) = (line for line in said.splitlines() if line.startswith("error: "))
        assert "ended, or its host cannot be reached" in sentence
        assert "they continue from the checkpoint of process 0" in sentence
        died_after = max(losses(folders[0]))

        (folders[1] / "dies").unlink()
        ip("-n", hosts[1], "link", "set", WIRE, "up")
        running = [start(host, rank, folders[rank]) for rank, host in enumerate(hosts)]
        said, _ = (process.communicate(timeout=600)[1] for process in running)
        assert [process.returncode for process in running] == [0, 0], said
    assert "training continues after epoch" in said
    shared, whole = losses(folders[0]), losses(tmp_path)
    assert 0 < died_after < max(shared) == max(whole)
    # Each host adds the gradients of its share first: sums of float32 in another order, whose
    # differences the steps carry on.
    steps = sorted(whole)
    assert sorted(shared) == steps
    np.testing.assert_allclose([shared[s] for s in steps], [whole[s] for s in steps], rtol=1e-4)
    history = json.loads((folders[0] / "history.json").read_text())
    assert [row["epoch"] for row in history] == [row["epoch"] for row in alone]
    for row, expected in zip(history[1:], alone[1:], strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
