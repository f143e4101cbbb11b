"""ResNet-18 (He et al. 2016) with a stem for 112 x 112 faces."""

from torch import nn
from torchvision.models import resnet18

from faceops.embedding.embedder import Embedder, Scale


def build_resnet18(embedding_size: int) -> Embedder:
    """Return an untrained ResNet-18, its weights drawn from torch's global generator.

    The stem is a 3 x 3 convolution of stride 2 without max-pool, and the first stage halves once
    more: the work of the 224-pixel stem, without its blind 7 x 7 window. A stem of stride 1
    costs sixteen times as much, which a CPU cannot carry.
    The neck is BN-linear-BN (ArcFace, Deng et al. 2019) on the flat 4 x 4 map: a face is aligned,
    so where a feature lies means something, and pooling would throw it away.
    """
    net = resnet18(num_classes=1)
    net.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
    first = net.layer1[0]
    first.conv1.stride = (2, 2)
    first.downsample = nn.Sequential(
        nn.Conv2d(64, 64, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(64)
    )
    trunk = nn.Sequential(
        Scale(), net.conv1, net.bn1, net.relu, net.layer1, net.layer2, net.layer3, net.layer4
    )  # (B, 3, 112, 112) -> (B, 512, 4, 4)
    head = nn.Sequential(
        nn.BatchNorm2d(512),
        nn.Flatten(),
        nn.Linear(512 * 4 * 4, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    return Embedder("resnet18", embedding_size, trunk, head)
