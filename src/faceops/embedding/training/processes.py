"""Data-parallel processes, started by torchrun, that share each batch.

Every process embeds its share of the batch, all exchange their embeddings, and each computes the
loss over the whole batch: miners and heads see what one process would see. Gradients are then
added up. DistributedDataParallel is not used because it averages the losses of the shares, and the
triplets that span two shares would be lost. As with it, batch normalisation sees each process's
share, with the running statistics of process 0; on GPUs SyncBatchNorm sees the whole batch.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from faceops.base.errors import FaceOpsError

# Process 0 may compute features for hours while the others wait; torchrun ends those that are left
# when one fails, so this limit need not.
_PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class Processes:
    """This process's number, from 0, and how many there are."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Processes":
        """Return the processes that torchrun started (by its environment), or just this one.

        Raises:
            FaceOpsError: there are more processes than GPUs.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if device.type == "cuda":
            gpus = torch.cuda.device_count()
            if int(os.environ["LOCAL_RANK"]) >= gpus:
                raise FaceOpsError(
                    f"train.processes = {count} needs a GPU each, and here are {gpus}; lower it,"
                    " or set train.device to cpu."
                )
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=_PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size())

    def leave(self) -> None:
        """Part from the others when all work is done."""
        if self.count > 1:
            dist.destroy_process_group()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let process 0 do what is within the `with`, then the others, who find it done."""
        if self.rank > 0:
            self._wait()
        yield
        if self.rank == 0:
            self._wait()

    def _wait(self) -> None:
        if self.count > 1:
            dist.barrier()

    def sync_batch_norm(self, model: torch.nn.Module, device: torch.device) -> None:
        """Let batch normalisation on GPUs count the whole batch; names of weights stay."""
        if self.count > 1 and device.type == "cuda":
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        """Give all processes the running statistics of process 0."""
        if self.count > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def share(self, total: int) -> slice:
        """Return which of the `total` faces of a batch are this process's."""
        sizes = self._sizes(total)
        first = sum(sizes[: self.rank])
        return slice(first, first + sizes[self.rank])

    def _sizes(self, total: int) -> list[int]:
        return [total // self.count + (rank < total % self.count) for rank in range(self.count)]

    def gather(self, embeddings: torch.Tensor, total: int) -> torch.Tensor:
        """Return the embeddings (total, D) of the whole batch, in its order.

        Only this process's own rows carry a gradient; the other processes have that of theirs.
        """
        if self.count == 1:
            return embeddings
        sizes = self._sizes(total)
        padded = embeddings.new_zeros(max(sizes), embeddings.shape[1])
        padded[: len(embeddings)] = embeddings.detach()
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
        parts[self.rank] = embeddings
        return torch.cat(parts)

    def add_gradients(self, module: torch.nn.Module) -> None:
        """Add up the gradients of `module` over the processes, in one message."""
        if self.count == 1:
            return
        grads = [weight.grad for weight in module.parameters() if weight.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        for grad, whole in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(whole.view_as(grad))

    def agree(self, value: Any) -> Any:
        """Return the `value` of process 0."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


ALONE = Processes()


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


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """A context in which the two signals only set `asked`; a second one acts at once.

    Outside of the main thread, where Python allows no handlers, it never asks.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, signal.Handlers | int | None] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._ask)  # type: ignore[assignment]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
