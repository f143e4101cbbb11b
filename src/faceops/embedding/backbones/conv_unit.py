"""The unit that convolutional networks are made of."""

from torch import nn


def conv_unit(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    prelu: bool = False,
) -> nn.Sequential:
    """Return a convolution, batch normalisation, and ReLU or one learnt slope a channel (PReLU).

    The convolution has no bias: normalisation takes it away and adds its own.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs) if prelu else nn.ReLU(inplace=True),
    )
