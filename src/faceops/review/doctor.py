"""Why a face has its name, and which enrolled faces are doubtful."""

from dataclasses import dataclass, field

import numpy as np

from faceops.base.errors import UsageError
from faceops.base.nearest import nearest_of_others
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.similarity import MAX_COMPARED, Lookalikes, comparison, find_lookalikes
from faceops.gallery.store import Gallery
from faceops.release.bundle import Bundle
from faceops.review.decided import DecidedAlbum
from faceops.review.faces import Candidate, scores_of
from faceops.verification.verifier import sigmoid

NEAREST = 6  # enrolled faces that are shown
WEAK_QUALITY = 0.35  # an enrolled face below it is weak; enrolment asks for 0.2


@dataclass(frozen=True)
class NearEnrolled:
    """An enrolled face that is compared with a face.

    Attributes:
        crop_id: of its picture.
        photo: path of its photo below the folder that it was enrolled from.
        probability: 0 to 1, that both faces are one person.
    """

    crop_id: str
    photo: str
    probability: float


@dataclass(frozen=True)
class Why:
    """Why a face has its name, or is most like a person.

    Attributes:
        person, shown: name in the gallery and name to show, "" if the face is like nobody.
        decided_by: who confirmed the face ("somebody" if not stated), "" if its score decided.
        chance, words: that the face shows the person, see `Candidate`.
        nearest: the person's enrolled faces nearest to the face, the nearest first, without itself.
        runner_up: the next person, None if nobody else is enrolled.
        without_best: shown name of the person who would have the highest score if the first of
            `nearest` were not enrolled, "" for nobody.
        sentence: all of that in words.
    """

    person: str = ""
    shown: str = ""
    decided_by: str = ""
    chance: float = 0.0
    words: str = ""
    nearest: list[NearEnrolled] = field(default_factory=list)
    runner_up: Candidate | None = None
    without_best: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class DoubtfulFace:
    """An enrolled face to look at.

    Attributes:
        what: "weak" (poor quality), "mixed" (more like another person) or "doubtful" (unlike the
            person's other faces).
        sentence: what is wrong with it.
    """

    crop_id: str
    person: str
    shown: str
    photo: str
    quality: float
    what: str
    sentence: str


@dataclass(frozen=True)
class Doctor:
    """The doubtful enrolled faces of a gallery, the worst first, and people who look alike."""

    faces: list[DoubtfulFace]
    lookalikes: list[Lookalikes]


def why(
    album: DecidedAlbum, bundle: Bundle, row: int, candidates: list[Candidate], decided_by: str
) -> Why:
    """Return why the face `row` has its name.

    Args:
        candidates: the people whom it may show, the likeliest first.
        decided_by: see `Why`.
    """
    faces, gallery = album.faces, album.gallery
    best = int(faces.best[row])
    if best < 0:
        return Why(decided_by=decided_by, sentence="The face is not compared with anybody.")
    person, shown = album.people[best], album.shown[best]
    own = next((one for one in candidates if one.person == person), None)
    others = [one for one in candidates if one.person != person]
    runner_up = others[0] if others else None
    chance, words = (own.chance, own.words) if own else (0.0, "unlikely")
    near: list[NearEnrolled] = []
    without = ""
    if best < len(gallery.people):
        near, dropped = _nearest_enrolled(album, bundle, row, best)
        without = _without(album, bundle, row, dropped)
    result = f"{words} {shown}" if not decided_by else f"{shown}, as {decided_by} confirmed"
    parts = [f"{result[:1].upper()}{result[1:]}."]
    if runner_up is not None:
        parts.append(f"The next is {runner_up.shown} ({runner_up.words}).")
    if near:
        then = f"{shown} all the same" if without == shown else f"most like {without or 'nobody'}"
        parts.append(f"Without the nearest enrolled face it would be {then}.")
    return Why(person, shown, decided_by, chance, words, near, runner_up, without, " ".join(parts))


def _nearest_enrolled(
    album: DecidedAlbum, bundle: Bundle, row: int, person: int
) -> tuple[list[NearEnrolled], int | None]:
    """Return the nearest enrolled faces of a person, and the gallery row of the first."""
    gallery = album.gallery
    rows = np.flatnonzero(gallery.person_rows == person)
    photo_id = album.photos.photo_ids[int(album.photo[row])]
    rows = rows[[gallery.faces[at].photo_id != photo_id for at in rows.tolist()]]
    if not len(rows):
        return [], None
    pairs = _probabilities(album, bundle, row, gallery.embeddings[rows])
    order = np.argsort(-pairs, kind="stable")[:NEAREST]
    faces = zip(gallery.faces.take(rows[order]), pairs[order].tolist(), strict=True)
    found = [NearEnrolled(face.crop_id, face.photo, round(pair, 6)) for face, pair in faces]
    return found, int(rows[order[0]])


def _without(album: DecidedAlbum, bundle: Bundle, row: int, dropped: int | None) -> str:
    """Return the shown name of the best person if the gallery row `dropped` were not enrolled."""
    gallery = album.gallery
    if dropped is None:
        return ""
    person = int(gallery.person_rows[dropped])
    probabilities, _ = scores_of(album, bundle, album.photos.embeddings[[row]])
    scores = probabilities[0].copy()
    rest = np.flatnonzero(gallery.person_rows == person)
    rest = rest[rest != dropped]
    scores[person] = -1.0
    if len(rest):
        own = gallery.embeddings[rest]
        if (search := album.rule.search) is not None:
            own = search.album.cohort.normalisation.templates(own, np.zeros(len(own), int))
        scores[person] = _probabilities(album, bundle, row, own).max()
    best = int(scores.argmax())
    return album.shown[best] if scores[best] > 0 else ""


def _probabilities(album: DecidedAlbum, bundle: Bundle, row: int, others: np.ndarray) -> np.ndarray:
    """Return the probability (N,) of a face with each of the embeddings `others` (N, D)."""
    face, search = album.photos.embeddings[[row]], album.rule.search
    if search is None:
        return bundle.verify(np.repeat(face, len(others), axis=0), others)
    cohort = search.album.cohort
    return sigmoid(cohort.verifier.logit_matrix(cohort.describe(face), cohort.describe(others))[0])


def examine(gallery: Gallery, bundle: Bundle, shown: dict[str, str]) -> Doctor:
    """Return what to check in `gallery`; `shown`: the name to show by name in the gallery."""
    faces: dict[str, DoubtfulFace] = {}
    for found in (_mixed(gallery, shown), _unlike(gallery, bundle, shown), _weak(gallery, shown)):
        for one in found:
            faces.setdefault(one.crop_id, one)
    thresholds = bundle.release.thresholds
    return Doctor(list(faces.values()), find_lookalikes(gallery, thresholds, bundle.verify))


def _mixed(gallery: Gallery, shown: dict[str, str]) -> list[DoubtfulFace]:
    rows, vectors = gallery.person_rows, gallery.embeddings
    near, cosines = (a[:, 0] for a in nearest_of_others(vectors, rows, vectors, rows, 1))
    order, others = np.argsort(rows, kind="stable"), np.bincount(rows)[rows] - 1
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    sums = np.add.reduceat(vectors[order], starts, axis=0, dtype=np.float64).astype(np.float32)
    own = np.einsum("nd,nd->n", sums[rows], vectors) - np.einsum("nd,nd->n", vectors, vectors)
    mean = own / np.maximum(others, 1)
    found: list[tuple[float, DoubtfulFace]] = []
    for at in np.flatnonzero((others > 0) & (near >= 0) & (cosines > mean)).tolist():
        other = shown.get(gallery.persons[near[at]], gallery.persons[near[at]])
        sentence = f"more like {other} (cosine {cosines[at]:.2f}) than like the person's own other "
        sentence += f"faces ({mean[at]:.2f} on average)"
        face = _doubtful(gallery.faces[at], shown, "mixed", sentence)
        found.append((float(mean[at] - cosines[at]), face))
    return [face for _, face in sorted(found, key=lambda pair: pair[0])]


def _unlike(gallery: Gallery, bundle: Bundle, shown: dict[str, str]) -> list[DoubtfulFace]:
    """Return the faces that enrolment would refuse given the person's others, the worst first."""
    compare = comparison(bundle.release.thresholds, bundle.verify)
    order = np.argsort(gallery.person_rows, kind="stable")
    found: list[tuple[float, DoubtfulFace]] = []
    for rows in np.split(order, np.flatnonzero(np.diff(gallery.person_rows[order])) + 1):
        if not 1 < len(rows) <= MAX_COMPARED:
            continue
        described = compare.describe(gallery.embeddings[rows])
        scores = compare.scores(described, described)
        np.fill_diagonal(scores, -np.inf)
        best = scores.max(axis=1)
        for at in np.flatnonzero(best < compare.dissimilar).tolist():
            sentence = "unlike all other enrolled faces of the person"
            face = _doubtful(gallery.faces[rows[at]], shown, "doubtful", sentence)
            found.append((float(best[at]), face))
    return [face for _, face in sorted(found, key=lambda pair: pair[0])]


def _weak(gallery: Gallery, shown: dict[str, str]) -> list[DoubtfulFace]:
    sentence = "poor quality: small, blurred, dark or turned away"
    weak = (face for face in gallery.faces if face.quality < WEAK_QUALITY)
    ordered = sorted(weak, key=lambda face: face.quality)
    return [_doubtful(face, shown, "weak", sentence) for face in ordered]


def _doubtful(face: GalleryFace, shown: dict[str, str], what: str, sentence: str) -> DoubtfulFace:
    person = face.person
    name, quality = shown.get(person, person), round(face.quality, 4)
    return DoubtfulFace(face.crop_id, person, name, face.photo, quality, what, sentence)


def enrolled_face(gallery: Gallery, crop_id: str) -> GalleryFace:
    """Return the enrolled face with this crop. Raises UsageError: there is none."""
    for face in gallery.faces.take(gallery.faces.where("crop_id", [crop_id])):
        return face
    raise UsageError("this face is not in the gallery any more; load the page again.")
