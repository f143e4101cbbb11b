"""Two hosts train with the loss curve and the weights of one process, also when one dies.

They are network namespaces that share a wire; where those cannot be made, two processes of this
host, and none dies. Each has the environment that `torchrun` would give it and a folder of its own
as its disk; a host whose folder holds `dies` cuts the wire at a step and is gone: the other gets no
closed connection, as after a power cut. This file is the program that forks both.
"""

import ctypes
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from faceops.base.errors import FaceOpsError
from faceops.embedding.training.figures import TrainingLog
from faceops.embedding.training.processes import Processes
from faceops.embedding.training.training_loop import Row, Trainer
from faceops.stages import run_script
from tests.embedding.faces_for_training import (
    coloured_people,
    pixel_inputs,
    small_network,
    tiny_training,
)
from tests.http_server import free_port

ROOT = Path(__file__).parents[3]
ADDRESSES = ("10.231.7.1", "10.231.7.2")
WIRE = "wire"  # the name of the interface in both


class Losses(TrainingLog):
    """Adds step and loss to a file, which a continued run goes on with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        if (self.folder / "dies").exists() and step == 5:
            ip("link", "set", WIRE, "down")
            os.kill(os.getpid(), signal.SIGKILL)
        with (self.folder / "losses.jsonl").open("a") as opened:
            opened.write(json.dumps([step, figures["loss"]]) + "\n")


def train(folder: Path, processes: Processes, normalised: bool = False) -> list[Row]:
    """Train by classification and by mined triplets, and write the weights; return the history.

    Without batch normalisation, which on a CPU sees a process's share only, or with it.
    """
    faces = coloured_people(6, 4, singles=3, seed=1, noise=90)
    val = coloured_people(6, 3, seed=2, noise=150)
    settings = tiny_training(
        learning_rate=0.001,
        photos_per_person=3,
        miners={"batch_hard": 0.5, "global": 1.0},
        triplet_margin=2.0,
        ema_decay=0.5,
    )
    kind = "normalised" if normalised else "plain"
    model = small_network(torch.nn.BatchNorm2d(4) if normalised else None)
    inputs, log = pixel_inputs(faces, val, settings), None if normalised else Losses(folder)
    result = Trainer(model, inputs, settings, folder / kind, processes, log).fit()
    assert result.best_epoch > 1  # whose weights, those of a triplet epoch, are written
    save_file(model.state_dict(), folder / f"{kind}.safetensors")
    return result.history


def train_on_host(rank: int, folder: Path, host: str) -> None:
    """Take part in the training as process `rank` in a namespace, or in none for ""."""
    if host:
        with Path("/run/netns", host).open() as namespace:
            ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0)
    os.environ["RANK"] = str(rank)
    sys.stderr = (folder / "said").open("w")
    processes = Processes.join(torch.device("cpu"))
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=30), dist.group.WORLD)
    history = train(folder, processes)
    train(folder, processes, normalised=True)
    processes.leave()
    (folder / "history.json").write_text(json.dumps(history))


def main() -> None:
    """Train on both hosts; the arguments are their folders, then their names."""
    __import__("torch._dynamo")  # both need it: two CPU seconds
    fork, hosts = multiprocessing.get_context("fork"), []
    for rank in (0, 1):
        run = partial(train_on_host, rank, Path(sys.argv[1 + rank]), sys.argv[3 + rank])
        hosts.append(fork.Process(target=run_script, args=(run, "interrupted")))
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(600)
        host.kill()  # one that waits for a peer for ever
    print(json.dumps([host.exitcode for host in hosts]))


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_hosts() -> Iterator[tuple[str, ...]]:
    """Make two namespaces and yield their names, or none where they cannot be made; remove them."""
    names = (f"faceops{os.getpid()}a", f"faceops{os.getpid()}b")
    made: tuple[str, ...] = names
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", WIRE, "netns", names[0], "type", "veth",
           "peer", "name", WIRE, "netns", names[1])  # fmt: skip
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", WIRE)
            for link in ("lo", WIRE):
                ip("-n", name, "link", "set", link, "up")
    except (FileNotFoundError, subprocess.CalledProcessError):
        made = ()
    try:
        yield made
    finally:
        for name in names if shutil.which("ip") else ():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def run_on(hosts: tuple[str, ...], folders: tuple[Path, Path]) -> tuple[list[int], str]:
    """Run both; return their exit codes and the errors of the first."""
    own = {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "WORLD_SIZE": "2", "MASTER_PORT": str(free_port())}
    own |= {"MASTER_ADDR": "127.0.0.1"}
    if hosts:
        own |= {"MASTER_ADDR": ADDRESSES[0], "GLOO_SOCKET_IFNAME": WIRE}
    command = [sys.executable, "-m", "tests.embedding.training.test_hosts", *map(str, folders)]
    done = subprocess.run(
        [*command, *(hosts or ("", ""))], cwd=ROOT, env=os.environ | own, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout), (folders[0] / "said").read_text()


@pytest.mark.slow
def test_two_hosts_train_as_one_process_does_though_one_dies(tmp_path):
    alone = train(tmp_path, Processes())
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()

    def losses(folder: Path) -> dict[int, float]:  # of a step that was taken again, the last
        return dict(map(json.loads, (folder / "losses.jsonl").read_text().splitlines()))

    with two_hosts() as hosts:
        if hosts:
            (folders[1] / "dies").touch()
            codes, said = run_on(hosts, folders)
            assert codes == [1, -signal.SIGKILL]
            (sentence,) = (line for line in said.splitlines() if line.startswith("error: "))
            assert "ended, or its host cannot be reached" in sentence
            assert "they continue from the checkpoint of process 0" in sentence
            assert 0 < max(losses(folders[0])) < max(losses(tmp_path))
            (folders[1] / "dies").unlink()
            ip("-n", hosts[1], "link", "set", WIRE, "up")
        codes, said = run_on(hosts, folders)
    assert codes == [0, 0], said
    assert ("training continues after epoch" in said) == bool(hosts)
    # Each host adds the gradients of its share first: sums of float32 in another order, whose
    # differences the steps carry on.
    shared, whole = losses(folders[0]), losses(tmp_path)
    steps = sorted(whole)
    assert sorted(shared) == steps
    np.testing.assert_allclose([shared[s] for s in steps], [whole[s] for s in steps], rtol=1e-4)
    history = json.loads((folders[0] / "history.json").read_text())
    assert [row["epoch"] for row in history] == [row["epoch"] for row in alone]
    for row, expected in zip(history[1:], alone[1:], strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    for kind in ("plain", "normalised"):
        first, second = (load_file(folder / f"{kind}.safetensors") for folder in folders)
        assert all(torch.equal(value, second[name]) for name, value in first.items()), kind
    plain = load_file(folders[0] / "plain.safetensors")
    for name, value in load_file(tmp_path / "plain.safetensors").items():
        assert torch.allclose(plain[name], value, atol=1e-5), name
    if not hosts:
        pytest.skip("no host died: `ip netns` makes no network namespaces here")


class Refusing(Processes):
    """Eight processes that never meet: scoring the start needs no others here."""

    def agree(self, value: object) -> object:
        return value

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        pass


def test_too_many_processes_for_a_batch_are_refused(tmp_path):
    with pytest.raises(FaceOpsError, match=r"processes = 8 leaves .* the \d+ faces of a batch"):
        train(tmp_path, Refusing(0, 8))


if __name__ == "__main__":
    main()
