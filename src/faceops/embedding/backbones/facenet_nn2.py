"""FaceNet's NN2 (Schroff et al. 2015, table 2): Inception with L2 pooling."""

from collections import OrderedDict

from torch import nn

from faceops.embedding.backbones.branches import Branches
from faceops.embedding.backbones.conv_unit import conv_unit
from faceops.embedding.backbones.input_stage import InputStage
from faceops.embedding.backbones.l2_pool import L2Pool
from faceops.embedding.embedder import Embedder

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
    inputs: int,
    one: int,
    three: tuple[int, int],
    five: tuple[int, int],
    pool: tuple[str, int],
    stride: int,
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
