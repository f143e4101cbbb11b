"""Batch normalisation (Ioffe & Szegedy 2015) over the batch of all processes, on a CPU too.

torch's own SyncBatchNorm refuses tensors on a CPU, so there the statistics are exchanged here.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def share_batch_norm(model: nn.Module) -> None:
    """Make every BatchNorm1d and 2d of `model` count all processes, in place; names stay."""
    on_gpu = any(weight.is_cuda for weight in model.parameters())
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                shared = (
                    nn.SyncBatchNorm.convert_sync_batchnorm(child) if on_gpu else _as_shared(child)
                )
                setattr(parent, name, shared)


def _as_shared(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> "_SharedBatchNorm":
    shared = _SharedBatchNorm(norm.num_features, norm.eps, norm.momentum or 0.1)
    shared.weight, shared.bias = norm.weight, norm.bias
    shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
    shared.num_batches_tracked = norm.num_batches_tracked
    return shared.train(norm.training)


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Any of (N, C, ...)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(input)
        kind, input = input.dtype, input.float()  # sums in bfloat16 would lose the small ones
        over = [0, *range(2, input.ndim)]
        shape = (1, -1, *(1 for _ in over[1:]))
        values = torch.tensor([input.numel() / input.shape[1]])
        dist.all_reduce(values)
        count = float(values)
        # Mean first, then the squares around it: E[x^2] - mean^2 would cancel.
        mean = _total(input.sum(over)) / count
        centred = input - mean.view(shape)
        variance = _total(centred.square().sum(over)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(kind)


class _Total(torch.autograd.Function):
    """The sum over the processes; each of them sends its gradient to all."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor) -> torch.Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _total(value: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Total.apply(value)
    return total
