"""A classification head by its name in params.yaml."""

from faceops.base.errors import FaceOpsError
from faceops.embedding.heads.arcface import ArcFace
from faceops.embedding.heads.classification_head import ClassificationHead
from faceops.embedding.heads.cosface import CosFace
from faceops.embedding.heads.part_heads import PartHeads
from faceops.embedding.heads.softmax import Softmax

HEADS = ("softmax", "cosface", "arcface")
_MARGIN_BELOW = {"cosface": 1.0, "arcface": 1.5}


def build_head(
    name: str, embedding_size: int, people: int, scale: float, margin: float, parts: int = 1
) -> ClassificationHead | PartHeads:
    """Return an untrained head for `people` classes, drawn from torch's global generator.

    Args:
        name: softmax (has no margin: `margin` is not used), cosface or arcface.
        scale: above 0.
        margin: of cosines for cosface, in radians for arcface.
        parts: of an embedding, each of which gets a head.

    Raises:
        FaceOpsError: no head has that name, or the margin is outside the head's range.
    """
    if name not in HEADS:
        raise FaceOpsError(f"train.classifier = {name!r} is not a head: use {', '.join(HEADS)}.")
    if parts > 1:
        of_part = (name, embedding_size // parts, people, scale, margin)
        return PartHeads([_head(*of_part) for _ in range(parts)])
    return _head(name, embedding_size, people, scale, margin)


def _head(
    name: str, embedding_size: int, people: int, scale: float, margin: float
) -> ClassificationHead:
    if name == "softmax":
        return Softmax(embedding_size, people, scale)
    if not 0 <= margin < _MARGIN_BELOW[name]:
        raise FaceOpsError(
            f"train.classifier_margin = {margin} is out of range: take one from 0 to below"
            f" {_MARGIN_BELOW[name]} for {name}."
        )
    head = CosFace if name == "cosface" else ArcFace
    return head(embedding_size, people, scale, margin)
