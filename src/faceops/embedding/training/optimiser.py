"""AdamW (Loshchilov & Hutter 2019) over the network and its classification head."""

import torch

from faceops.config.sections import Train


def build_optimiser(
    trained: torch.nn.Module, head: torch.nn.Module, settings: Train
) -> torch.optim.AdamW:
    """Return the optimiser; weight decay is for matrices and kernels alone."""
    weights = [*trained.parameters(), *head.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        # Biases, normalisation and slopes: pulling them to zero only does harm.
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused: a quarter of the time on a CPU, where it is a tenth of a step on small crops.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
