"""From a photo's pixels to aligned faces: the one path of training and identification."""

from dataclasses import dataclass

import numpy as np

from faceops.faces.align import align
from faceops.faces.detection import Detection
from faceops.faces.detector import Detector
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import Quality, judge


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photo.

    Attributes:
        detection: box, refined landmarks, score.
        quality: measures of the crop.
        crop: uint8 (112, 112, 3) RGB, aligned.
    """

    detection: Detection
    quality: Quality
    crop: np.ndarray


class FaceFinder:
    """Detect, refine, align, judge. May be shared by threads."""

    def __init__(self, detector: Detector, refiner: LandmarkRefiner) -> None:
        self._detector = detector
        self._refiner = refiner

    def find(self, pixels: np.ndarray) -> list[Face]:
        """Return the faces of `pixels`, uint8 (H, W, 3) RGB upright, best score first."""
        found = self._refiner.refine(pixels, self._detector.detect(pixels))
        faces = []
        for detection in found:
            crop = align(pixels, detection.landmarks)
            faces.append(Face(detection, judge(crop, detection), crop))
        return faces
