"""A small convolutional network for 28 x 28 digits, as an Embedder."""

import torch
from torch import nn

from faceops.embedding.embedder import Embedder


class _Scale(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - 127.5) / 128


def build_digit_network(embedding_size: int, seed: int) -> Embedder:
    """Return an untrained network: float32 (B, 1, 28, 28), 0..255 -> (B, D), rows of length 1.

    Four convolutions at 14 x 14 and 7 x 7. The first one halves: at full size it would cost as
    much as all the others, and a digit's strokes are three pixels wide. The neck keeps where a
    feature lies, as the faces' backbones do.
    """
    torch.manual_seed(seed)
    trunk = nn.Sequential(
        _Scale(),
        *_unit(1, 32, 5, stride=2),
        *_unit(32, 32, 3),
        nn.MaxPool2d(2),
        *_unit(32, 64, 3),
        *_unit(64, 64, 3),
    )  # (B, 64, 7, 7)
    head = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    return Embedder("digits", embedding_size, trunk, head)


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
