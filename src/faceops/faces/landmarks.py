"""Refine the five landmarks of a face, which the detector places roughly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.work import Device
from faceops.faces.detector import Detection
from faceops.faces.inference_session import open_session
from faceops.photos.pixels import part_of


def square_crop(pixels: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """Return a square of the photo as uint8 (size, size, 3), anti-aliased; black outside.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        left, top: of the square, pixels; may be negative.
        side: of the square, pixels; 1 if smaller.
        size: side of the result, pixels.
    """
    side = max(side, 1.0)
    x0, y0 = int(np.floor(left)), int(np.floor(top))
    x1, y1 = int(np.ceil(left + side)), int(np.ceil(top + side))
    window = part_of(pixels, (x0, y0, x1, y1))
    extent = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    return np.asarray(window.resize((size, size), Image.Resampling.BILINEAR, box=extent))


SIDE = 48  # the net's input, pixels
SHARE = 0.95  # side of the square that the net sees, of the box's longer side


class LandmarkRefiner:
    """O-Net of MTCNN (Zhang et al. 2016), on the boxes of another detector.

    Args:
        model: the ONNX file or its bytes; input (N, 3, 48, 48), first output (N, 10).
        threads: of ONNX Runtime inside an operator.
        device: that runs it.

    Raises:
        UsageError: the device cannot be used.
        FaceOpsError: the model cannot be run.
    """

    def __init__(
        self,
        model: Path | bytes,
        threads: int = 1,
        share: float = SHARE,
        device: Device = "cpu",
    ) -> None:
        self._session = open_session(model, threads, shapes_vary=True, device=device)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._share = share

    def refine(self, pixels: np.ndarray, detections: list[Detection]) -> list[Detection]:
        """Return `detections` in their order with new landmarks; all in one batch.

        Args:
            pixels: uint8 (H, W, 3) RGB, upright.
            detections: faces of this photo; boxes and scores stay as they are.
        """
        if not detections:
            return []
        squares = [_square(detection.box, self._share) for detection in detections]
        crops = np.stack([square_crop(pixels, *square, SIDE) for square in squares])
        net_input = (crops.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 128
        fractions = self._session.run([self._output], {self._input: net_input})[0]  # (N, 10)
        refined = []
        for detection, (left, top, side), row in zip(detections, squares, fractions, strict=True):
            points = row.reshape(2, 5).T * side + (left, top)
            refined.append(replace(detection, landmarks=points.astype(np.float32)))
        return refined


def _square(box: tuple[float, float, float, float], share: float) -> tuple[float, float, float]:
    """Return left, top and side of the square around the middle of `box`."""
    x, y, width, height = box
    side = max(share * max(width, height), 1.0)
    return x + (width - side) / 2, y + (height - side) / 2, side
