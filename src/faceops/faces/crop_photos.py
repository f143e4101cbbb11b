"""Crop the faces of a manifest into one array and its index."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, ShortageError
from faceops.base.files import atomic_path
from faceops.base.reasons import Reason
from faceops.base.work import ordered_map, track
from faceops.faces.align import square_crop
from faceops.faces.detector import Box, Detection
from faceops.faces.find_faces import Face, FaceFinder, find_in_photo
from faceops.faces.quality import Quality, measure
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import Photo, PhotoError, open_photo


@dataclass(frozen=True)
class CropSettings:
    """How photos become crops; the fields are those of params.yaml's section `crop`."""

    mode: Literal["aligned", "box", "center"] = "aligned"
    # Of a photo with several faces: the largest box, the most central one, or none at all
    several_faces: Literal["largest", "most_central", "skip"] = "most_central"
    min_face: float = 24  # pixels; smaller faces are people in the background and ignored
    min_quality: float = 0.0
    box_margin: float = 0.2
    center_ratio: float = 0.5
    limits: PhotoLimits = field(default_factory=PhotoLimits)


def choose_face(
    faces: Sequence[Face], size: tuple[int, int], settings: CropSettings
) -> Face | None:
    """Return the face that `settings` choose in a photo of one person, or None where they cannot.

    `faces` has the best score first: it decides between equally good ones. `size` is the width and
    height of the photo in pixels.
    """
    large = [face for face in faces if face.detection.size >= settings.min_face]
    if not large or (settings.several_faces == "skip" and len(large) > 1):
        return None

    def distance_from_centre(face: Face) -> float:
        x, y, w, h = face.detection.box
        return (x + w / 2 - size[0] / 2) ** 2 + (y + h / 2 - size[1] / 2) ** 2

    if settings.several_faces == "most_central":
        return min(large, key=distance_from_centre)
    return max(large, key=lambda face: face.detection.box[2] * face.detection.box[3])


def box_crop(pixels: np.ndarray, box: Box, margin: float) -> np.ndarray:
    """Return the square around `box` as uint8 (112, 112, 3); black outside the photo.

    `pixels` uint8 (H, W, 3) RGB, upright; `margin` on each side is a share of the longer side.
    """
    x, y, width, height = box
    side = max(width, height) * (1 + 2 * margin)
    return square_crop(pixels, x + (width - side) / 2, y + (height - side) / 2, side, 112)


@dataclass(frozen=True, eq=False)
class CroppedPhoto:
    """One photo's crop, or the reason why it has none."""

    crop: np.ndarray | None = None  # uint8 (112, 112, 3) RGB; None when rejected
    # Of the face (mode center: of the square) in pixels of the photo; None without one
    box: Box | None = None
    detection: Detection | None = None  # of the chosen face; None without one, and in mode center
    quality: Quality | None = None  # of the chosen face
    reason: Reason | None = None  # None when accepted


def crop_photo(path: Path, finder: FaceFinder, settings: CropSettings) -> CroppedPhoto:
    """Return the face in a photo of one person; a photo that cannot be used gives a reason.

    Raises PhotoShortageError: the machine lacks memory or the like.
    """
    try:
        if settings.mode == "center":
            photo = open_photo(path, settings.limits)
            cropped = _crop_center(photo, settings.center_ratio)
        else:
            cropped = _crop_face(path, finder, settings)
    except PhotoError as error:
        if isinstance(error, ShortageError):
            raise
        return CroppedPhoto(reason=error.reason)
    if cropped.quality and cropped.quality.overall < settings.min_quality:
        return replace(cropped, crop=None, reason=Reason.LOW_QUALITY)
    return cropped


def _crop_face(path: Path, finder: FaceFinder, settings: CropSettings) -> CroppedPhoto:
    found = find_in_photo(path, finder, settings.limits)
    face = choose_face(found.faces, found.photo.size, settings)
    if face is None:
        if not found.faces:
            return CroppedPhoto(reason=Reason.NO_FACE)
        small = all(each.detection.size < settings.min_face for each in found.faces)
        return CroppedPhoto(reason=Reason.FACE_TOO_SMALL if small else Reason.SEVERAL_FACES)
    crop = face.crop
    if settings.mode == "box":
        photo = open_photo(path, settings.limits)  # the finder's may be of a reduced size
        across, down = photo.scale
        inside = face.detection.moved((1 / across, 1 / down)).box
        crop = box_crop(photo.pixels, inside, settings.box_margin)
    return CroppedPhoto(crop, face.detection.box, face.detection, face.quality)


def _crop_center(photo: Photo, ratio: float) -> CroppedPhoto:
    """Crop a photo that was already cropped around the face."""
    height, width = photo.pixels.shape[:2]
    side = max(1.0, ratio * min(width, height))
    left, top = (width - side) / 2, (height - side) / 2
    crop = square_crop(photo.pixels, left, top, side, 112)
    across, down = photo.scale
    box = left * across, top * down, side * across, side * down
    quality = measure(crop, pose=0.0, size_px=min(box[2:]))  # the pose is unknown
    return CroppedPhoto(crop, box, None, quality)


SCHEMA = pa.schema(
    [
        ("crop", pa.int32()),  # row in crops.npy, -1 when rejected
        ("photo_id", pa.string()),
        ("path", pa.string()),
        ("person", pa.string()),
        ("x", pa.float32()),  # box in pixels of the upright photo; null without a face
        ("y", pa.float32()),
        ("width", pa.float32()),
        ("height", pa.float32()),
        ("detector_score", pa.float32()),
        ("landmarks", pa.list_(pa.float32())),  # x, y of the five, 10 values
        ("sharpness", pa.float32()),
        ("brightness", pa.float32()),
        ("contrast", pa.float32()),
        ("pose", pa.float32()),
        ("quality", pa.float32()),  # the overall figure
        ("status", pa.string()),  # accepted or rejected
        ("reason", pa.string()),  # a Reason, "" when accepted
    ]
)

_MEASURES = ("sharpness", "brightness", "contrast", "pose")


def crop_photos(
    manifest: pa.Table, data_root: Path, out: Path, finder: FaceFinder, settings: CropSettings,
    workers: int = 1,
) -> tuple[int, dict[str, int]]:  # fmt: skip
    """Write `out`/crops.npy and `out`/faces.parquet: a row for every photo of the manifest.

    Return the number of accepted photos, and that of rejected ones by reason, sorted. `manifest`
    has the columns photo_id, path (POSIX, relative to `data_root`), person, status, reason. Rows
    are sorted by path; accepted ones are numbered in this order. The bytes do not depend on the
    number of `workers`, threads that share the finder. Both files are written atomically.

    Raises FaceOpsError: no photo gave a face, or the machine lacks memory or the like: a later run
    can crop the photo, and a result without it must not be kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    photos = manifest.select(["photo_id", "path", "person", "status", "reason"]).to_pylist()
    photos.sort(key=lambda photo: photo["path"])

    def work(photo: dict[str, Any]) -> CroppedPhoto | None:
        if photo["status"] != "accepted":
            return None  # its reason is copied
        return crop_photo(data_root / photo["path"], finder, settings)

    rows: list[dict[str, Any]] = []
    accepted = 0
    with TemporaryFile(dir=out) as pixels:
        done = track(ordered_map(work, photos, workers), "crop", len(photos))
        for photo, cropped in zip(photos, done, strict=True):
            number = -1
            if cropped is not None and cropped.crop is not None:
                number, accepted = accepted, accepted + 1
                pixels.write(cropped.crop.tobytes())
            rows.append(_row(photo, cropped, number))
        reasons = Counter(row["reason"] for row in rows if row["crop"] < 0)
        if not accepted:
            raise FaceOpsError(_nothing_found(reasons, settings))
        pixels.flush()
        crops = np.memmap(pixels, np.uint8, "r", shape=(accepted, 112, 112, 3))
        with atomic_path(out / "crops.npy") as temporary, temporary.open("wb") as file:
            np.save(file, crops)
    with atomic_path(out / "faces.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    return accepted, dict(sorted(reasons.items()))


def _row(photo: dict[str, Any], cropped: CroppedPhoto | None, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "crop": number,
        "photo_id": photo["photo_id"],
        "path": photo["path"],
        "person": photo["person"],
        "status": "accepted" if number >= 0 else "rejected",
        "reason": "",
    }
    if cropped is None:
        return {**row, "reason": photo["reason"] or "rejected"}
    if cropped.reason is not None:
        row["reason"] = cropped.reason.value
    if cropped.box is not None:
        row |= dict(zip(("x", "y", "width", "height"), cropped.box, strict=True))
    if cropped.detection is not None:
        row["detector_score"] = cropped.detection.score
        row["landmarks"] = cropped.detection.landmarks.ravel().tolist()
    if (quality := cropped.quality) is not None:
        row |= {name: getattr(quality, name) for name in _MEASURES}
        row["quality"] = quality.overall
    return row


def _nothing_found(reasons: Counter[str], settings: CropSettings) -> str:
    if not reasons:
        return "the manifest lists no photo to crop; import photos and validate them first."
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    advice = "lower crop.min_face, crop.min_quality or crop.detector_threshold"
    if settings.mode != "center":
        advice += ", or set crop.mode to center for photos that are faces already"
    return f"no photo of {reasons.total()} gave a face ({why}); {advice}."
