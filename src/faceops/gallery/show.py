"""A person's enrolled faces, and how well each agrees with the others."""

from dataclasses import dataclass

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.gallery.person_name import display_name, person_key
from faceops.gallery.store import Gallery


@dataclass(frozen=True)
class ShownFace:
    """One enrolled face.

    Attributes:
        likeness: mean cosine to the person's other faces, -1 to 1; None for an only face.
        other: the person, other than this one, whose face is the most alike; "" if there is none.
        other_likeness: cosine to that face; None if there is none.
    """

    photo: str
    photo_id: str
    quality: float
    likeness: float | None
    other: str
    other_likeness: float | None

    @property
    def is_odd(self) -> bool:
        """Whether it is more like somebody else than like the person's own faces."""
        return (
            self.likeness is not None
            and self.other_likeness is not None
            and self.other_likeness > self.likeness
        )


def show(gallery: Gallery, name: str) -> tuple[str, list[ShownFace]]:
    """Return the name that is shown and the faces of `name`, the least alike first.

    Raises:
        FaceOpsError: nobody of that name, in any spelling, is enrolled.
    """
    key = person_key(display_name(name))
    mine = np.array([person_key(person) == key for person in gallery.persons], bool)
    if not mine.any():
        raise FaceOpsError(f"{name} is not in the gallery {gallery.folder}.")
    rows, others = np.flatnonzero(mine), np.flatnonzero(~mine)
    cosines = gallery.embeddings[rows] @ gallery.embeddings.T  # (faces, M)
    shown = []
    for row, cosine in zip(rows, cosines, strict=True):
        face = gallery.faces[row]
        own = cosine[rows[rows != row]]
        nearest = others[np.argmax(cosine[others])] if len(others) else None
        shown.append(
            ShownFace(
                photo=face.photo,
                photo_id=face.photo_id,
                quality=round(face.quality, 4),
                likeness=round(float(own.mean()), 4) if len(own) else None,
                other=gallery.persons[nearest] if nearest is not None else "",
                other_likeness=round(float(cosine[nearest]), 4) if nearest is not None else None,
            )
        )
    shown.sort(key=lambda face: (face.likeness if face.likeness is not None else 2.0, face.photo))
    return gallery.faces[rows[0]].person, shown
