"""The networks by name."""

from faceops.embedding.backbones.mobilefacenet import build_mobilefacenet
from faceops.embedding.backbones.residual import build_residual
from faceops.embedding.embedder import Embedder

BACKBONES = ("resnet18", "resnet50", "resnext50_32x4d", "mobilefacenet")


def build_backbone(
    name: str, embedding_size: int, input_size: int = 112, colour: str = "rgb"
) -> Embedder:
    """Return the untrained network `name`."""
    if name == "mobilefacenet":
        return build_mobilefacenet(embedding_size, input_size, colour)
    return build_residual(name, embedding_size, input_size, colour)
