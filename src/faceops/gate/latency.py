"""What one photo costs each of two releases, measured in turns: only their ratio counts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceops.faces.crop_photos import crop_photo
from faceops.release.evaluate.embed_photos import LabelledPhoto
from faceops.release.evaluate.measured_model import MeasuredModel

PHOTOS = 24
REPEATS = 5


@dataclass(frozen=True)
class Latency:
    """Medians over photos of the quickest of several tries, milliseconds, and of their ratio."""

    champion_ms: float
    challenger_ms: float
    ratio: float


def measure_latency(
    champion: MeasuredModel,
    challenger: MeasuredModel,
    photos: Sequence[LabelledPhoto],
    repeats: int = REPEATS,
) -> Latency:
    """Open, crop and embed some of `photos` by both models in turns.

    The quickest try of each photo counts, and the ratio is taken photo by photo: what else the
    machine does slows both.
    """
    rows = np.unique(np.linspace(0, len(photos) - 1, PHOTOS).round().astype(int))
    models = (champion, challenger)
    times = np.full((2, len(rows), repeats), np.inf)
    for model in models:  # the first run of a session plans its memory
        _once(model, photos[int(rows[0])])
    for at, row in enumerate(rows):
        for repeat in range(repeats):
            for which in (0, 1) if repeat % 2 else (1, 0):
                began = time.perf_counter()
                _once(models[which], photos[int(row)])
                times[which, at, repeat] = time.perf_counter() - began
    first, second = times.min(2)
    return Latency(
        float(np.median(first)) * 1e3,
        float(np.median(second)) * 1e3,
        float(np.median(second / first)),
    )


def _once(model: MeasuredModel, photo: LabelledPhoto) -> None:
    cropped = crop_photo(photo.file, model.finder, model.crops)
    if cropped.crop is not None:
        model.embed(cropped.crop[None])
