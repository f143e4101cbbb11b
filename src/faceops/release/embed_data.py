"""From a folder of labelled photos to embedded faces, by one model; every photo has its row.

The crop stage does the same for the pipeline, by a manifest and from the beginning each time. An
evaluation of any folder must also go on after it was stopped and serve several models, so
photos go one by one (by the same `crop_photo`) into a store that is keyed by their content.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.base.tables import write_csv
from faceops.dataset.duplicates import find_duplicates
from faceops.dataset.inspect_photos import Inspected
from faceops.dataset.names import is_well_formed
from faceops.evaluation.crop_rows import CropRows
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.faces.crop_photo import CroppedPhoto, crop_photo
from faceops.faces.ordered_map import ordered_map
from faceops.release.labelled_photos import LabelledPhoto
from faceops.release.measured_model import MeasuredModel
from faceops.release.photo_store import PhotoStore

# What a photo's bytes alone decide; other reasons may be gone the next time.
_LASTING = {Reason.NO_FACE, Reason.FACE_TOO_SMALL, Reason.SEVERAL_FACES, Reason.LOW_QUALITY}


@dataclass(frozen=True)
class PhotoRow:
    """What became of one photo; `row` of the store's crops, -1 with a `reason`."""

    path: str
    person: str
    photo_id: str
    row: int
    reason: str


@dataclass(frozen=True)
class EmbeddedData:
    """The faces of a data folder; `photos` has a row for every file, in the order of paths."""

    faces: EmbeddedFaces
    photos: list[PhotoRow]
    crops: CropRows  # of the faces, on disk

    @property
    def photo_ids(self) -> np.ndarray:
        """Text (N,): the sha256 of the photo of each face."""
        return np.array([photo.photo_id for photo in self.photos if not photo.reason], dtype=str)

    @property
    def reasons(self) -> dict[str, int]:
        """How many photos have no face in the evaluation, by reason."""
        return dict(sorted(Counter(p.reason for p in self.photos if p.reason).items()))

    def write(self, path: Path, seen: Mapping[str, str]) -> None:
        """Write a CSV of all photos; `seen` says what a person was used for in training."""
        rows = []
        for photo in self.photos:
            status = "rejected" if photo.reason else "accepted"
            seen_in = seen.get(photo.person, "")
            rows.append((photo.path, photo.person, photo.photo_id, status, photo.reason, seen_in))
        write_csv(path, ("path", "person", "photo_id", "status", "reason", "seen_in"), rows)


def embed_data(
    model: MeasuredModel,
    photos: Sequence[LabelledPhoto],
    quarantine: frozenset[str],
    work: Path,
    *,
    threads: int,
    duplicates: bool = False,
) -> EmbeddedData:
    """Find, align and embed the face of each of `photos`; what `work` holds is not done again.

    Args:
        model: which finds faces and embeds them.
        photos: in the order of their paths.
        quarantine: sha256 of photos that are set aside.
        work: folder of the stores.
        threads: photos looked at at once.
        duplicates: keep photos that are there twice, as lists of pairs expect.

    Raises:
        FaceOpsError: not one face, or `work` cannot be used.
    """
    with PhotoStore(work / model.finder_identity[:16]) as store:
        rows = _look_at(model, photos, quarantine, store, threads)
        if not duplicates:
            rows = _without_duplicates(rows)
        kept = np.array([row.row for row in rows if not row.reason], np.int64)
        if not len(kept):
            counts = Counter(row.reason for row in rows).most_common()
            told = ", ".join(f"{count} {reason}" for reason, count in counts)
            raise FaceOpsError(f"none of {len(rows)} photos gave a face to evaluate ({told}).")
        embeddings = store.embeddings(kept, model.identity, model.embedding_size, model.embed)
        crops = CropRows(store.crops(), kept)
    faces = EmbeddedFaces(
        embeddings=embeddings,
        persons=np.array([row.person for row in rows if not row.reason], dtype=str),
        paths=np.array([row.path for row in rows if not row.reason], dtype=str),
        missing=tuple(row.path for row in rows if row.reason),
    )
    return EmbeddedData(faces, rows, crops)


def _look_at(
    model: MeasuredModel,
    photos: Sequence[LabelledPhoto],
    quarantine: frozenset[str],
    store: PhotoStore,
    threads: int,
) -> list[PhotoRow]:
    def work(photo: LabelledPhoto) -> tuple[str, CroppedPhoto | None]:
        try:
            photo_id = sha256_file(photo.file)
        except OSError:
            photo_id = ""  # crop_photo says why
        if photo_id in quarantine:
            return photo_id, CroppedPhoto(reason=Reason.QUARANTINED)
        if not is_well_formed(photo.person):
            return photo_id, CroppedPhoto(reason=Reason.BAD_NAME)
        if photo_id in store.photos:
            return photo_id, None
        return photo_id, crop_photo(photo.file, model.finder, model.crops)

    rows = []
    done = ordered_map(work, photos, threads)
    for photo, (photo_id, cropped) in zip(
        photos, track(done, "faces of photos", len(photos)), strict=True
    ):
        if cropped is not None and photo_id and photo_id not in store.photos:
            if cropped.crop is not None:
                store.add(photo_id, cropped.crop, "")
            elif cropped.reason in _LASTING:
                store.add(photo_id, None, str(cropped.reason))
        if photo_id in store.photos and (cropped is None or cropped.crop is not None):
            row, reason = store.photos[photo_id]["row"], store.photos[photo_id]["reason"]
        else:  # without an id, it was gone for a moment
            row, reason = -1, str((cropped and cropped.reason) or Reason.VANISHED)
        rows.append(PhotoRow(photo.path, photo.person, photo_id, row, reason))
    return rows


def _without_duplicates(rows: list[PhotoRow]) -> list[PhotoRow]:
    """Set copies aside: the same photo twice would be a pair of one person that is too easy."""
    usable = [
        Inspected(row.path, row.person, row.photo_id, "", 0, 0, "", "")
        for row in rows
        if not row.reason
    ]
    reasons = find_duplicates(usable, near_bits=-1)
    return [
        replace(row, row=-1, reason=str(reasons[row.path])) if row.path in reasons else row
        for row in rows
    ]
