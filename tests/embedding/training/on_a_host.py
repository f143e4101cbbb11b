"""What each host runs: `torchrun on_a_host.py FOLDER`, a folder of its own; `dies` in it: when.

A host that dies cuts the wire first: the other gets no closed connection, as after a power cut.
"""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from faceops.embedding.training.processes import Processes
from faceops.stages import run_script
from tests.embedding.training.hosts import WIRE
from tests.embedding.training.test_hosts import Losses, train


class Dying(Losses):
    """Cuts the wire and kills torchrun and this process, at a step."""

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        if (self.file.parent / "dies").exists() and step == 12:
            subprocess.run(["ip", "link", "set", WIRE, "down"], check=True)
            for process in (os.getppid(), os.getpid()):
                os.kill(process, signal.SIGKILL)


def main() -> None:
    folder = Path(sys.argv[1])
    processes = Processes.join(torch.device("cpu"))
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=30), dist.group.WORLD)
    log = Dying if processes.rank else Losses
    history = train(folder, processes, log(folder / "losses.jsonl"))
    processes.leave()
    if processes.rank == 0:
        (folder / "history.json").write_text(json.dumps(history))


if __name__ == "__main__":
    run_script(main, "interrupted")
