"""The photos that champion and challenger are compared on: of people whom neither has seen.

Open-set search by two models on the same draws: what becomes of every probe under each.

Grother & Ngan's FRVT terms: a gallery of known people, probes of them and of strangers. A photo in
which a model finds no face is a probe that it does not name.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.dataset.names import name_key
from faceops.dataset.validate import Inspected, find_duplicates
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.open_set import (
    GalleryDraw,
    draw_galleries,
    is_named,
    search_gallery,
)
from faceops.release.evaluate.embed_photos import (
    EmbeddedData,
    LabelledPhoto,
    embed_data,
    labelled_photos,
    set_aside,
)
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class FrozenPhotos:
    """The photos of `people` people; `sha256` stands for their bytes and whose they are.

    `left_out` counts the people whom one of the two releases was trained or calibrated on;
    `data_sha256` stands for the whole folder, theirs included.
    """

    photos: list[LabelledPhoto]
    people: int
    left_out: int
    sha256: str
    data_sha256: str


def freeze(
    data: Path,
    seen: Iterable[str],
    pinned: str = "",
    seen_photos: frozenset[str] = frozenset(),
) -> FrozenPhotos:
    """Return the photos below `data` of people who are not among `seen`, by any spelling.

    Whoever has a photo that is among `seen_photos` was seen under another name. Photos that
    quarantine.csv sets aside, copies, photos that lie in two people's folders (of people who were
    seen too) and files that lie in nobody's play no part.

    Args:
        seen_photos: sha256 of the photos that trained or calibrated a release.
        pinned: the `data_sha256` that the folder must have; "" for any.

    Raises:
        UsageError: `data` holds no labelled photos of two people or more.
        FaceOpsError: a photo cannot be read, or the folder is not as it was pinned.
    """
    out = {name_key(person) for person in seen}
    listed, hashed = _hashed(data)
    whole = _digest(listed, hashed)
    if pinned and whole != pinned:
        raise FaceOpsError(
            f"{data} is not as gate.photos_sha256 pins it: it has {whole}, not {pinned}; bring the "
            "photos back, or pin these."
        )
    out |= {name_key(p.person) for p in hashed.values() if p.photo_id in seen_photos}
    left_out = {name_key(photo.person) for photo in listed} & out
    # A copy would be a pair of one person that is too easy; one photo of two people is a mistake.
    out_too = find_duplicates(hashed.values(), near_bits=-1)
    photos = [
        photo
        for photo in listed
        if photo.path in hashed and photo.path not in out_too and name_key(photo.person) not in out
    ]
    people = len({photo.person for photo in photos})
    return FrozenPhotos(photos, people, len(left_out), _digest(photos, hashed), whole)


def data_sha256(data: Path) -> str:
    """Return what stands for all labelled photos below `data`, see `FrozenPhotos`.

    Raises: as `freeze`.
    """
    return _digest(*_hashed(data))


def _hashed(data: Path) -> tuple[list[LabelledPhoto], dict[str, Inspected]]:
    """Return people's photos below `data`; and path -> what is known of those not set aside."""
    aside = set_aside(data)
    listed = [photo for photo in labelled_photos(data) if photo.person]
    hashed: dict[str, Inspected] = {}
    for photo in track(listed, "hashes of photos", len(listed)):
        try:
            photo_id = sha256_file(photo.file)
        except OSError as error:
            raise FaceOpsError(
                f"{photo.file} cannot be read ({error.strerror}), and the gate compares on all "
                "photos or none; mend or remove it."
            ) from None
        if photo_id not in aside:
            hashed[photo.path] = Inspected(photo.path, photo.person, photo_id, "", 0, 0, "", "")
    return listed, hashed


def _digest(photos: Iterable[LabelledPhoto], hashed: Mapping[str, Inspected]) -> str:
    lines = [
        f"{hashed[photo.path].photo_id}\t{name_key(photo.person)}\n"
        for photo in photos
        if photo.path in hashed
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


NO_FACE = np.float32(-1)  # below every probability


@dataclass(frozen=True)
class Outcomes:
    """What one model makes of all probes of all draws, in their order; arrays are (P,)."""

    score: np.ndarray  # float32: the best person's probability, NO_FACE without a face
    right: np.ndarray  # bool: the best person is the right one
    named: np.ndarray  # bool: a name is given at the release's own threshold


def draw_trials(
    person: np.ndarray,
    usable: np.ndarray,
    *,
    gallery_photos: int,
    unknown_share: float,
    seed: int,
) -> list[GalleryDraw]:
    """Return galleries of people drawn anew; both models search the same ones.

    Args:
        person: int (N,), whose each photo is.
        usable: bool (N,), photos in which both models find a face: only these are enrolled.
        gallery_photos: enrolled a person, who has at least one photo more.
        unknown_share: of the people with so many photos, who become strangers.
        seed: of the draws.

    Raises:
        FaceOpsError: too few people with so many photos.
    """
    able = np.flatnonzero(np.bincount(person[usable], minlength=person.max() + 1) > gallery_photos)
    enrolled = round(len(able) * (1 - unknown_share))
    if enrolled < 2 or enrolled == len(np.unique(person)):
        raise FaceOpsError(
            f"{len(able)} people have more than {gallery_photos} photos with a face: too few for "
            "known people and strangers; lower gate.gallery_photos or give the gate more people."
        )
    return draw_galleries(
        person, able, enrolled, gallery_photos=gallery_photos, seed=seed, usable=usable
    )


def search(
    draws: list[GalleryDraw],
    person: np.ndarray,
    rows: np.ndarray,
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds,
) -> Outcomes:
    """Return what one model makes of the probes of `draws`.

    Args:
        draws: of the frozen photos.
        person: int (N,), whose each photo is.
        rows: int (N,), the row in `faces` of each photo, -1 where the model finds no face.
        faces: of this model.
        verifier: of this model.
        thresholds: of this release, at whose default budget names are given.
    """
    scores, rights, nameds = [], [], []
    for draw in draws:
        found = rows[draw.probes] >= 0
        score = np.full(len(draw.probes), NO_FACE, np.float32)
        right, named = np.zeros(len(score), bool), np.zeros(len(score), bool)
        best, runner_up, best_person = search_gallery(
            faces.embeddings,
            rows[draw.probes[found]],
            rows[draw.gallery],
            person[draw.gallery],
            verifier,
        )
        threshold = thresholds.for_search(thresholds.default_budget, len(draw.gallery))
        score[found] = best
        right[found] = best_person == person[draw.probes[found]]
        named[found] = is_named(best, runner_up, threshold, thresholds.runner_up_margin)
        scores.append(score)
        rights.append(right)
        nameds.append(named)
    return Outcomes(*(np.concatenate(part) for part in (scores, rights, nameds)))


@dataclass(frozen=True)
class FaceTable:
    """One model's faces of the frozen photos; `rows` int (N,), -1 where it finds none."""

    model: MeasuredModel
    embedded: EmbeddedData
    rows: np.ndarray

    @property
    def faces(self) -> EmbeddedFaces:
        """The embeddings, and whose they are."""
        return self.embedded.faces

    @property
    def thresholds(self) -> Thresholds:
        """The release's own."""
        assert self.model.thresholds is not None  # of a release
        return self.model.thresholds


def embed_frozen(model: MeasuredModel, frozen: FrozenPhotos, work: Path, threads: int) -> FaceTable:
    """Find and embed the faces of `frozen`; what `work` holds is not done again."""
    # The photos are unlike already; copies would be set aside by each model's own faces.
    embedded = embed_data(model, frozen.photos, frozenset(), work, threads=threads, duplicates=True)
    found = np.array([not photo.reason for photo in embedded.photos])
    return FaceTable(model, embedded, np.where(found, np.cumsum(found) - 1, -1))
