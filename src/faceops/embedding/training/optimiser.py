"""The optimiser, the schedule of its learning rate, and the moving average of the weights."""

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from faceops.config.sections import Train

WARMUP_SHARE = 0.05


def build_optimiser(
    trained: torch.nn.Module, head: torch.nn.Module, settings: Train
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019); weight decay is for matrices and kernels alone."""
    weights = [*trained.parameters(), *head.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        # Biases, normalisation and slopes: pulling them to zero only does harm.
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused: a quarter of the time on a CPU, where it is a tenth of a step on small crops.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def build_schedule(optimiser: torch.optim.Optimizer, steps: int, step: int = 0) -> LambdaLR:
    """Return the schedule of a run of `steps`, placed at `step`, 0 .. steps - 1.

    The rate rises linearly over the first twentieth of the steps and falls by half a cosine to
    zero (Loshchilov & Hutter 2017).
    """
    warmup = max(1, round(WARMUP_SHARE * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group["lr"])  # required by a scheduler that starts later
    return LambdaLR(optimiser, factor, last_epoch=step - 1)


def build_average(module: torch.nn.Module, decay: float) -> AveragedModel | None:
    """Return the exponential moving average of weights and running statistics; decay 0: None.

    The decay rises with the updates n, min(decay, (1 + n) / (10 + n)), so that the random start
    is soon forgotten and short runs profit too (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).
    """
    if decay == 0:
        return None

    def update(averages: Any, values: Any, count: torch.Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)  # counts of batches
            return
        updates = int(count) - 1  # the start is counted too
        ema = get_ema_multi_avg_fn(min(decay, (1 + updates) / (10 + updates)))
        ema(averages, values, count)

    average = AveragedModel(module, multi_avg_fn=update, use_buffers=True)
    average.update_parameters(module)  # the first update copies; the later ones average
    return average
