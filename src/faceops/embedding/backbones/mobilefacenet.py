"""MobileFaceNet (Chen et al. 2018): about a million parameters."""

import torch
from torch import nn

from faceops.embedding.backbones.conv_unit import conv_unit
from faceops.embedding.backbones.input_stage import InputStage
from faceops.embedding.embedder import Embedder

# Table 1's bottlenecks: expansion, output channels, repeats, stride of the first.
_BOTTLENECKS = (*((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)),)
_FEATURES = 512


def build_mobilefacenet(embedding_size: int, input_size: int, colour: str) -> Embedder:
    """Return an untrained MobileFaceNet, its weights drawn from torch's global generator.

    Where others average the last map, it takes a weighted sum, one weight a place and channel
    (global depthwise convolution): the middle of a face says more than its border.

    Args:
        input_size: pixels; the map's side is input_size / 16, rounded up (7 at 112).
    """
    stage = InputStage(input_size, colour)
    units: list[nn.Module] = [
        stage,
        conv_unit(stage.channels, 64, 3, stride=2, padding=1, prelu=True),
        conv_unit(64, 64, 3, padding=1, groups=64, prelu=True),
    ]
    channels = 64
    for expansion, outputs, repeats, stride in _BOTTLENECKS:
        for number in range(repeats):
            units.append(
                Bottleneck(channels, outputs, channels * expansion, stride if number == 0 else 1)
            )
            channels = outputs
    units.append(conv_unit(channels, _FEATURES, 1, prelu=True))
    side = -(-input_size // 16)
    head = nn.Sequential(
        nn.Conv2d(_FEATURES, _FEATURES, side, groups=_FEATURES, bias=False),
        nn.BatchNorm2d(_FEATURES),
        nn.Flatten(),
        nn.Linear(_FEATURES, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    return Embedder(
        "mobilefacenet", embedding_size, nn.Sequential(*units), head, input_size, colour
    )


class Bottleneck(nn.Module):
    """Inverted residual (MobileNetV2, Sandler et al. 2018): wide depthwise between narrow ends."""

    def __init__(self, inputs: int, outputs: int, wide: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            conv_unit(inputs, wide, 1, prelu=True),
            conv_unit(wide, wide, 3, stride, padding=1, groups=wide, prelu=True),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        mapped: torch.Tensor = self.layers(features)
        return features + mapped if self.adds else mapped
