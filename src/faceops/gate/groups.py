"""The groups of photos whose worst one is judged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.progress import track
from faceops.config.sections import Gate
from faceops.evaluation.embedded_faces import CropRows, EmbeddedFaces
from faceops.evaluation.protocols.slices import read_attributes
from faceops.faces.quality import measure
from faceops.gate.photos import FaceTable, FrozenPhotos

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


@dataclass(frozen=True)
class JudgedGroups:
    """name -> mask bool (P,) of the probes, of groups with enough known people; and the others."""

    judged: dict[str, np.ndarray]
    too_few: list[str]


def judged_groups(
    table: FaceTable,
    frozen: FrozenPhotos,
    settings: Gate,
    person: np.ndarray,
    probes: np.ndarray,
    known: np.ndarray,
) -> JudgedGroups:
    """Return the groups, as probes.

    Groups are formed by the champion's crops, so that both are judged on the same ones.
    """
    if settings.slices:
        of_faces = stated_groups(Path(settings.slices), table.faces, table.embedded.photo_ids)
    else:
        of_faces = visible_groups(table.embedded.crops)
    groups, too_few = {}, []
    for name, faces in of_faces.items():
        photos = np.zeros(len(frozen.photos), bool)
        photos[np.flatnonzero(table.rows >= 0)] = faces
        rows = photos[probes]
        if len(np.unique(person[probes][rows & known])) >= settings.min_slice_people:
            groups[name] = rows
        else:
            too_few.append(name)
    return JudgedGroups(groups, too_few)
