"""The networks by name."""

from typing import get_args

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Backbone
from faceops.embedding.backbones.descriptors import SIZE_MULTIPLE, build_descriptors
from faceops.embedding.backbones.facenet_nn2 import build_facenet_nn2
from faceops.embedding.backbones.inception_resnet_v1 import build_inception_resnet_v1
from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.backbones.mobilefacenet import build_mobilefacenet
from faceops.embedding.backbones.pretrained_sface import EMBEDDING_SIZE, build_sface
from faceops.embedding.backbones.residual import build_residual
from faceops.embedding.embedder import Embedder

BACKBONES: tuple[str, ...] = get_args(Backbone)
# Those that start where strangers are told apart already, in projections that can be trained alone.
STARTED = ("pretrained", "descriptors")


def build_backbone(
    name: str, embedding_size: int, input_size: int = CROP_SIZE, colour: str = "rgb"
) -> Embedder:
    """Return the untrained network `name`, its weights drawn from torch's global generator.

    All take float32 (B, 3, 112, 112) RGB 0..255, whatever they make of it inside, and return
    float32 (B, embedding_size) of length 1.

    Args:
        name: one of BACKBONES; "pretrained" is SFace's architecture, whose weights load_sface has.
        input_size: pixels a side that the network sees.
        colour: rgb or grey, what the network sees.

    Raises:
        FaceOpsError: the name or the colour is unknown, the network cannot see so few pixels, or
            SFace or the descriptors are asked to be of another form than their own.
    """
    match name:
        case "pretrained":
            if (embedding_size, input_size, colour) != (EMBEDDING_SIZE, CROP_SIZE, "rgb"):
                raise FaceOpsError(
                    "train.backbone = pretrained is SFace, which needs train.embedding_size ="
                    f" {EMBEDDING_SIZE}, train.input_size = {CROP_SIZE} and train.colour = rgb,"
                    f" not {embedding_size}, {input_size} and {colour}; set these, or take"
                    " another train.backbone."
                )
            return build_sface()
        case "descriptors":
            if embedding_size % SIZE_MULTIPLE or (input_size, colour) != (CROP_SIZE, "grey"):
                raise FaceOpsError(
                    "train.backbone = descriptors needs a train.embedding_size that"
                    f" {SIZE_MULTIPLE} divides, train.input_size = {CROP_SIZE} and train.colour ="
                    f" grey, not {embedding_size}, {input_size} and {colour}; set these, or take"
                    " another train.backbone."
                )
            return build_descriptors(embedding_size)
        case "facenet_nn2":
            return build_facenet_nn2(embedding_size, input_size, colour)
        case "inception_resnet_v1":
            return build_inception_resnet_v1(embedding_size, input_size, colour)
        case "resnet18" | "resnet50" | "resnext50_32x4d":
            return build_residual(name, embedding_size, input_size, colour)
        case "mobilefacenet":
            return build_mobilefacenet(embedding_size, input_size, colour)
    raise FaceOpsError(
        f"train.backbone = {name!r} is unknown; set it to one of {', '.join(BACKBONES)}."
    )
