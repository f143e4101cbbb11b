"""Albums of simulated people, for runs without a model: a photo is a text of its faces.

"7:0 12:3" shows person 7 in their photo 0 and person 12 in their photo 3.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceops.config.sections import Verify
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face, PhotoFaces
from faceops.faces.quality import Quality
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.store import Gallery
from faceops.photos.open_photo import Photo
from faceops.release.bundle import Bundle, Embedded
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.normalisation import unit
from faceops.verification.pairs import all_pair_scores
from faceops.verification.verifier import Verifier

SIZE, BUDGET = 64, 0.05
VERIFIER = Verifier(np.full(SIZE, -10, np.float32), 12.0, "distance")
CALIBRATED_ON = range(1000, 1120)
GOOD = Quality(90, 0.5, 0.2, pose=0, size_px=50, detail=200, glare=0, score=0.9, overall=0.9)


def embedding(person: int, number: int) -> np.ndarray:
    """Return float32 (SIZE,), the photo `number` of a person; some people resemble others."""
    draw = np.random.default_rng(person)
    centre = draw.normal(size=SIZE)
    centre[: SIZE // 8] += draw.gamma(1.0, 0.8)
    noise = np.random.default_rng([person, number]).normal(size=SIZE)
    return unit(centre[None] + 0.6 * noise)[0]


def embeddings(faces: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return float32 (N, SIZE) for pairs of person and photo."""
    return np.stack([embedding(*face) for face in faces])


def simulated(bundle: Bundle) -> Bundle:
    """Return `bundle` with thresholds of simulated people, normalisation included."""
    persons = np.repeat(list(CALIBRATED_ON), 3)
    rows = embeddings((person, place % 3) for place, person in enumerate(persons.tolist()))
    settings = Verify(far_budgets=[0.1], fpir_budgets=[BUDGET], gallery_sizes=[10],
                      default_budget=BUDGET, runner_up_margin=0.5)  # fmt: skip
    scores = all_pair_scores(rows, persons.astype(str), VERIFIER)
    sets = np.full(len(persons), "simulated people")
    thresholds = measure_thresholds(
        rows, persons.astype(str), VERIFIER, scores, settings, "simulated people", sets
    )
    assert thresholds.normalisation is not None
    release = bundle.release.model_copy(
        update={"embedding_size": SIZE, "thresholds": thresholds, "contract_id": "5" * 64}
    )
    return replace(bundle, release=release)


def without_normalisation(bundle: Bundle) -> Bundle:
    """Return the release as an earlier version of FaceOps would have written it."""
    plain = bundle.release.thresholds.model_copy(update={"normalisation": None})
    return replace(bundle, release=bundle.release.model_copy(update={"thresholds": plain}))


def enrolled(folder: Path, people: Iterable[int], photos: int = 2) -> Gallery:
    """Return a saved gallery of `people`, named P and the number, with their photos from 900 on."""
    folder.mkdir()
    faces = [
        GalleryFace(f"P{person:03d}", f"{person:060d}{number:04d}", f"{number}.jpg", (0, 0, 50, 50),
                    0.9, 0.9, embedding(person, number))
        for person in people for number in range(900, 900 + photos)
    ]  # fmt: skip
    Gallery(folder, "5" * 64, SIZE).with_faces(faces).save()
    return Gallery.open(folder)


def write_album(folder: Path, photos: Sequence[str]) -> Path:
    """Write photos of these faces, in order."""
    folder.mkdir(exist_ok=True)
    for number, faces in enumerate(photos):
        (folder / f"{number:04d}.jpg").write_text(faces, "utf-8")
    return folder


def found_in(content: bytes) -> PhotoFaces:
    """Return the faces of a photo."""
    faces = []
    for place, code in enumerate(content.decode().split()):
        person, number = map(int, code.split(":"))
        crop = np.zeros((112, 112, 3), np.uint8)
        crop[0, 0, :2], crop[0, 1, :2] = divmod(person, 256), divmod(number, 256)
        box = (100.0 * place, 0.0, 50.0, 50.0)
        faces.append(Face(Detection(box, np.zeros((5, 2), np.float32), 0.9), GOOD, crop))
    photo_id, pixels = hashlib.sha256(content).hexdigest(), np.zeros((8, 8, 3), np.uint8)
    return PhotoFaces(Photo(pixels, "JPEG", photo_id, (8, 8)), faces)


def embed(_: Bundle, crops: np.ndarray) -> Embedded:
    """Return the embeddings of crops of `found_in`."""
    codes = crops[:, 0, :2, :2].astype(int) @ [256, 1]
    return Embedded.without_lengths(embeddings(map(tuple, codes.tolist())))


def no_model(patch: pytest.MonkeyPatch) -> None:
    """Let runs and the service read such photos."""

    def find(path: Path, *_: Any) -> PhotoFaces:
        return found_in(path.read_bytes())

    patch.setattr("faceops.identification.engine.extract.find_in_photo", find)
    patch.setattr("faceops.serving.find_in_photo", lambda *given: found_in(given[3]))
    patch.setattr(Bundle, "embed", embed)
    patch.setattr(Bundle, "verify", lambda _, a, b: VERIFIER.probability(a, b))
