"""The pictures on the page, as base64 of JPEG files."""

import base64
import io
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.gallery.portraits import portraits
from faceops.identification.face_store import FaceStore
from faceops.identification.thumbnail import thumbnail
from faceops.identification.unknown_numbers import FaceKey

AT_ONCE = 256  # photos


def face_pictures(store: FaceStore, keys: Iterable[FaceKey]) -> dict[FaceKey, str]:
    """Return the pictures of those faces that the store has."""
    by_photo: dict[str, list[FaceKey]] = {}
    for key in keys:
        by_photo.setdefault(key.photo_id, []).append(key)
    photo_ids, found = list(by_photo), {}
    for start in range(0, len(photo_ids), AT_ONCE):
        photos = store.load(photo_ids[start : start + AT_ONCE])
        for photo_id, kept in photos.items():
            for key in by_photo[photo_id]:
                for face in kept.photo.faces[key.face_index : key.face_index + 1]:
                    found[key] = _base64(face.thumbnail)
    return found


def enrolled_pictures(gallery: Path, people: Collection[str]) -> dict[str, str]:
    """Return a picture of each of these people from the gallery, as far as it has one."""
    found = {}
    for person, png in portraits(gallery, people).items():
        crop = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        found[person] = _base64(thumbnail(crop))
    return found


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
