"""Find the faces of a photo with YuNet on ONNX Runtime.

From YuNet's output maps to boxes, landmarks and scores.

YuNet: Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023. Every cell of the
maps at strides 8, 16 and 32 holds a class score, an objectness score, a box as offset of its
centre and logarithm of its sides, and five landmarks as offsets, all in units of the stride.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.inference_session import open_session


@dataclass(frozen=True, eq=False)
class Detection:
    """Where a face is, in pixels of the upright photo.

    Attributes:
        box: x, y, width, height; may reach over the photo's edge.
        landmarks: float32 (5, 2), x and y of the eye on the viewer's left, the other eye, the
            nose's tip, the corner of the mouth on the viewer's left, the other corner.
        score: the detector's, 0 to 1.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """The shorter side of the box in pixels."""
        return min(self.box[2], self.box[3])


def non_maximum_suppression(
    boxes: np.ndarray, scores: np.ndarray, largest_overlap: float
) -> np.ndarray:
    """Return the indices of the boxes to keep, best score first.

    A box goes when its intersection over union with a better kept one exceeds `largest_overlap`.
    Equal scores are taken in the order of their rows.

    Args:
        boxes: float (N, 4), x, y, width, height.
        scores: float (N,).
        largest_overlap: 0 to 1.
    """
    order = np.argsort(-scores, kind="stable")
    left, top = boxes[:, 0], boxes[:, 1]
    right, bottom = left + boxes[:, 2], top + boxes[:, 3]
    area = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        union = area[best] + area[rest] - shared
        order = rest[shared <= largest_overlap * union]
    return np.array(kept, dtype=np.int64)


STRIDES = (8, 16, 32)


def decode(
    maps: Mapping[str, np.ndarray], width: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the candidates that score `threshold` or more, in the order of the cells.

    Args:
        maps: `cls_S` and `obj_S` float32 (1, cells, 1), `bbox_S` (1, cells, 4), `kps_S`
            (1, cells, 10) for each stride S, row by row.
        width: of the net's input in pixels, a multiple of 32.
        threshold: smallest score, the root of class score times objectness.

    Returns:
        boxes float32 (N, 4) x, y, width, height; landmarks float32 (N, 5, 2); scores float32 (N,);
        in pixels of the net's input.
    """
    boxes, landmarks, scores = [], [], []
    for stride in STRIDES:
        score = np.sqrt(
            np.clip(maps[f"cls_{stride}"][0, :, 0], 0, 1)
            * np.clip(maps[f"obj_{stride}"][0, :, 0], 0, 1)
        )
        cells = np.flatnonzero(score >= threshold)
        corner = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
        box = maps[f"bbox_{stride}"][0, cells]  # (n, 4)
        centre = (corner + box[:, :2]) * stride
        sides = np.exp(box[:, 2:]) * stride
        points = maps[f"kps_{stride}"][0, cells].reshape(-1, 5, 2)
        boxes.append(np.concatenate([centre - sides / 2, sides], axis=1))
        landmarks.append((corner[:, None, :] + points) * stride)
        scores.append(score[cells])
    return (
        np.concatenate(boxes).astype(np.float32),
        np.concatenate(landmarks).astype(np.float32),
        np.concatenate(scores).astype(np.float32),
    )


LARGEST_OVERLAP = 0.3
MULTIPLE = 32  # the net's largest stride
# A second look for faces that fill a photo, which the first may miss at this very scale.
SECOND_LOOK = 0.5  # of `size`
SECOND_BORDER = 0.3  # black, of the longer side, all around


class Detector:
    """YuNet, with symbolic height and width, at a set largest size.

    Args:
        model: the ONNX file or its bytes, as `symbolic_detector.with_symbolic_size` makes it.
        size: longest side in pixels; larger photos are scaled down to it, smaller never up.
        threshold: smallest score of a face, 0 to 1.
        threads: of ONNX Runtime inside an operator.

    Raises:
        FaceOpsError: the model cannot be run or has a fixed size.
    """

    def __init__(
        self, model: Path | bytes, size: int = 640, threshold: float = 0.6, threads: int = 1
    ) -> None:
        self._session = open_session(model, threads)
        self._input = self._session.get_inputs()[0]
        if any(isinstance(side, int) for side in self._input.shape[2:]):
            raise FaceOpsError(
                f"the detector's model has the fixed input {self._input.shape}; "
                "make its height and width symbolic first."
            )
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.size = size
        self.threshold = threshold

    def detect(self, pixels: np.ndarray, *, second_look: bool = True) -> list[Detection]:
        """Return the faces of `pixels`, uint8 (H, W, 3) RGB upright, best score first.

        With `second_look`, a photo in which none is found is looked at once more, at half the
        size and in a frame.
        """
        if not pixels.shape[0] or not pixels.shape[1]:
            return []
        found = self._look(pixels, self.size, 0.0)
        if found or not second_look:
            return found
        return self._look(pixels, SECOND_LOOK * self.size, SECOND_BORDER)

    def _look(self, pixels: np.ndarray, size: float, frame: float) -> list[Detection]:
        height, width = pixels.shape[:2]
        small = _scaled(pixels, min(1.0, size / max(height, width)))
        border = round(frame * max(small.shape))
        net_input = _framed(small, border)
        maps = dict(
            zip(
                self._outputs,
                self._session.run(self._outputs, {self._input.name: net_input}),
                strict=True,
            )
        )
        boxes, landmarks, scores = decode(maps, net_input.shape[3], self.threshold)
        likely = _plausible(boxes, *net_input.shape[2:])
        boxes, landmarks, scores = boxes[likely], landmarks[likely], scores[likely]
        kept = non_maximum_suppression(boxes, scores, LARGEST_OVERLAP)
        # Sides were rounded to whole pixels, so each axis has its own scale.
        back = np.array([width / small.shape[1], height / small.shape[0]], dtype=np.float32)
        boxes[:, :2] -= border
        landmarks -= border
        boxes *= np.tile(back, 2)
        landmarks *= back
        return [
            Detection(
                box=(
                    float(boxes[i, 0]),
                    float(boxes[i, 1]),
                    float(boxes[i, 2]),
                    float(boxes[i, 3]),
                ),
                landmarks=landmarks[i].copy(),
                score=float(scores[i]),
            )
            for i in kept
        ]


def _scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Return `pixels` scaled down by `scale` with anti-aliasing; as they are at 1."""
    if scale >= 1.0:
        return pixels
    height, width = pixels.shape[:2]
    sides = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(sides, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _framed(pixels: np.ndarray, border: int) -> np.ndarray:
    """Return the net's input float32 (1, 3, H', W') BGR 0-255, black around `pixels`."""
    height, width = pixels.shape[:2]
    sides = _multiple(height + 2 * border), _multiple(width + 2 * border)
    frame = np.zeros((1, 3, *sides), dtype=np.float32)
    inside = frame[0, :, border : border + height, border : border + width]
    inside[...] = pixels[:, :, ::-1].transpose(2, 0, 1)
    return frame


def _plausible(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return bool (N,): finite, no larger than twice the input; guards against odd pixels."""
    sides = boxes[:, 2:]
    finite = np.isfinite(boxes).all(axis=1)
    return finite & (sides >= 1).all(axis=1) & (sides <= 2 * max(height, width)).all(axis=1)


def _multiple(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE


Box = tuple[float, float, float, float]  # x, y, width, height
SAME_BOX = 0.5  # two boxes of one photo that overlap so much show one face


def shared_area(one: Box, other: Box) -> float:
    """Return the area that lies in both boxes."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)


def box_overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    shared = shared_area(one, other)
    union = one[2] * one[3] + other[2] * other[3] - shared
    return shared / union if union > 0 else 0.0
