"""Groups of photos for the worst-group figure: from a CSV, else by what the photos look like."""

from pathlib import Path

import numpy as np

from faceops.base.progress import track
from faceops.evaluation.attributes import read_attributes
from faceops.evaluation.crop_rows import CropRows
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.faces.quality import measure

_THIRDS = {"brightness": ("dark", "middling light", "bright"),
           "sharpness": ("blurred", "middling sharp", "sharp")}  # fmt: skip


def stated_groups(path: Path, faces: EmbeddedFaces, photo_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return name -> mask bool (N,) of `faces` for every value that the CSV `path` states.

    Raises:
        UsageError: as `read_attributes`, and where it speaks of none of the faces.
    """
    attributes = read_attributes(path).of(faces, photo_ids)
    return {
        f"{attribute}: {value}": values == value
        for attribute, values in attributes.values.items()
        for value in np.unique(values[values != ""]).tolist()
    }


def visible_groups(crops: CropRows) -> dict[str, np.ndarray]:
    """Return name -> mask bool (N,): the thirds of `crops` by brightness and by sharpness.

    What FRVT finds to matter and every set of photos has; the cuts are this set's own.
    """
    if len(crops) < 3:
        return {}
    rows = track(range(len(crops)), "light of faces")
    told = [measure(crops[row], 0.0, 1.0) for row in rows]
    groups: dict[str, np.ndarray] = {}
    for name, thirds in _THIRDS.items():
        values = np.array([getattr(one, name) for one in told])
        third = np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values, side="right")
        groups |= {label: third == number for number, label in enumerate(thirds)}
    return groups
