"""Labelled photos to embedded faces, by one model; every photo gets a row.

Faces are found by `crop_photo`, as in the crop stage. Crops and embeddings are kept in a store
keyed by the photos' content, so that an interrupted evaluation continues, and photos that were
moved, or are evaluated with another model, are not searched for faces again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.base.files import folder_lock, sha256_file, write_csv
from faceops.base.reasons import Reason
from faceops.base.work import ordered_map, track
from faceops.dataset.data_folder import QUARANTINE_FILE, read_quarantine
from faceops.dataset.names import is_well_formed, name_key
from faceops.dataset.validate import HashedPhoto, find_duplicates
from faceops.faces.align import CROP_SIZE
from faceops.faces.crop_photos import CroppedPhoto, crop_photo
from faceops.faces.quality import Quality
from faceops.photos.walk import walk_photos
from faceops.release.bundle import stored_embeddings
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.embedded_faces import CropRows, EmbeddedFaces


@dataclass(frozen=True)
class LabelledPhoto:
    """`path` is relative to the data folder and POSIX; `person` is "" where no folder names one."""

    file: Path
    path: str
    person: str


def labelled_photos(data: Path, people: Iterable[str] | None = None) -> list[LabelledPhoto]:
    """Return the photos below `data`/photos, or below `data` itself, sorted by path.

    The first folder below names the person; different spellings of a name are one person. With
    `people`, only their photos are returned.

    Raises UsageError: there are photos of fewer than two people, or somebody of `people` has none.
    """
    root = data / "photos" if (data / "photos").is_dir() else data
    if (data / "data" / "photos").is_dir():
        raise UsageError(f"{data} holds more than photos of people; name {data / 'data'}.")
    photos = []
    spelling: dict[str, str] = {}
    for file in walk_photos(root):
        parts = file.relative_to(root).parts
        person = printable(Path(parts[0])) if len(parts) > 1 else ""
        person = spelling.setdefault(name_key(person), person)
        photos.append(LabelledPhoto(file, printable(file.relative_to(data)), person))
    if not (found := {photo.person for photo in photos} - {""}):
        raise UsageError(
            f"{data} holds no photos of people; name a folder with photos/<person>/<photo>."
        )
    if len(found) == 1:
        (only,) = found
        nested = any(len(photo.file.relative_to(root).parts) > 2 for photo in photos)
        advice = f"if its folders are the people, name {root / only}." if nested else (
            "figures need photos of two people or more."
        )  # fmt: skip
        raise UsageError(f"{data} holds photos of one person only, {only}; {advice}")
    if people is None:
        return photos
    wanted = {name_key(name): name for name in people}
    if absent := [name for key, name in wanted.items() if key not in spelling]:
        more = f" and {len(absent) - 1} more people of the list" if len(absent) > 1 else ""
        raise UsageError(f"{data} has no photos of {absent[0]}{more}; correct --people.")
    return [photo for photo in photos if photo.person and name_key(photo.person) in wanted]


def quarantined_photos(data: Path) -> frozenset[str]:
    """Return the sha256 of the photos that are listed in `data`/quarantine.csv."""
    return frozenset(read_quarantine(data / QUARANTINE_FILE))


_SHAPE = (CROP_SIZE, CROP_SIZE, 3)
_CROP_BYTES = CROP_SIZE * CROP_SIZE * 3


class PhotoStore:
    """Crops and embeddings in `folder`, for one way of finding faces.

    Files: photos.jsonl, a line a photo (sha256, row of its crop, quality of its face, reason
    without one); crops.u8, uint8 (rows, 112, 112, 3); embedded-<model>.f32, see
    `stored_embeddings`. A context manager; it locks the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos: dict[str, dict[str, Any]] = {}
        self.rows = 0

    def __enter__(self) -> "PhotoStore":
        with ExitStack() as opening:
            opening.enter_context(folder_lock(self.folder))
            lines, crops = self.folder / "photos.jsonl", self.folder / "crops.u8"
            self._lines = opening.enter_context(lines.open("a+", encoding="utf-8"))
            self._crops = opening.enter_context(crops.open("ab"))
            self._read()
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def add(self, photo_id: str, cropped: CroppedPhoto) -> None:
        """Store the crop and the quality of a photo's face, or the reason why it has none."""
        row, crop = -1, cropped.crop
        quality = asdict(cropped.quality) if cropped.quality else None
        if crop is not None:
            row = self.rows
            self._crops.write(np.ascontiguousarray(crop).tobytes())
            self._crops.flush()  # before the line that refers to it
            self.rows += 1
        reason = "" if crop is not None else str(cropped.reason)
        stated = {"photo_id": photo_id, "row": row, "quality": quality, "reason": reason}
        self.photos[photo_id] = stated
        self._lines.write(json.dumps(stated) + "\n")
        self._lines.flush()

    def crops(self) -> np.ndarray:
        """Return all crops, uint8 (rows, 112, 112, 3), memory-mapped."""
        if not self.rows:
            return np.zeros((0, *_SHAPE), np.uint8)
        return np.memmap(self.folder / "crops.u8", np.uint8, "r", shape=(self.rows, *_SHAPE))

    def _read(self) -> None:
        """Read the lines; what an interrupted run wrote only in part is dropped."""
        self._lines.seek(0)
        good = 0
        for line in iter(self._lines.readline, ""):
            try:
                photo = json.loads(line)
                self.photos[photo["photo_id"]] = photo
                self.rows = max(self.rows, photo["row"] + 1)
            except (ValueError, KeyError, TypeError):
                break
            good = self._lines.tell()
        self._lines.truncate(good)
        whole = self._crops.tell() // _CROP_BYTES
        if whole < self.rows:  # a power failure may lose crops that were written before lines
            self.photos = {i: photo for i, photo in self.photos.items() if photo["row"] < whole}
            self.rows = whole
            self._lines.truncate(0)
            self._lines.writelines(json.dumps(photo) + "\n" for photo in self.photos.values())
        self._crops.truncate(self.rows * _CROP_BYTES)


@dataclass(frozen=True)
class PhotoRow:
    """The result for one photo; `row` is its crop's in the store, -1 with a `reason`.

    `quality` is that of its face; None without one.
    """

    path: str
    person: str
    photo_id: str
    row: int
    reason: str
    quality: Quality | None = None


@dataclass(frozen=True)
class EmbeddedPhotos:
    """The faces of a data folder; `photos` has a row for every file, in the order of paths."""

    faces: EmbeddedFaces
    photos: list[PhotoRow]
    crops: CropRows  # of the faces, on disk
    lengths: np.ndarray  # float32 (N,), see `Embedded`
    quality: np.ndarray  # float64 (N,), as identification has it

    @property
    def photo_ids(self) -> np.ndarray:
        """Text (N,): the sha256 of the photo of each face."""
        return np.array([photo.photo_id for photo in self.photos if not photo.reason], dtype=str)

    @property
    def qualities(self) -> list[Quality]:
        """The measures of each face in its photo, in the order of `faces`."""
        return [photo.quality for photo in self.photos if not photo.reason and photo.quality]

    @property
    def reasons(self) -> dict[str, int]:
        """The number of photos without a face, by reason."""
        return dict(sorted(Counter(p.reason for p in self.photos if p.reason).items()))

    def write(self, path: Path, seen: Mapping[str, str]) -> None:
        """Write a CSV of all photos; `seen` gives the split of people who trained the model."""
        rows = []
        for photo in self.photos:
            status = "rejected" if photo.reason else "accepted"
            seen_in = seen.get(photo.person, "")
            rows.append((photo.path, photo.person, photo.photo_id, status, photo.reason, seen_in))
        write_csv(path, ("path", "person", "photo_id", "status", "reason", "seen_in"), rows)


def embed_photos(
    model: MeasuredModel,
    photos: Sequence[LabelledPhoto],
    quarantine: frozenset[str],
    work: Path,
    *,
    threads: int,
    duplicates: bool = False,
) -> EmbeddedPhotos:
    """Find, align and embed the face of each of `photos`; what `work` holds is reused.

    Args:
        photos: in the order of their paths.
        quarantine: sha256 of photos to leave out.
        duplicates: keep copies of a photo, which pairs lists may name. Otherwise a copy is
            rejected: it would be a trivial genuine pair.

    Raises:
        FaceOpsError: no photo has a usable face, or `work` cannot be used.
    """
    with PhotoStore(work / model.finder_identity[:16]) as store:
        rows = _find_faces(model, photos, quarantine, store, threads)
        if not duplicates:
            rows = _without_duplicates(rows)
        kept = np.array([row.row for row in rows if not row.reason], np.int64)
        if not len(kept):
            counts = Counter(row.reason for row in rows).most_common()
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
            raise FaceOpsError(f"none of {len(rows)} photos has a usable face ({reasons}).")
        crops, file = store.crops(), store.folder / f"embedded-{model.identity[:16]}.f32"
        embedded = stored_embeddings(file, crops, kept, model.embedding_size, model.embed)
    faces = EmbeddedFaces(
        embeddings=embedded.embeddings,
        persons=np.array([row.person for row in rows if not row.reason], dtype=str),
        paths=np.array([row.path for row in rows if not row.reason], dtype=str),
        missing=tuple(row.path for row in rows if row.reason),
    )
    quality = np.array([row.quality.overall for row in rows if not row.reason and row.quality])
    if model.thresholds is not None:
        quality = model.thresholds.quality_after(quality, embedded.lengths)
    return EmbeddedPhotos(faces, rows, CropRows(crops, kept), embedded.lengths, quality)


# Reasons that depend on the photo's bytes alone; others may not apply the next time.
_LASTING = {Reason.NO_FACE, Reason.FACE_TOO_SMALL, Reason.SEVERAL_FACES, Reason.LOW_QUALITY}


def _find_faces(
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
            photo_id = ""  # crop_photo gives the reason
        if photo_id in quarantine:
            return photo_id, CroppedPhoto(reason=Reason.QUARANTINED)
        if not is_well_formed(photo.person):
            return photo_id, CroppedPhoto(reason=Reason.BAD_NAME)
        if photo_id in store.photos:
            return photo_id, None
        return photo_id, crop_photo(photo.file, model.finder, model.crops)

    rows = []
    results = track(ordered_map(work, photos, threads), "faces of photos", len(photos))
    for photo, (photo_id, cropped) in zip(photos, results, strict=True):
        lasting = cropped is not None and (cropped.crop is not None or cropped.reason in _LASTING)
        if cropped is not None and lasting and photo_id and photo_id not in store.photos:
            store.add(photo_id, cropped)
        if photo_id in store.photos and (cropped is None or cropped.crop is not None):
            known = store.photos[photo_id]
            row, reason = known["row"], known["reason"]
            quality = Quality(**known["quality"]) if known["quality"] else None
        else:  # without an id, reading the file failed temporarily
            row, reason = -1, str((cropped and cropped.reason) or Reason.VANISHED)
            quality = None
        rows.append(PhotoRow(photo.path, photo.person, photo_id, row, reason, quality))
    return rows


def _without_duplicates(rows: list[PhotoRow]) -> list[PhotoRow]:
    usable = [HashedPhoto(row.path, row.person, row.photo_id) for row in rows if not row.reason]
    reasons = find_duplicates(usable)
    return [
        replace(row, row=-1, reason=str(reasons[row.path])) if row.path in reasons else row
        for row in rows
    ]
