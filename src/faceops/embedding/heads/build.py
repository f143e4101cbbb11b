"""A classification head by its name in params.yaml."""

from collections.abc import Callable

from faceops.base.errors import FaceOpsError
from faceops.embedding.heads.arcface import ArcFace
from faceops.embedding.heads.classification_head import ClassificationHead
from faceops.embedding.heads.cosface import CosFace
from faceops.embedding.heads.softmax import Softmax

# (embedding_size, people, scale, margin) -> an untrained head
Builder = Callable[[int, int, float, float], ClassificationHead]


def _softmax(embedding_size: int, people: int, scale: float, margin: float) -> Softmax:
    return Softmax(embedding_size, people, scale)  # has no margin


HEADS: dict[str, Builder] = {"softmax": _softmax, "cosface": CosFace, "arcface": ArcFace}
_MARGIN_BELOW = {"cosface": 1.0, "arcface": 1.5}


def build_head(
    name: str, embedding_size: int, people: int, scale: float, margin: float
) -> ClassificationHead:
    """Return an untrained head for `people` classes, drawn from torch's global generator.

    Args:
        name: a key of HEADS; softmax ignores `margin`.
        scale: above 0.
        margin: of cosines for cosface, in radians for arcface.

    Raises:
        FaceOpsError: no head has that name, or the margin is outside the head's range.
    """
    if name not in HEADS:
        raise FaceOpsError(
            f"train.head = {name!r} is unknown; set it to one of {', '.join(HEADS)}."
        )
    below = _MARGIN_BELOW.get(name)
    if below and not 0 <= margin < below:
        raise FaceOpsError(
            f"train.head_margin = {margin} is out of range; {name} takes from 0 to below {below}."
        )
    return HEADS[name](embedding_size, people, scale, margin)
