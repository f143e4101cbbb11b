"""Find the faces of a photo with YuNet on ONNX Runtime."""

from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.detection import Detection
from faceops.faces.inference_session import open_session
from faceops.faces.non_maximum_suppression import non_maximum_suppression
from faceops.faces.yunet_decode import decode

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
