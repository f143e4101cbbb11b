"""The optimiser, its learning rate schedule, and the moving average of the weights."""

import math
from collections import defaultdict

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from faceops.config.sections import Train
from faceops.embedding.training.checkpoint import Tensors

WARMUP_SHARE = 0.05  # of the steps, in which the learning rate rises


def build_optimiser(
    trained: torch.nn.Module, head: torch.nn.Module, settings: Train
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019); only matrices and kernels decay."""
    weights = [*trained.parameters(), *head.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        # No weight decay on biases, normalisation and slopes: it only does harm.
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused: a quarter of the time on a CPU, where it is a tenth of a step on small crops.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def build_schedule(optimiser: torch.optim.Optimizer, steps: int, step: int = 0) -> LambdaLR:
    """Return the learning rate schedule of a run of `steps`, at `step`, 0 .. steps - 1.

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

    def update(
        average: torch.Tensor, value: torch.Tensor, count: torch.Tensor | int
    ) -> torch.Tensor:
        if not average.is_floating_point():
            return value  # counts of batches
        updates = int(count) - 1  # the start is counted too
        return average.lerp(value, 1 - min(decay, (1 + updates) / (10 + updates)))

    average = AveragedModel(module, avg_fn=update, use_buffers=True)
    average.update_parameters(module)  # the first update copies; the later ones average
    return average


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """Return an optimiser's moments and step counts, named "<number of the weight>.<what>"."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{what}": torch.as_tensor(value)
        for number, values in state.items()
        for what, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Give `optimiser` the state that `optimiser_tensors` returned."""
    whole = optimiser.state_dict()
    whole["state"] = defaultdict(dict)
    for name, value in tensors.items():
        number, what = name.split(".")
        whole["state"][int(number)][what] = value
    optimiser.load_state_dict(whole)
