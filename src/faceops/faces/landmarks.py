"""Refine the landmarks of detected faces with O-Net on ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from faceops.base.work import Device
from faceops.faces.align import ALIGNMENT_VERSION, square_crop
from faceops.faces.detector import Detection
from faceops.faces.inference_session import open_session
from faceops.photos.pixels import clipped_share, recover_highlights

_REFINED_SIDE = 48  # the net's input, pixels
# The square that the net sees: its side and how far it is shifted down, of the longer side of the
# box. An uncertain face is seen in the others too.
_SQUARE, _OTHERS = (0.95, 0.0), ((0.85, 0.0), (0.85, -0.06), (0.85, 0.06))
_OVEREXPOSED = 0.3  # share of clipped pixels in the square
_AT_ONCE = 32  # faces: O-Net takes 270 kB for each crop
_DISAGREEMENT = 0.08  # of a face and its mirror image about a landmark, in eye distances


class LandmarkRefiner:
    """O-Net of MTCNN (Zhang et al. 2016), on the boxes of another detector.

    It is unsure of a face that is covered, by sunglasses for one: there its landmarks differ
    between the face and its mirror image. Such a face is seen again in three smaller squares, as
    it is and mirrored, and the median of the eight counts.

    `model` is the ONNX file or its bytes; input (N, 3, 48, 48), first output (N, 10). It runs on
    `device`, with `threads` of ONNX Runtime inside an operator. `version` 1 of the alignment sees
    each face once, and overexposed ones as they are.

    Raises UsageError: the device cannot be used; FaceOpsError: the model cannot be run.
    """

    def __init__(
        self, model: Path | bytes, threads: int = 1, device: Device = "cpu",
        version: int = ALIGNMENT_VERSION,
    ) -> None:  # fmt: skip
        self._session = open_session(model, threads, shapes_vary=True, device=device)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._version = version

    def refine(self, pixels: np.ndarray, detections: list[Detection]) -> list[Detection]:
        """Return `detections` in their order with new landmarks.

        Boxes and scores stay as they are. `pixels` uint8 (H, W, 3) RGB, upright, is their photo.
        """
        refined: list[Detection] = []
        for start in range(0, len(detections), _AT_ONCE):
            refined += self._refine(pixels, detections[start : start + _AT_ONCE])
        return refined

    def _refine(self, pixels: np.ndarray, detections: list[Detection]) -> list[Detection]:
        """Return at least one and at most `_AT_ONCE` detections as `refine` does."""
        seen = self._see(pixels, detections, [_SQUARE])
        landmarks = seen[0]
        if self._version >= 2:
            eyes = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=1)
            apart = np.linalg.norm(landmarks - seen[1], axis=2).max(axis=1)
            for face in np.flatnonzero(apart > _DISAGREEMENT * eyes):
                again = self._see(pixels, [detections[face]], _OTHERS)[:, 0]
                landmarks[face] = np.median([*seen[:, face], *again], axis=0)
        return [
            replace(detection, landmarks=points.astype(np.float32))
            for detection, points in zip(detections, landmarks, strict=True)
        ]

    def _see(
        self,
        pixels: np.ndarray,
        detections: list[Detection],
        squares: Sequence[tuple[float, float]],
    ) -> np.ndarray:
        """Return landmarks float64 (V, N, 5, 2): of N faces in each of `squares`, then mirrored."""
        places = []  # left, top and side, around the middle of the box
        for share, down in squares:
            for x, y, width, height in (detection.box for detection in detections):
                longer = max(width, height)
                side = max(share * longer, 1.0)
                top = y + (height - side) / 2 + down * longer
                places.append((x + (width - side) / 2, top, side))
        crops = np.stack([square_crop(pixels, *place, _REFINED_SIDE) for place in places])
        if self._version >= 2:
            for crop in crops:
                if clipped_share(crop) > _OVEREXPOSED:
                    crop[...] = recover_highlights(crop)
            crops = np.concatenate([crops, crops[:, :, ::-1]])
        net_input = (crops.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 128
        outputs = self._session.run([self._output], {self._input: net_input})[0]  # (V * N, 10)
        fractions = outputs.reshape(-1, 2, 5).transpose(0, 2, 1).copy()
        mirrored = fractions[len(places) :]
        mirrored[..., 0] = 1 - mirrored[..., 0]
        mirrored[:] = mirrored[:, [1, 0, 2, 4, 3]]
        placed = np.resize(places, (len(crops), 1, 3))
        points = fractions * placed[..., 2:].astype(np.float32) + placed[..., :2]
        return points.reshape(-1, len(detections), 5, 2)
