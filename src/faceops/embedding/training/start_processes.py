"""Start the processes that share the batches, with torchrun's launcher."""

import os
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def started_by_torchrun() -> bool:
    """Return whether this process is one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def start_processes(count: int, module: str) -> None:
    """Run `python -m module` in `count` processes on this machine, and wait for them.

    More machines: `torchrun --nnodes ... -m module`, which this leaves to its user.

    Raises:
        SystemExit: one of them failed; it has said why.
        KeyboardInterrupt: Ctrl-C or SIGTERM came, and they were told.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        run_id=f"faceops-{os.getpid()}",
    )
    try:
        elastic_launch(config, sys.executable)("-m", module)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
    except SignalException:
        raise KeyboardInterrupt from None
