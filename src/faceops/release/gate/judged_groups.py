"""The groups of photos whose worst one is judged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.config.sections import Gate
from faceops.release.gate.face_table import FaceTable
from faceops.release.gate.frozen_photos import FrozenPhotos
from faceops.release.gate.photo_groups import stated_groups, visible_groups


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
