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
from threading import Event
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from faceops.base.errors import FaceOpsError

# A process that fails closes its connections, but a host without power or network says nothing:
# so long the others wait for it in a step or an evaluation.
_STEP_TIMEOUT = timedelta(minutes=30)
_FEATURES_TIMEOUT = timedelta(hours=24)  # process 0 may compute features for hours


@contextmanager
def _with_others() -> Iterator[None]:
    """Turn what torch raises when another process does not take part into one sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FaceOpsError(
            f"a process of this training ended, or its host cannot be reached ({reason}); see what "
            "the others print, and start all of them again: they continue from the checkpoint of "
            "process 0."
        ) from None


@dataclass(frozen=True)
class Processes:
    """The rank of this process, from 0, and how many processes there are."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Processes":
        """Return the processes that torchrun started (by its environment), or this one alone.

        Raises:
            FaceOpsError: there are more processes than GPUs, or the others do not come.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if device.type == "cuda":
            gpus, gpu = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
            if gpu >= gpus:
                raise FaceOpsError(
                    f"train.processes = {count} needs a GPU each, and there are {gpus}; lower it,"
                    " or set train.device to cpu."
                )
            torch.cuda.set_device(gpu)
        with _with_others():
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=_STEP_TIMEOUT)
        return cls(dist.get_rank(), dist.get_world_size())

    def leave(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Run the `with` block in process 0 first, then in the others; wait for all of them."""
        if self.count == 1:
            yield
            return
        with _with_others():
            group: Any = dist.new_group(timeout=_FEATURES_TIMEOUT, backend="gloo")
            if self.rank > 0:
                dist.barrier(group)
        yield
        with _with_others():
            if self.rank == 0:
                dist.barrier(group)
            dist.barrier(group)  # on another host they may have to compute the same again

    def sync_batch_norm(self, model: nn.Module, device: torch.device) -> None:
        """Let batch normalisation on GPUs see the whole batch; the weights keep their names."""
        if self.count > 1 and device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Give all processes the running statistics of process 0."""
        if self.count > 1:
            with _with_others():
                for buffer in module.buffers():
                    dist.broadcast(buffer, 0)

    def share(self, total: int) -> slice:
        """Return which of the `total` faces of a batch are this process's."""
        sizes = self._sizes(total)
        first = sum(sizes[: self.rank])
        return slice(first, first + sizes[self.rank])

    def _sizes(self, total: int) -> list[int]:
        return [total // self.count + (rank < total % self.count) for rank in range(self.count)]

    def gather(self, embeddings: Tensor, total: int) -> Tensor:
        """Return the embeddings (total, D) of the whole batch, in its order.

        Only this process's own rows carry a gradient; the other processes have that of theirs.
        """
        if self.count == 1:
            return embeddings
        sizes = self._sizes(total)
        padded = embeddings.new_zeros(max(sizes), embeddings.shape[1])
        padded[: len(embeddings)] = embeddings.detach()
        parts = [torch.empty_like(padded) for _ in sizes]
        with _with_others():
            dist.all_gather(parts, padded)
        parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
        parts[self.rank] = embeddings
        return torch.cat(parts)

    def add_gradients(self, module: nn.Module) -> None:
        """Add up the gradients of `module` over the processes, in one message."""
        if self.count == 1:
            return
        grads = [weight.grad for weight in module.parameters() if weight.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        with _with_others():
            dist.all_reduce(flat)
        for grad, whole in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(whole.view_as(grad))

    def agree(self, value: Any) -> Any:
        """Return the `value` of process 0."""
        box = [value]
        if self.count > 1:
            with _with_others():
                dist.broadcast_object_list(box)
        return box[0]


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def start_processes(count: int, module: str) -> None:
    """Run `python -m module` in `count` processes on this machine, and wait for them.

    Raises SystemExit: one of them failed, after printing why; KeyboardInterrupt: Ctrl-C or SIGTERM
    came, and was passed on to them.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        max_restarts=0,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"faceops-{os.getpid()}",
    )
    try:
        elastic_launch(config, sys.executable)("-m", module)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
    except SignalException:
        raise KeyboardInterrupt from None


@contextmanager
def stop_signals() -> Iterator[Event]:
    """Yield an event that Ctrl-C and SIGTERM set; a second one of them acts at once.

    Outside of the main thread, where Python allows no handlers, nothing sets it.
    """
    received, handlers = Event(), dict[int, Any]()

    def restore() -> None:
        while handlers:
            signal.signal(*handlers.popitem())

    def receive(number: int, frame: object) -> None:
        restore()
        received.set()

    if threading.current_thread() is threading.main_thread():
        handlers |= {n: signal.signal(n, receive) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        restore()
