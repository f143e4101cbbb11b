"""The backbones, by their names in params.yaml."""

from collections.abc import Callable
from functools import partial

from faceops.base.errors import FaceOpsError
from faceops.embedding.backbones.inception import build_facenet_nn2, build_inception_resnet_v1
from faceops.embedding.backbones.layers import CROP_SIZE
from faceops.embedding.backbones.mobilefacenet import (
    EMBEDDING_SIZE,
    build_mobilefacenet,
    build_sface,
)
from faceops.embedding.backbones.residual import build_residual
from faceops.embedding.embedder import Embedder


def _pretrained(embedding_size: int, input_size: int, colour: str) -> Embedder:
    if (embedding_size, input_size, colour) != (EMBEDDING_SIZE, CROP_SIZE, "rgb"):
        raise FaceOpsError(
            "train.backbone = pretrained is SFace, which needs train.embedding_size ="
            f" {EMBEDDING_SIZE}, train.input_size = {CROP_SIZE} and train.colour = rgb,"
            f" not {embedding_size}, {input_size} and {colour}; set these, or choose"
            " another train.backbone."
        )
    return build_sface()


# (embedding_size, input_size, colour) -> an untrained network
Builder = Callable[[int, int, str], Embedder]

BACKBONES: dict[str, Builder] = {
    "pretrained": _pretrained,
    "facenet_nn2": build_facenet_nn2,
    "inception_resnet_v1": build_inception_resnet_v1,
    "mobilefacenet": build_mobilefacenet,
    "resnet18": partial(build_residual, "resnet18"),
    "resnet50": partial(build_residual, "resnet50"),
    "resnext50_32x4d": partial(build_residual, "resnext50_32x4d"),
}


def build_backbone(
    name: str, embedding_size: int, input_size: int = CROP_SIZE, colour: str = "rgb"
) -> Embedder:
    """Return the untrained network `name`, its weights drawn from torch's global generator.

    Every network takes float32 (B, 3, 112, 112) RGB, 0 to 255, and returns float32
    (B, embedding_size) of length 1.

    Args:
        name: a key of BACKBONES; "pretrained" is SFace's architecture, whose weights load_sface
            reads.
        input_size: side of the network's input in pixels, to which crops are resized.
        colour: rgb or grey, the channels of the network's input.

    Raises:
        FaceOpsError: the name is unknown, or the network does not support the size or the colour.
    """
    if name not in BACKBONES:
        raise FaceOpsError(
            f"train.backbone = {name!r} is unknown; set it to one of {', '.join(BACKBONES)}."
        )
    return BACKBONES[name](embedding_size, input_size, colour)
