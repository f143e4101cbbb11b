"""From a photo's pixels to aligned faces: the one path of training and identification."""

from dataclasses import dataclass

import numpy as np

from faceops.faces.align import align
from faceops.faces.detection import Detection
from faceops.faces.detector import Detector
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import Quality, measure, yaw
from faceops.faces.tiles import detect_in_tiles


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
    """Detect, refine, align, judge. May be shared by threads.

    Args:
        detail: longest side, in pixels, at which a large photo is looked at once more in tiles
            (see `tiles`); 0: only as a whole.
    """

    def __init__(self, detector: Detector, refiner: LandmarkRefiner, detail: int = 0) -> None:
        self._detector = detector
        self._refiner = refiner
        self.detail = detail

    def at_detail(self, detail: int) -> "FaceFinder":
        """Return a finder with another `detail` on the same models."""
        return FaceFinder(self._detector, self._refiner, detail)

    def find(self, pixels: np.ndarray) -> list[Face]:
        """Return the faces of `pixels`, uint8 (H, W, 3) RGB upright, best score first."""
        return self.cut(pixels, self.detect(pixels))

    def detect(self, pixels: np.ndarray) -> list[Detection]:
        """Return where the faces are, best score first, with the detector's own landmarks."""
        found = self._detector.detect(pixels)
        if not self.detail:
            return found
        found += detect_in_tiles(self._detector, pixels, self.detail, found)
        return sorted(found, key=lambda detection: -detection.score)

    def cut(
        self, pixels: np.ndarray, detections: list[Detection], pixels_per_pixel: float = 1.0
    ) -> list[Face]:
        """Return the faces that `detections` are, their landmarks refined.

        `pixels_per_pixel` says how many pixels of the photo one of `pixels` stands for: quality
        counts those of the photo.
        """
        faces = []
        for detection in self._refiner.refine(pixels, detections):
            crop = align(pixels, detection.landmarks)
            size = detection.size * pixels_per_pixel
            faces.append(Face(detection, measure(crop, yaw(detection.landmarks), size), crop))
        return faces
