"""Residual networks (He et al. 2016; ResNeXt, Xie et al. 2017) with a stem for small faces."""

from typing import Any

from torch import nn
from torchvision.models import ResNet, resnet18, resnet50, resnext50_32x4d

from faceops.embedding.backbones.layers import InputStage
from faceops.embedding.embedder import Embedder

_NETWORKS = {"resnet18": resnet18, "resnet50": resnet50, "resnext50_32x4d": resnext50_32x4d}


def build_residual(name: str, embedding_size: int, input_size: int, colour: str) -> Embedder:
    """Return an untrained network, its weights drawn from torch's global generator.

    The stem is a 3 x 3 convolution of stride 2 without max-pool, and the first stage halves once
    more: the work of the 224-pixel stem, without its blind 7 x 7 window. A stem of stride 1
    costs sixteen times as much, which a CPU cannot carry.
    The neck is BN-linear-BN (ArcFace, Deng et al. 2019) on the flat map, 4 x 4 at 112 pixels: a
    face is aligned, so where a feature lies means something, and pooling would throw it away.

    Args:
        name: resnet18, resnet50 or resnext50_32x4d.
        input_size: pixels; the map's side is input_size / 32, rounded up.
    """
    net: ResNet = _NETWORKS[name](num_classes=1)
    channels = net.fc.in_features
    stage = InputStage(input_size, colour)
    net.conv1 = nn.Conv2d(stage.channels, 64, kernel_size=3, stride=2, padding=1, bias=False)
    _halve(net.layer1[0])
    trunk = nn.Sequential(
        stage, net.conv1, net.bn1, net.relu, net.layer1, net.layer2, net.layer3, net.layer4
    )  # (B, 3, 112, 112) -> (B, channels, side, side)
    side = -(-input_size // 32)
    head = nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Linear(channels * side * side, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    return Embedder(name, embedding_size, trunk, head, input_size, colour)


def _halve(block: Any) -> None:
    """Give the first block of a stage stride 2, on its 3 x 3 convolution and on its shortcut."""
    if block.downsample is None:  # a basic block
        block.conv1.stride = (2, 2)
        block.downsample = nn.Sequential(
            nn.Conv2d(64, 64, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(64)
        )
    else:  # a bottleneck
        block.conv2.stride = (2, 2)
        block.downsample[0].stride = (2, 2)
