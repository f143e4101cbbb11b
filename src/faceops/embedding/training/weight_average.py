"""Exponential moving average of weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class WeightAverage:
    """The average of a module's weights and running statistics over its steps.

    The decay rises with the steps, min(decay, (1 + n) / (10 + n)), so that the random start is
    soon forgotten and short runs profit too. With decay 0 the average is the module itself.
    """

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        """Begin at the weights that `module` has now."""
        self._module = module
        self._decay = decay
        self.steps = 0
        self._average = {} if decay == 0 else weights_of(module)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        if not self._average:
            return
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in self._module.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value, 1 - decay)
            else:
                self._average[name].copy_(value)  # a count of batches

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the module its averaged weights within a `with`, and its own back after it."""
        if not self._average:
            yield
            return
        own = weights_of(self._module)
        self._module.load_state_dict(self._average)
        try:
            yield
        finally:
            self._module.load_state_dict(own)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint keeps."""
        return self._average

    def restore(self, tensors: dict[str, torch.Tensor], steps: int) -> None:
        """Go on from the `tensors` of a checkpoint, written after `steps` steps."""
        self.steps = steps
        for name, value in tensors.items():
            self._average[name].copy_(value)


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of a module's weights and running statistics."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
