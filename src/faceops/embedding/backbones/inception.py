"""Inception networks: FaceNet's NN2 (Schroff et al. 2015), Inception-ResNet v1 (Szegedy 2017)."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.embedding.embedder import Embedder, InputStage, conv_unit


class Branches(nn.Module):
    """(B, C, H, W) -> (B, sum of the branches' channels, H', W'): the outputs follow each other."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(features) for branch in self.branches], dim=1)


# Under the root: the gradient at a window of zeros, which ReLU makes often, is 0 and not NaN.
_EPSILON = 1e-6


class L2Pool(nn.Module):
    """float (B, C, H, W) -> (B, C, H, W): the root of the sum of squares of 3 x 3 pixels."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        means = F.avg_pool2d(features * features, kernel_size=3, stride=1, padding=1)
        return torch.sqrt(9 * means + _EPSILON)


Channels = tuple[int, int]
# The columns of table 2: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool, its projection; stride.
# A 0 means: no such branch, or a pool that is not projected.
_INCEPTIONS = {
    "3a": (64, (96, 128), (16, 32), ("max", 32), 1),
    "3b": (64, (96, 128), (32, 64), ("L2", 64), 1),
    "3c": (0, (128, 256), (32, 64), ("max", 0), 2),
    "4a": (256, (96, 192), (32, 64), ("L2", 128), 1),
    "4b": (224, (112, 224), (32, 64), ("L2", 128), 1),
    "4c": (192, (128, 256), (32, 64), ("L2", 128), 1),
    "4d": (160, (144, 288), (32, 64), ("L2", 128), 1),
    "4e": (0, (160, 256), (64, 128), ("max", 0), 2),
    "5a": (384, (192, 384), (48, 128), ("L2", 128), 1),
    "5b": (384, (192, 384), (48, 128), ("max", 128), 1),
}


def build_facenet_nn2(embedding_size: int, input_size: int, colour: str) -> Embedder:
    """Return an untrained NN2, its weights drawn from torch's global generator.

    The layers are named as the rows of table 2. Batch normalisation follows every layer that has
    weights; it came out in the same month and does what the two rows "norm" (of local responses)
    did, so these are left out. The mean over the last map fits any `input_size`.
    """
    stage = InputStage(input_size, colour)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        input=stage,
        conv1=conv_unit(stage.channels, 64, 7, stride=2, padding=3),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),
        inception2=nn.Sequential(conv_unit(64, 64, 1), conv_unit(64, 192, 3, padding=1)),
        pool2=nn.MaxPool2d(3, stride=2, padding=1),
    )
    channels = 192
    for name, (one, three, five, pool, stride) in _INCEPTIONS.items():
        layers[f"inception{name}"] = _inception(channels, one, three, five, pool, stride)
        channels = one + three[1] + five[1] + (pool[1] or channels)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    trunk = nn.Sequential(layers)
    return Embedder("facenet_nn2", embedding_size, trunk, head, input_size, colour)


def _inception(
    inputs: int, one: int, three: Channels, five: Channels, pool: tuple[str, int], stride: int
) -> Branches:
    """Return one row of the table: windows of several sizes beside each other."""
    branches: list[nn.Module] = [conv_unit(inputs, one, 1)] if one else []
    for kernel, (narrow, wide) in ((3, three), (5, five)):
        branches.append(
            nn.Sequential(
                conv_unit(inputs, narrow, 1),
                conv_unit(narrow, wide, kernel, stride, padding=kernel // 2),
            )
        )
    kind, projection = pool
    pooled: nn.Module = L2Pool() if kind == "L2" else nn.MaxPool2d(3, stride, padding=1)
    if projection:
        pooled = nn.Sequential(pooled, conv_unit(inputs, projection, 1))
    return Branches(*branches, pooled)


SMALLEST_INPUT = 75  # pixels: below it nothing is left of the last map
_DROPPED = 0.2


def build_inception_resnet_v1(embedding_size: int, input_size: int, colour: str) -> Embedder:
    """Return an untrained network, its weights drawn from torch's global generator.

    The paper's figures 10 to 14 with 5, 10 and 5 residual blocks. As in the variant that faces are
    trained with, a last block without ReLU follows and a linear layer with batch normalisation
    makes the embedding. The map is 3 x 3 at 160 pixels, 2 x 2 at 112, 1 x 1 at 80.

    Raises FaceOpsError: `input_size` is below 75.
    """
    if input_size < SMALLEST_INPUT:
        raise FaceOpsError(
            f"train.input_size = {input_size} is too small for inception_resnet_v1; set it to"
            f" {SMALLEST_INPUT} or more, or take another train.backbone."
        )
    stage = InputStage(input_size, colour)
    trunk = nn.Sequential(
        stage,
        conv_unit(stage.channels, 32, 3, stride=2),
        conv_unit(32, 32, 3),
        conv_unit(32, 64, 3, padding=1),
        nn.MaxPool2d(3, stride=2),
        conv_unit(64, 80, 1),
        conv_unit(80, 192, 3),
        conv_unit(192, 256, 3, stride=2),
        *(_block_a() for _ in range(5)),
        _reduction_a(),
        *(_block_b() for _ in range(10)),
        _reduction_b(),
        *(_block_c(0.2) for _ in range(5)),
        _block_c(1.0, rectified=False),
    )  # (B, 3, 160, 160) -> (B, 1792, 3, 3)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(_DROPPED),
        nn.Linear(1792, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    return Embedder("inception_resnet_v1", embedding_size, trunk, head, input_size, colour)


class ResidualBlock(nn.Module):
    """features + scale * projection(branches(features)), then ReLU.

    A small `scale` keeps many blocks on top of each other from blowing up early in training.
    """

    def __init__(
        self, inputs: int, wide: int, branches: Branches, scale: float, rectified: bool = True
    ) -> None:
        super().__init__()
        self.branches = branches
        self.projection = nn.Conv2d(wide, inputs, 1)
        self.scale = scale
        self.rectified = rectified

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mapped = features + self.scale * self.projection(self.branches(features))
        return torch.relu(mapped) if self.rectified else mapped


def _block_a() -> ResidualBlock:
    """Figure 10, on 256 channels."""
    branches = Branches(
        conv_unit(256, 32, 1),
        nn.Sequential(conv_unit(256, 32, 1), conv_unit(32, 32, 3, padding=1)),
        nn.Sequential(
            conv_unit(256, 32, 1), conv_unit(32, 32, 3, padding=1), conv_unit(32, 32, 3, padding=1)
        ),
    )
    return ResidualBlock(256, 96, branches, scale=0.17)


def _block_b() -> ResidualBlock:
    """Figure 11, on 896 channels: a 7 x 7 window as a row and a column."""
    window = nn.Sequential(
        conv_unit(896, 128, 1),
        conv_unit(128, 128, (1, 7), padding=(0, 3)),
        conv_unit(128, 128, (7, 1), padding=(3, 0)),
    )
    return ResidualBlock(896, 256, Branches(conv_unit(896, 128, 1), window), scale=0.1)


def _block_c(scale: float, rectified: bool = True) -> ResidualBlock:
    """Figure 13, on 1792 channels."""
    window = nn.Sequential(
        conv_unit(1792, 192, 1),
        conv_unit(192, 192, (1, 3), padding=(0, 1)),
        conv_unit(192, 192, (3, 1), padding=(1, 0)),
    )
    return ResidualBlock(1792, 384, Branches(conv_unit(1792, 192, 1), window), scale, rectified)


def _reduction_a() -> Branches:
    """Figure 7 with k, l, m, n = 192, 192, 256, 384: 256 channels to 896, half the size."""
    return Branches(
        conv_unit(256, 384, 3, stride=2),
        nn.Sequential(
            conv_unit(256, 192, 1), conv_unit(192, 192, 3, padding=1), conv_unit(192, 256, 3, 2)
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _reduction_b() -> Branches:
    """Figure 12: 896 channels to 1792, half the size."""
    return Branches(
        nn.Sequential(conv_unit(896, 256, 1), conv_unit(256, 384, 3, stride=2)),
        nn.Sequential(conv_unit(896, 256, 1), conv_unit(256, 256, 3, stride=2)),
        nn.Sequential(
            conv_unit(896, 256, 1), conv_unit(256, 256, 3, padding=1), conv_unit(256, 256, 3, 2)
        ),
        nn.MaxPool2d(3, stride=2),
    )
