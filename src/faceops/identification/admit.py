"""Faces that people confirm enter the gallery, if they are good enough, and leave it again.

A confirmed face has its name in any case. It enters the gallery, where others are compared with it,
if it passes what enrolment asks of a face: its quality, and likeness to the person's others.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.base.errors import DamageError, FaceOpsError, NotPermittedError
from faceops.base.files import valid_unicode
from faceops.base.reasons import Reason
from faceops.base.work import default_threads, ordered_map, track
from faceops.faces.detector import best_overlap
from faceops.faces.find_faces import Face, find_in_photo
from faceops.gallery import people_folder
from faceops.gallery.decisions import SAME_PLACE, Decisions, Place
from faceops.gallery.faces_file import CONFIRMED, NAMED, GalleryFace
from faceops.gallery.journal import Action
from faceops.gallery.similarity import Agreement
from faceops.gallery.store import Gallery, locked_gallery
from faceops.identification.engine.verdicts import DecidedFaces
from faceops.identification.inputs import IdentifySettings
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import lengths_of
from faceops.photos.open_photo import PhotoError
from faceops.release.bundle import Bundle
from faceops.verification.thresholds import Thresholds

SAVE_EVERY = 200  # faces
PHOTOS_KEPT = 256  # of which the faces are in memory, 40 kB each
FROM_ALBUMS = (CONFIRMED, NAMED)
# What depends on other faces may change, and is told without the photo.
_CHECKED_AGAIN = (Reason.DUPLICATE_OTHER_PERSON, Reason.NO_AGREEMENT)
_ADVICE = people_folder.ADVICE | {
    Reason.NO_AGREEMENT: "the face is unlike the person's other faces",
    Reason.DUPLICATE_OTHER_PERSON: "the same face is enrolled as another person",
}


@dataclass
class Admission:
    """What was changed in the gallery."""

    # admitted, withdrawn: faces by person
    admitted: Counter[str] = field(default_factory=Counter)
    withdrawn: Counter[str] = field(default_factory=Counter)
    # A sentence about each confirmed face that stays outside; it names nobody
    refused: list[str] = field(default_factory=list)
    note: str = ""  # why the gallery could not be changed; "" if it could
    is_busy: bool = False  # that may be otherwise soon


class _Candidate(NamedTuple):
    """A confirmed face that is not in the gallery, as the state knows it.

    `embedding` is float32 (D,); `paths` lead to its photo; `refusal` is why it cannot enter.
    """

    person: str
    photo_id: str
    place: Place
    quality: float
    embedding: np.ndarray
    paths: Sequence[str]
    refusal: Reason | None


# By person, the candidates that may enter the gallery, and those that may not with the reason.
_Checked = dict[str, tuple[list[_Candidate], list[tuple[_Candidate, Reason]]]]


class _Opened(NamedTuple):
    """A candidate with its face, or why it has none, and whether that lasts."""

    candidate: _Candidate
    face: Face | None
    reason: Reason | None = None
    lasts: bool = True


def admit_confirmed(
    gallery: Gallery,
    decisions: Decisions,
    bundle: Bundle,
    store: FaceStore,
    settings: IdentifySettings,
    root: Path,
) -> Admission:
    """Bring the faces that the gallery has from albums up to date with its journal.

    At most 20 faces of a person enter it, the best of those in the files of `store`; they are not
    replaced by better ones later. A face that does not pass is noted in the journal, told once, and
    not opened again under the gallery's contract. Photos are shown by their path below `root`. A
    gallery that cannot be written stays as it is.

    Raises DamageError: gallery or journal are damaged.
    """
    done = Admission()
    decided = DecidedFaces(decisions, gallery)
    gone = _withdrawn(gallery, decided)
    kept = gallery.without(gone) if gone.any() else gallery
    checked = _checked(kept, decided, bundle, store)
    if not gone.any() and not checked:
        return done
    try:
        # Before photos are opened: the gallery may be in use, or read-only.
        with locked_gallery(gallery.place, gallery.contract_id) as saved:
            if gone.any():
                saved.without(_withdrawn(saved, decided)).save()
        done.withdrawn.update(gallery.faces.take(gone).texts("person"))
        opening = _open_candidates(kept, bundle, checked, settings)
        waiting: list[_Opened] = []
        for opened in track(opening, "admit confirmed faces", after_s=2):
            waiting.append(opened)
            if len(waiting) == SAVE_EVERY:
                _save(gallery, bundle, waiting, root, done)
                waiting = []
        _save(gallery, bundle, waiting, root, done)
    except DamageError:
        raise
    except FaceOpsError as error:
        folder, done.note = gallery.storage.folder, str(error)
        is_permitted = folder is None or os.access(folder, os.W_OK)
        done.is_busy = is_permitted and not isinstance(error, NotPermittedError)
    return done


def expected_gallery(
    gallery: Gallery, decisions: Decisions, bundle: Bundle, store: FaceStore, root: Path
) -> Gallery:
    """Return `gallery` as `admit_confirmed` will leave it, as far as no photo has to be opened.

    A face that is blurred or seen from the side may be in it, and not be admitted. New faces have
    no crop. It keeps its stamp.
    """
    decided = DecidedFaces(decisions, gallery)
    kept = gallery.without(_withdrawn(gallery, decided))
    taken, added = _from_albums(kept), list[GalleryFace]()
    for person, (passing, _) in _checked(kept, decided, bundle, store).items():
        added += [
            GalleryFace(
                *(person, one.photo_id, _shown(one, root), one.place.box, 1.0, one.quality),
                *(one.embedding, "", CONFIRMED),
            )
            for one in passing[: people_folder.MAX_FACES - taken[person]]
        ]
    return replace(kept.with_faces(added), stamp=gallery.stamp)


def _withdrawn(gallery: Gallery, decided: DecidedFaces) -> np.ndarray:
    withdrawn = gallery.faces.where("photo_id", decided.decisions.photos())
    rows = np.flatnonzero(withdrawn)
    withdrawn[rows] = [_is_withdrawn(face, decided) for face in gallery.faces.take(rows)]
    return withdrawn


def _is_withdrawn(face: GalleryFace, decided: DecidedFaces) -> bool:
    """Return whether the face is not its person's any more.

    A face that was enrolled stays unless somebody said that it is not the person's. One from an
    album stays where the journal does not know that it ever was, as in galleries from before.
    """
    decisions = decided.decisions
    place = decisions.match(face.photo_id, [face.box])[0]
    if place is not None and face.person in map(decided.name_of, place.refused):
        return True
    if face.origin not in FROM_ALBUMS:
        return False
    if place is not None and place.person:
        return decided.name_of(place.person) != face.person
    if place is not None and place.ignored:
        return True
    about = decisions.about_face(face.photo_id, face.box)
    return any(entry.action in (Action.CONFIRM, Action.DRAW) for entry in about)


def _checked(gallery: Gallery, decided: DecidedFaces, bundle: Bundle, store: FaceStore) -> _Checked:
    """Return by person the faces that may enter the gallery, and those that newly may not.

    As far as is known without their photos; the best ones first.
    """
    tried = gallery.storage.journal().tried(gallery.contract_id)
    if not (pending := _pending(gallery, decided, tried, store, bundle.release.thresholds)):
        return {}
    agreement, checked = Agreement(gallery, bundle), _Checked()
    for person, candidates in pending.items():
        good = [one for one in candidates if one.refusal is None]
        unlike = agreement.unlike(person, np.array([one.embedding for one in good], np.float32))
        unlike &= ~np.array([one.place.trusted for one in good], bool)
        refused = [(one, one.refusal) for one in candidates if one.refusal is not None]
        refused += [(one, Reason.NO_AGREEMENT) for one in compress(good, unlike)]
        passing = list(compress(good, ~unlike))
        new = [(one, why) for one, why in refused if tried.get(one.place.entry) != why]
        if passing or new:
            checked[person] = passing, new
    return checked


def _pending(
    gallery: Gallery,
    decided: DecidedFaces,
    tried: Mapping[str, str],
    store: FaceStore,
    thresholds: Thresholds,
) -> dict[str, list[_Candidate]]:
    decisions = decided.decisions
    owners: dict[str, str] = {}  # of faces in the gallery, by the entry that confirms them
    for face in gallery.faces.take(gallery.faces.where("photo_id", decisions.photos())):
        place = decisions.match(face.photo_id, [face.box])[0]
        if place is not None and place.person:
            owners[place.entry] = face.person
    taken = _from_albums(gallery)
    wanted: dict[str, dict[str, str]] = defaultdict(dict)  # person by entry, by photo
    for photo_id in decisions.photos():
        for place in decisions.places(photo_id):
            person = decided.name_of(place.person)
            is_in = owners.get(place.entry) == person
            is_final = tried.get(place.entry, Reason.NO_AGREEMENT) not in _CHECKED_AGAIN
            if person and not is_in and not is_final and taken[person] < people_folder.MAX_FACES:
                wanted[photo_id][place.entry] = person
    paths = store.paths(wanted) if wanted else {}
    candidates: dict[str, _Candidate] = {}  # by entry: copies of a photo have the same entries
    known = store.known(sorted(paths)) if paths else {}
    for photo_id, found in known.items():
        quality = thresholds.quality_after(found.faces["quality"], lengths_of([found]))
        places = decisions.match(photo_id, found.faces["box"].tolist())
        for row, place in enumerate(places):
            if place is None or place.entry not in wanted[photo_id]:
                continue
            if not found.embeddings[row].any():  # it was forgotten
                continue
            face = found.faces[row]
            refusal = None
            if place.entry in owners:
                refusal = Reason.DUPLICATE_OTHER_PERSON
            elif min(face["box"][2:]) < people_folder.MIN_SIZE:
                refusal = Reason.FACE_TOO_SMALL
            elif quality[row] < people_folder.MIN_QUALITY:
                refusal = Reason.LOW_QUALITY
            candidates[place.entry] = _Candidate(
                wanted[photo_id][place.entry],
                photo_id,
                place,
                float(quality[row]),
                found.embeddings[row],
                paths[photo_id],
                refusal,
            )
    people: dict[str, list[_Candidate]] = defaultdict(list)
    for one in sorted(candidates.values(), key=lambda one: (-one.quality, one.place.entry)):
        people[one.person].append(one)
    return dict(sorted(people.items()))


def _from_albums(gallery: Gallery) -> Counter[str]:
    return Counter(gallery.faces.take(gallery.faces.where("origin", FROM_ALBUMS)).texts("person"))


def _open_candidates(
    gallery: Gallery, bundle: Bundle, checked: _Checked, settings: IdentifySettings
) -> Iterator[_Opened]:
    """Yield the faces that enter the gallery, cut from their photos, and those that do not."""
    taken, finder = _from_albums(gallery), bundle.face_finder(settings.detail)

    @lru_cache(PHOTOS_KEPT)  # several people are often in one photo
    def faces_in(path: Path) -> tuple[str, list[Face]]:
        found = find_in_photo(path, finder, settings.limits)
        return found.photo.photo_id, found.faces

    open_one = partial(_open, look=faces_in)
    threads = settings.threads or default_threads()
    for person, (passing, refused) in checked.items():
        yield from (_Opened(one, None, reason) for one, reason in refused)
        free = people_folder.MAX_FACES - taken[person]
        # Of so few photos more than needed are opened where some do not pass.
        for opened in ordered_map(open_one, passing, threads):
            yield opened
            free -= opened.face is not None
            if not free:
                break


def _open(candidate: _Candidate, look: Callable[[Path], tuple[str, list[Face]]]) -> _Opened:
    failed = _Opened(candidate, None, Reason.VANISHED, lasts=False)
    for path in candidate.paths:
        try:
            photo_id, faces = look(Path(path))
        except PhotoError as error:
            failed = _Opened(candidate, None, error.reason, not error.transient)
            continue
        if photo_id != candidate.photo_id:  # it was changed since
            continue
        boxes = (face.detection.box for face in faces)
        row = best_overlap(candidate.place.box, boxes, SAME_PLACE)
        if row is None:
            return _Opened(candidate, None, Reason.NO_FACE)
        face = faces[row]
        refusal = people_folder.enrolment_refusal(face.quality)
        return _Opened(candidate, None if refusal else face, refusal)
    return failed


def _save(
    gallery: Gallery, bundle: Bundle, opened: Sequence[_Opened], root: Path, done: Admission
) -> None:
    """Add the faces to the gallery, which others may have changed, and note the refused ones."""
    if not opened:
        return
    found = [(one.candidate, one.face) for one in opened if one.face is not None]
    if found:
        faces, embeddings = bundle.embed_faces([face for _, face in found])
        with locked_gallery(gallery.place, gallery.contract_id) as saved:
            now = Decisions.load(gallery.place)  # somebody may have been forgotten since
            photos = [one.photo_id for one, _ in found]
            enrolled = saved.faces.take(saved.faces.where("photo_id", photos))
            there = {(face.photo_id, face.box) for face in enrolled}
            added = [
                saved.store_face(
                    one.person, (one.photo_id, _shown(one, root)), face, embedding, CONFIRMED
                )
                for (one, _), face, embedding in zip(found, faces, embeddings, strict=True)
                if one.place.entry in now.entries
                and now.holds(one.place.entry)
                and (one.photo_id, face.detection.box) not in there
            ]
            if added:
                saved.with_faces(added).save()
        done.admitted.update(face.person for face in added)
    refused = [one for one in opened if one.reason is not None]
    reasons = {one.candidate.place.entry: str(one.reason) for one in refused if one.lasts}
    gallery.storage.journal().note_tried(gallery.contract_id, reasons)
    for one in refused:
        advice = _ADVICE.get(one.reason or Reason.UNREADABLE, "the photo cannot be used now")
        done.refused.append(f"{_shown(one.candidate, root)} ({one.reason}): {advice}")


def _shown(candidate: _Candidate, root: Path) -> str:
    """Return the path of the photo as the records have it, if it lies below `root`."""
    return valid_unicode(Path(os.path.relpath(candidate.paths[0], root)).as_posix())
