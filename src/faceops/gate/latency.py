"""Time per photo of two releases, measured alternately until the result is certain."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from faceops.release.evaluate.embed_photos import LabelledPhoto

PHOTOS = 24  # different ones, in turn
FIRST_LOOK, LOOK_EVERY, MOST_PAIRS = 24, 12, 240  # pairs of measurements
CONFIDENCE = 0.99

Process = Callable[[LabelledPhoto], object]  # open, crop and embed one photo


@dataclass(frozen=True)
class Latency:
    """Median times per photo in ms; the median ratio (challenger / champion) and its interval."""

    champion_ms: float
    challenger_ms: float
    ratio: float
    low: float
    high: float


def measure_latency(
    champion: Process,
    challenger: Process,
    photos: Sequence[LabelledPhoto],
    limit: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time both on the same photos in pairs, so that other load on the machine slows both.

    Measuring ends when the interval of the ratio excludes `limit`, at the latest after MOST_PAIRS
    pairs; the interval may then still include it. It is the distribution-free one of a median
    (order statistics), so a few slow runs do not move it.

    Args:
        champion, challenger: process one photo.
        photos: PHOTOS of them are used.
        limit: the ratio to decide about.
        clock: seconds.
    """
    rows = np.unique(np.linspace(0, len(photos) - 1, PHOTOS).round().astype(int))
    models = (champion, challenger)
    for process in models:  # the first run of a session allocates its memory
        process(photos[int(rows[0])])
    seconds = np.empty((MOST_PAIRS, 2))
    for pair in range(MOST_PAIRS):
        photo = photos[int(rows[pair % len(rows)])]
        for which in (0, 1) if pair % 2 else (1, 0):
            start = clock()
            models[which](photo)
            seconds[pair, which] = clock() - start
        done = pair + 1
        if done >= FIRST_LOOK and (done - FIRST_LOOK) % LOOK_EVERY == 0:
            low, high = _median_interval(seconds[:done, 1] / seconds[:done, 0])
            if low > limit or high < limit:
                break
    ratios = seconds[:done, 1] / seconds[:done, 0]
    champion_ms, challenger_ms = (np.median(seconds[:done], axis=0) * 1e3).tolist()
    return Latency(champion_ms, challenger_ms, float(np.median(ratios)), *_median_interval(ratios))


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    ordered = np.sort(values)
    rank = max(int(binom.ppf((1 - CONFIDENCE) / 2, len(values), 0.5)), 1)
    return float(ordered[rank - 1]), float(ordered[-rank])
