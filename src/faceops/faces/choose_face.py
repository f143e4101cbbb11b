"""Which face of a labelled photo is the person's whose name it carries."""

from collections.abc import Sequence
from typing import Literal

from faceops.faces.find_faces import Face

Policy = Literal["largest", "most_central", "skip"]


def choose_face(
    faces: Sequence[Face], width: int, height: int, policy: Policy, min_face: float
) -> Face | None:
    """Return the face that `policy` chooses, or None where it cannot.

    Faces smaller than `min_face` are people in the background: they are not looked at. Of faces
    that are equally good the one with the better detector score is taken.

    Args:
        faces: of one photo, best score first.
        width: of the photo in pixels.
        height: of the photo in pixels.
        policy: `largest` box, `most_central` box, or `skip` photos that have several faces.
        min_face: smallest side of a box in pixels.
    """
    large = [face for face in faces if face.detection.size >= min_face]
    if not large or (policy == "skip" and len(large) > 1):
        return None
    if policy == "most_central":
        return min(large, key=lambda face: _off_centre(face, width, height))
    return max(large, key=lambda face: face.detection.box[2] * face.detection.box[3])


def _off_centre(face: Face, width: int, height: int) -> float:
    x, y, w, h = face.detection.box
    return (x + w / 2 - width / 2) ** 2 + (y + h / 2 - height / 2) ** 2
