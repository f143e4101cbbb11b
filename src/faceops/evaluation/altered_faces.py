"""Altered photos through the whole path again: detector, landmarks, alignment, embedder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.evaluation.alterations import ALTERATIONS, Alteration, Altered
from faceops.faces.choose_face import choose_face
from faceops.faces.crop_photo import CropSettings
from faceops.faces.detection import Detection
from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.ordered_map import ordered_map
from faceops.photos.open_photo import open_photo

NEAR = 0.5  # of the face's side: how far off a found face may lie and still be the same


@dataclass(frozen=True)
class AlteredFaces:
    """Of P photos under A alterations: `embeddings` float32 (A, P, D), `found` bool (A, P).

    Where a face was not found again, its embedding is 0.
    """

    names: tuple[str, ...]
    embeddings: np.ndarray
    found: np.ndarray


def embed_altered(
    photos: Sequence[Path],
    finder: FaceFinder,
    embed: Callable[[np.ndarray], np.ndarray],
    settings: CropSettings,
    workers: int,
) -> AlteredFaces:
    """Alter each of `photos` in every way, find its face again and embed it.

    `embed` takes crops uint8 (N, 112, 112, 3) and gives float32 (N, D); `settings` says which
    face of a photo counts. Memory: a few photos a worker, and the embeddings.

    Raises:
        FaceOpsError: a photo cannot be opened, or has no face before it is altered.
    """
    work = partial(alter_photo, finder=finder, settings=settings)
    embedded, found = [], []
    done = ordered_map(work, photos, workers)
    for crops in track(done, "robustness: photos altered", len(photos)):
        here = np.array([crop is not None for crop in crops])
        kept = [crop for crop in crops if crop is not None]
        vectors = embed(np.stack(kept)) if kept else None
        embedded.append((here, vectors))
        found.append(here)
    size = next((v.shape[1] for _, v in embedded if v is not None), 1)
    result = np.zeros((len(photos), len(ALTERATIONS), size), np.float32)
    for row, (here, vectors) in enumerate(embedded):
        if vectors is not None:
            result[row, here] = vectors
    return AlteredFaces(
        tuple(ALTERATIONS), result.transpose(1, 0, 2), np.array(found).reshape(len(photos), -1).T
    )


def alter_photo(path: Path, finder: FaceFinder, settings: CropSettings) -> list[np.ndarray | None]:
    """Return the crop uint8 (112, 112, 3) of the photo's face under each alteration, or None."""
    pixels = open_photo(path, settings.limits).pixels
    height, width = pixels.shape[:2]
    policy = settings.several_faces
    face = choose_face(finder.find(pixels), width, height, policy, settings.min_face)
    if face is None:
        raise FaceOpsError(
            f"{path} shows no usable face, though one was found in it before; it was changed: "
            "run the crop stage again."
        )
    return [_again(alter, pixels, face.detection, finder) for alter in ALTERATIONS.values()]


def _again(
    alter: Alteration, pixels: np.ndarray, face: Detection, finder: FaceFinder
) -> np.ndarray | None:
    altered = alter(pixels, face)
    same = same_face(finder.find(altered.pixels), face, altered)
    return None if same is None else same.crop


def same_face(faces: Sequence[Face], before: Detection, altered: Altered) -> Face | None:
    """Return which of `faces` of the altered photo is the one that was `before`; None if none.

    The nearest one, if its centre lies within half a side of where the face must be.
    """
    x, y, width, height = before.box
    place = altered.place(np.array([[x + width / 2, y + height / 2]]))[0]
    side = before.size * np.sqrt(abs(np.linalg.det(altered.moved[:, :2])))

    def off(face: Face) -> float:
        left, top, w, h = face.detection.box
        return float(np.hypot(left + w / 2 - place[0], top + h / 2 - place[1]))

    nearest = min(faces, key=off, default=None)
    return nearest if nearest is not None and off(nearest) <= NEAR * side else None
