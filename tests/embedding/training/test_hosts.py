"""Two hosts train with the loss curve of one process, also when a host dies on the way.

They are network namespaces that share a wire. Each runs this file as `torchrun` would run it, with
a folder of its own as its disk; a host whose folder holds `dies` cuts the wire at a step and is
gone: the other gets no closed connection, as after a power cut.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from faceops.embedding.training.figures import TrainingLog
from faceops.embedding.training.processes import Processes
from faceops.embedding.training.training_loop import Trainer
from faceops.stages import run_script
from tests.embedding.faces_for_training import (
    coloured_people,
    pixel_inputs,
    small_network,
    tiny_training,
)

ROOT = Path(__file__).parents[3]
ADDRESSES = ("10.231.7.1", "10.231.7.2")
WIRE = "wire"  # the name of the interface in both


class Losses(TrainingLog):
    """Adds step and loss to a file, which a continued run goes on with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        if (self.folder / "dies").exists() and step == 12:
            ip("link", "set", WIRE, "down")
            os.kill(os.getpid(), signal.SIGKILL)
        with (self.folder / "losses.jsonl").open("a") as opened:
            opened.write(json.dumps([step, figures["loss"]]) + "\n")


def train(folder: Path, processes: Processes) -> list[dict[str, Any]]:
    """Train a network without batch normalisation, which on a CPU sees a process's share only."""
    people = coloured_people(8, 4, seed=1, noise=90), coloured_people(6, 3, seed=2, noise=150)
    settings = tiny_training(learning_rate=0.001, warmup_epochs=2, miners={"batch_hard": 1.0})
    inputs, log = pixel_inputs(*people, settings), Losses(folder)
    checkpoints = folder / "checkpoints"
    return Trainer(small_network(), inputs, settings, checkpoints, processes, log).fit().history


def on_a_host() -> None:
    """Take part in the training; the first host writes the history."""
    folder, processes = Path(sys.argv[1]), Processes.join(torch.device("cpu"))
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=30), dist.group.WORLD)
    history = train(folder, processes)
    processes.leave()
    (folder / "history.json").write_text(json.dumps(history))


def ip(*words: str) -> None:
    """Run `ip`; skip the test where this user or kernel may not make namespaces."""
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no ip (apt-get install iproute2) to make network namespaces with")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: ip {' '.join(words)}: {error.stderr.strip()}")


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Make two namespaces, yield their names, and remove them."""
    names = (f"faceops{os.getpid()}a", f"faceops{os.getpid()}b")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", WIRE, "netns", names[0], "type", "veth",
           "peer", "name", WIRE, "netns", names[1])  # fmt: skip
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", WIRE)
            for link in ("lo", WIRE):
                ip("-n", name, "link", "set", link, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def run_on(hosts: tuple[str, str], folders: tuple[Path, Path]) -> tuple[list[int], str]:
    """Run both; return their exit codes and the errors of the first."""
    own = {"GLOO_SOCKET_IFNAME": WIRE, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "WORLD_SIZE": "2"}
    own |= {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29400"}
    running = []
    for rank, (host, folder) in enumerate(zip(hosts, folders, strict=True)):
        command = ["ip", "netns", "exec", host, sys.executable, "-m"]
        command += ["tests.embedding.training.test_hosts", str(folder)]
        env = os.environ | own | {"RANK": str(rank)}
        piped = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
        running.append(piped)
    said, _ = (process.communicate(timeout=600)[1] for process in running)
    return [process.returncode for process in running], said


@pytest.mark.slow
def test_two_hosts_train_as_one_process_does_though_one_dies(tmp_path: Path) -> None:
    alone = train(tmp_path, Processes())
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()

    def losses(folder: Path) -> dict[int, float]:  # of a step that was taken again, the last
        return dict(map(json.loads, (folder / "losses.jsonl").read_text().splitlines()))

    with two_hosts() as hosts:
        (folders[1] / "dies").touch()
        codes, said = run_on(hosts, folders)
        assert codes == [1, -signal.SIGKILL]
        (sentence,) = (line for line in said.splitlines() if line.startswith("error: "))
        assert "ended, or its host cannot be reached" in sentence
        assert "they continue from the checkpoint of process 0" in sentence
        died_after = max(losses(folders[0]))

        (folders[1] / "dies").unlink()
        ip("-n", hosts[1], "link", "set", WIRE, "up")
        codes, said = run_on(hosts, folders)
    assert codes == [0, 0], said
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


if __name__ == "__main__":
    run_script(on_a_host, "interrupted")
